package salvage

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/journal/watch"
)

// shared is what both had when they parted.
func shared(a *store) {
	for _, n := range []string{"keep", "flags", "both", "clash", "gone", "here", "moved", "copied", "away", "back"} {
		a.put("u/cur/"+n+":2,", n)
	}
	a.put("u/new/fresh", "fresh")
}

// splitBrain has both sides go on by themselves.
func splitBrain(w *world) {
	a, b := w.a, w.b
	a.put("u/new/a1", "new on a")
	a.put("u/.Work/cur/a2,S=8:2,FSa", "work on a")
	a.put("u/new/twin1", "delivered twice")
	a.put("u/new/twin2", "delivered twice")
	a.write("u/cur/silent:2,RS", "while the daemon was down")
	a.move("u/cur/flags:2,", "u/cur/flags:2,S")
	a.move("u/cur/flags:2,S", "u/cur/flags:2,FSb")
	a.move("u/cur/both:2,", "u/cur/both:2,S")
	a.move("u/cur/clash:2,", "u/cur/clash:2,S")
	a.move("u/cur/back:2,", "u/cur/back:2,F")
	a.move("u/new/fresh", "u/cur/fresh:2,S")
	a.move("u/cur/gone:2,", "u/cur/gone:2,F")
	a.remove("u/cur/here:2,")
	a.link("u/cur/moved:2,", "u/.Work/cur/moved:2,")
	a.remove("u/cur/moved:2,")
	a.link("u/cur/copied:2,", "u/.Work/cur/copied:2,")
	a.put("u/new/brief", "came and went")
	a.remove("u/new/brief")

	b.put("u/new/b1", "new on b")
	b.move("u/cur/both:2,", "u/cur/both:2,S")
	b.move("u/cur/clash:2,", "u/cur/clash:2,T")
	b.move("u/cur/back:2,", "u/cur/back:2,F")
	b.move("u/cur/back:2,F", "u/cur/back:2,")
	b.remove("u/cur/gone:2,")
	b.move("u/cur/away:2,", "u/.Work/cur/away:2,")
}

// united is what the new primary has after that, and a salvage.
func united() []string {
	return []string{
		"u/.Work/cur/a2,S=8:2,FSa = work on a", "u/.Work/cur/away:2, = away", "u/.Work/cur/copied:2, = copied",
		"u/cur/back:2, = back", "u/cur/both:2,S = both", "u/cur/clash:2,T = clash", "u/cur/copied:2, = copied", "u/cur/flags:2,FSb = flags",
		"u/cur/fresh:2,S = fresh", "u/cur/here:2, = here", "u/cur/keep:2, = keep", "u/cur/moved:2, = moved",
		"u/cur/silent:2,RS = while the daemon was down",
		"u/new/a1 = new on a", "u/new/b1 = new on b", "u/new/twin1 = delivered twice", "u/new/twin2 = delivered twice",
	}
}

func TestSplitBrain(t *testing.T) {
	w := newWorld(t, shared)
	splitBrain(w)
	s := w.salvage()
	same(t, "the new primary", w.b.mail(), united())
	w.told(
		"new delivered u/new/a1", "new delivered u/.Work/cur/a2,S=8:2,FSa", "new delivered u/new/twin1", "new delivered u/new/twin2",
		"new delivered u/cur/silent:2,RS", "new delivered u/.Work/cur/copied:2,",
		"flags set u/cur/flags:2,FSb", "flags set u/cur/fresh:2,S", "flags conflict u/cur/clash:2,S",
		"flags conflict u/cur/back:2,F",
		"flags expunged u/cur/gone:2,F", "moved not-moved u/.Work/cur/moved:2,", "removed stays u/cur/here:2,",
	)
	if s.Uncertain != "" || s.Primary != "mx2" || s.History != "..mailtwin/history/1" || s.Outcomes[OutcomeDelivered] != 6 {
		t.Errorf("summary %+v", s)
	}
	if data, err := os.ReadFile(w.a.full("..mailtwin/history/1/u/cur/gone:2,F")); string(data) != "gone" {
		t.Errorf("what was expunged there is not kept: %q, %v", data, err)
	}
	info, err := os.Stat(w.b.full("u/.Work/cur/a2,S=8:2,FSa"))
	if err != nil || !info.ModTime().Equal(born) {
		t.Errorf("INTERNALDATE %v, %v; want %v", info.ModTime(), err, born)
	}
	if info, err := os.Stat(w.b.full("u/new/a1")); err != nil || info.Mode().Perm() != 0o640 && info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, %v; want that of the other messages", info.Mode(), err)
	}
}

// TestAgain: a salvage that is done again finds nothing left to do.
func TestAgain(t *testing.T) {
	w := newWorld(t, shared)
	splitBrain(w)
	w.salvage()
	s := w.salvage()
	same(t, "the new primary", w.b.mail(), united())
	if s.Delivered != 0 || s.Outcomes[OutcomeDelivered] != 0 || s.Outcomes[OutcomeSet] != 0 {
		t.Errorf("summary %+v", s)
	}
}

// TestLookOnly: a look tells the same and changes nothing.
func TestLookOnly(t *testing.T) {
	w := newWorld(t, shared)
	splitBrain(w)
	before, there := w.a.mail(), w.b.mail()
	s, err := w.try(func(c *Config) { c.LookOnly = true })
	if err != nil {
		t.Fatal(err)
	}
	same(t, "the former primary", w.a.mail(), before)
	same(t, "the new primary", w.b.mail(), there)
	if s.Outcomes[OutcomeWanted] != 6 || s.Outcomes[OutcomeToSet] != 2 || s.Outcomes[OutcomeConflict] != 2 || !s.LookOnly {
		t.Errorf("summary %+v", s)
	}
	for _, dir := range []string{w.a.full("..mailtwin"), w.b.full("..mailtwin")} {
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%q was made", dir)
		}
	}
}

// TestExpungedAfterSalvage: what was salvaged and then removed by its owner
// does not come back, whether the observer saw it come or not.
func TestExpungedAfterSalvage(t *testing.T) {
	for _, seen := range []bool{true, false} {
		w := newWorld(t, shared)
		w.a.put("u/new/a1", "new on a")
		if _, err := w.try(nil); err != nil {
			t.Fatal(err)
		}
		if seen {
			w.b.observe()
		}
		if err := os.Remove(w.b.full("u/new/a1")); err != nil {
			t.Fatal(err)
		}
		w.b.observe()
		w.restart()
		w.salvage()
		if slices.Contains(w.b.mail(), "u/new/a1 = new on a") {
			t.Errorf("it is back; seen: %v", seen)
		}
	}
}

// TestSameContent: what came under another name on the other side is not
// doubled, and each of those stands for one message only.
func TestSameContent(t *testing.T) {
	w := newWorld(t, shared)
	w.a.put("u/new/a1", "sent to both")
	w.a.put("u/new/a2", "sent to both")
	w.a.put("u/new/a3", "sent to both")
	w.b.put("u/new/b1", "sent to both")
	w.salvage()
	w.told("new there u/new/a1", "new delivered u/new/a2", "new delivered u/new/a3")
	w.salvage()
	w.told("new there u/new/a1", "new there u/new/a2", "new there u/new/a3")
}

// TestFolders: folders that were renamed or removed on either side.
func TestFolders(t *testing.T) {
	w := newWorld(t, func(a *store) {
		shared(a)
		for _, f := range []string{"u/.Old", "u/.Gone", "u/.There"} {
			a.mailbox(f)
			a.put(f+"/cur/"+strings.TrimPrefix(f, "u/.")+":2,", f)
		}
	})
	w.a.moveDir("u/.Old", "u/.Renamed")
	w.a.put("u/.Renamed/new/r1", "into the renamed one")
	w.a.move("u/.Renamed/cur/Old:2,", "u/.Renamed/cur/Old:2,S")
	w.a.put("u/.Gone/new/g1", "into one that is removed there")
	w.a.put("u/.There/new/t1", "into one that is renamed there")
	w.a.mailbox("u/.Made")
	w.a.put("u/.Made/new/m1", "into one that was made here")
	w.b.removeDir("u/.Gone")
	w.b.moveDir("u/.There", "u/.Then")
	w.salvage()
	for _, want := range []string{
		"u/.Old/new/r1 = into the renamed one", "u/.Old/cur/Old:2,S = u/.Old", "u/new/g1 = into one that is removed there",
		"u/.Then/new/t1 = into one that is renamed there", "u/new/m1 = into one that was made here",
	} {
		if !slices.Contains(w.b.mail(), want) {
			t.Errorf("%q is not there", want)
		}
	}
	for _, l := range w.lines {
		if l.Path == "u/.Gone/new/g1" && l.To != "u" {
			t.Errorf("it is not told where it went: %+v", l)
		}
	}
	before := w.b.mail()
	w.salvage()
	same(t, "after another salvage", w.b.mail(), before)
}

// TestKeywords: letters are translated by name, and what has no name there is
// dropped and told.
func TestKeywords(t *testing.T) {
	w := newWorld(t, shared)
	w.a.put("u/dovecot-keywords", "0 $Label1\n1 NonJunk\n2 OnlyHere\n")
	w.b.put("u/dovecot-keywords", "0 OnlyThere\n1 NonJunk\n2 $Label1\n")
	w.a.put("u/cur/k1:2,Sabc", "with keywords")
	w.salvage()
	if !slices.Contains(w.b.mail(), "u/cur/k1:2,Sbc = with keywords") {
		t.Errorf("%q", w.b.mail())
	}
	w.told("new delivered u/cur/k1:2,Sabc")
	if i := slices.IndexFunc(w.lines, func(l Line) bool { return l.Change == ChangeNew }); !slices.Equal(w.lines[i].Dropped, []string{"OnlyHere"}) {
		t.Errorf("dropped %q", w.lines[i].Dropped)
	}
}

// TestUncertain: without a journal that reaches back, all messages are asked
// for, and what the new primary remembers decides.
func TestUncertain(t *testing.T) {
	for name, change := range map[string]func(*world){
		"no journal":      func(w *world) { w.noJournal = true },
		"another history": func(w *world) { w.reign.Start.Digest[0]++; w.restart() },
		"trimmed": func(w *world) {
			for range 200 {
				w.a.tell(journal.KindSetAttributes, "u", "")
			}
			if err := w.a.journal.Trim(w.a.journal.Head().Sequence); err != nil {
				t.Fatal(err)
			}
		},
		"promoted too early": func(w *world) { w.reign.Whole = false; w.restart() },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, shared)
			splitBrain(w)
			change(w)
			s := w.salvage()
			same(t, "the new primary", w.b.mail(), united())
			if s.Uncertain == "" || s.Outcomes[OutcomeDelivered] != 6 || s.Outcomes[OutcomeSet] != 2 || s.Outcomes[OutcomeExpunged] != 1 {
				t.Errorf("summary %+v", s)
			}
		})
	}
}

// TestRenamedUnseen: a message that a failing array let nobody see being renamed is the
// one that it was, also where every message is offered, and stays expunged.
func TestRenamedUnseen(t *testing.T) {
	for _, whole := range []bool{true, false} {
		for _, now := range []string{"u/cur/quiet:2,S", "u/.Work/cur/quiet:2,S"} {
			w := newWorld(t, func(a *store) { shared(a); a.put("u/new/quiet", "quiet") })
			w.a.must(os.Rename(w.a.full("u/new/quiet"), w.a.full(now)))
			w.b.move("u/new/quiet", "u/cur/quiet:2,")
			w.b.remove("u/cur/quiet:2,")
			w.reign.Whole = whole
			w.restart()
			s := w.salvage()
			for _, m := range w.b.mail() {
				if strings.Contains(m, "quiet") {
					t.Errorf("renamed to %s, whole %v: %q is back; summary %+v", now, whole, m, s)
				}
			}
		}
	}
}

// TestDoubt: where the new primary does not remember all that was removed, what
// it lacks is delivered only if it is known to be new; the rest is kept.
func TestDoubt(t *testing.T) {
	w := newWorld(t, shared)
	splitBrain(w)
	for range 200 {
		w.b.tell(journal.KindSetAttributes, "u", "")
	}
	if err := w.b.journal.Trim(w.b.journal.Head().Sequence); err != nil {
		t.Fatal(err)
	}
	w.reign.Whole = false
	w.restart()
	w.salvage()
	for _, m := range w.b.mail() {
		if strings.HasPrefix(m, "u/cur/gone") || strings.Contains(m, "new on a") {
			t.Errorf("%q was delivered in doubt", m)
		}
	}
	for _, kept := range []string{"u/cur/gone:2,F", "u/new/a1"} {
		if _, err := os.Stat(w.a.full("..mailtwin/history/1/" + kept)); err != nil {
			t.Error(err)
		}
	}
}

// TestContentNeverCame: a message that the new primary knows of, and whose
// content it never received, is delivered.
func TestContentNeverCame(t *testing.T) {
	w := newWorld(t, shared)
	p := journal.Path("u/cur/keep:2,")
	w.b.must(os.Remove(w.b.full(string(p))))
	w.b.must(w.b.catalog.Update(func(t *catalog.Tx) error {
		it, err := t.Lookup(p)
		it.Missing = true
		return errors.Join(err, t.Put(p, it))
	}))
	s, err := w.try(nil)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(w.b.mail(), "u/cur/keep:2, = keep") || s.Outcomes[OutcomeDelivered] != 1 {
		t.Errorf("%q, %+v", w.b.mail(), s)
	}
}

// TestCrashAtEachStep ends the new primary's side at each step, each time that
// it comes there, and then the command is given again until it succeeds.
func TestCrashAtEachStep(t *testing.T) {
	boom := errors.New("crash")
	for _, step := range []string{stepStaged, stepDurable, stepRecorded, stepRenamed, stepDelivered} {
		for n := 1; ; n++ {
			w := newWorld(t, shared)
			splitBrain(w)
			count := 0
			w.server.crash = func(s string) error {
				if s != step {
					return nil
				}
				if count++; count == n {
					return boom
				}
				return nil
			}
			_, err := w.try(nil)
			if err == nil {
				if n == 1 {
					t.Errorf("step %q was never reached", step)
				}
				break // it did not come there so often
			}
			if !strings.Contains(err.Error(), boom.Error()) {
				t.Fatal(err)
			}
			if n%2 == 0 {
				w.b.observe()
			}
			w.restart()
			w.salvage()
			same(t, fmt.Sprintf("after a crash at step %q, time %d", step, n), w.b.mail(), united())
		}
	}
}

// TestBreakAtEachLine ends the fenced node's side after each line.
func TestBreakAtEachLine(t *testing.T) {
	for n := 1; ; n++ {
		w := newWorld(t, shared)
		splitBrain(w)
		count := 0
		boom := errors.New("power cut")
		_, err := w.try(func(c *Config) {
			c.Report = func(Line) error {
				if count++; count == n {
					return boom
				}
				return nil
			}
		})
		if err == nil {
			break
		}
		if !errors.Is(err, boom) {
			t.Fatal(err)
		}
		w.restart()
		w.salvage()
		same(t, fmt.Sprintf("after line %d", n), w.b.mail(), united())
	}
}

// TestOldPrimaryIsRefused: neither side goes on with one of a lower epoch.
func TestOldPrimaryIsRefused(t *testing.T) {
	w := newWorld(t, shared)
	if _, err := w.try(func(c *Config) { c.Epoch = 3 }); err == nil || !strings.Contains(err.Error(), "epoch 3") {
		t.Errorf("%v", err)
	}
}

// TestAnOlderStore: what a backup brings back of messages that were expunged, and
// of flags that were changed, before the new primary began, is not taken for what
// has happened here since; and what it lacks is not removed there.
func TestAnOlderStore(t *testing.T) {
	w := newWorld(t, func(a *store) {
		shared(a)
		a.put("u/cur/dead:2,", "dead")
		a.remove("u/cur/dead:2,")
		a.move("u/cur/flags:2,", "u/cur/flags:2,S")
	})
	before := w.b.mail()
	w.a.write("u/cur/dead:2,", "dead")
	w.a.must(errors.Join(os.Rename(w.a.full("u/cur/flags:2,S"), w.a.full("u/cur/flags:2,")), os.Remove(w.a.full("u/new/fresh"))))
	w.ahead = time.Hour
	w.a.must(w.a.catalog.Update(func(tx *catalog.Tx) error { return watch.SetWhole(tx, time.Now().Add(time.Minute)) }))
	w.salvage()
	same(t, "the new primary", w.b.mail(), before)
	w.told("new doubt u/cur/dead:2,", "flags conflict u/cur/flags:2,", "removed stays u/new/fresh")
	if data, err := os.ReadFile(w.a.full("..mailtwin/history/1/u/cur/dead:2,")); string(data) != "dead" {
		t.Errorf("kept: %q, %v", data, err)
	}

	// The journal tells it of what was removed since all was seen.
	w = newWorld(t, func(a *store) {
		shared(a)
		for _, n := range []string{"dead", "again"} {
			a.put("u/cur/"+n+":2,", n)
			a.remove("u/cur/" + n + ":2,")
		}
		a.put("u/cur/again:2,", "again")
		a.move("u/cur/flags:2,", "u/cur/flags:2,S")
	})
	w.a.write("u/cur/dead:2,S", "dead")
	w.a.must(errors.Join(os.Rename(w.a.full("u/cur/again:2,"), w.a.full("u/cur/again:2,S")),
		os.Rename(w.a.full("u/cur/flags:2,S"), w.a.full("u/cur/flags:2,"))))
	w.salvage()
	w.told("new doubt u/cur/dead:2,S", "flags set u/cur/again:2,S", "flags conflict u/cur/flags:2,")

	// What came after all was seen is new, however old it is.
	w = newWorld(t, shared)
	w.a.write("u/cur/silent:2,RS", "while the daemon was down")
	w.a.must(w.a.catalog.Update(func(tx *catalog.Tx) error { return watch.SetWhole(tx, time.Now().Add(-time.Minute)) }))
	w.salvage()
	w.told("new delivered u/cur/silent:2,RS")
}
