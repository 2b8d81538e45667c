package mirror

import (
	"path"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// asideTest gives a committer its steps by hand, and the time.
type asideTest struct {
	*bench
	now  time.Time
	want map[string]file
}

func newAsideTest(t *testing.T) *asideTest {
	a := &asideTest{bench: newBench(t), now: time.Unix(1e9, 0), want: map[string]file{}}
	a.m.cfg.Now = func() time.Time { return a.now }
	return a
}

func (a *asideTest) step(s step) {
	a.t.Helper()
	if err := a.k.makeRoom(s); err != nil {
		a.t.Fatal(err)
	}
	if err := a.k.take(s); err != nil {
		a.t.Fatal(err)
	}
}

// settle is what is done when no step has come up.
func (a *asideTest) settle() {
	a.t.Helper()
	if err := a.k.settle(); err != nil {
		a.t.Fatal(err)
	}
}

// answered is the step of a content that was asked for.
func (a *asideTest) answered(w want) {
	a.t.Helper()
	r := a.k.resync
	r.transfer++
	r.inFlight[r.transfer] = &w
	r.sent[w.path]++
	f := text("content of " + string(w.path))
	a.want[string(w.path)] = f
	a.step(step{answer: &arrived{
		transfer: r.transfer, file: a.staged(f.data), end: wire.ContentEnd{Outcome: wire.OK, Facts: f.facts()},
	}})
}

// journaled is the step of an entry.
func (a *asideTest) journaled(e entry) {
	a.t.Helper()
	n := a.k.received + 1
	a.step(step{entries: &wire.Entries{First: n, Entries: []wire.Entry{e.Entry}, Last: at(1, n)}})
}

func (a *asideTest) makes(dir string) entry {
	f := file{dir: true}
	a.want[dir] = f
	return does(journal.KindMakeDir, dir, f)
}

// TestSteadyMailDoesNotStarveContents: what was set aside for entries is committed
// behind them in the end, though the next ones come before its patience ends.
func TestSteadyMailDoesNotStarveContents(t *testing.T) {
	a := newAsideTest(t)
	a.answered(want{path: "cur/old"})
	const every = 20 * time.Millisecond
	began := a.now
	for i := 0; a.k.pending() > 0; i++ {
		if i > 100 {
			t.Fatal("the contents are never committed")
		}
		a.journaled(a.makes(path.Join("live", string(rune('a'+i)))))
		if i == 3 {
			a.answered(want{path: "cur/later"}) // it does not make the wait longer
			a.journaled(a.makes("live"))
		}
		if len(a.k.aside.changes) == 0 {
			t.Fatal("an entry does not go before the contents")
		}
		a.now = a.now.Add(every)
		a.settle()
		if n := a.k.pending(); n > 0 && !a.k.group.patient(bulkBytes) {
			t.Fatal("the contents do not wait for more")
		}
	}
	if took := a.now.Sub(began); took != asideLimit {
		t.Errorf("the contents waited %v", took)
	}
	a.holds(a.want)
	// What comes then begins anew.
	a.answered(want{path: "cur/next"})
	a.journaled(a.makes("live/next"))
	a.settle()
	if a.k.pending() != 1 {
		t.Error("the next content does not wait")
	}
}

// TestOwedContentsDoNotWait: a content that an entry owes is committed right behind
// the entries that it was set aside for, and acknowledged; and for more of its
// kind it does not wait at all.
func TestOwedContentsDoNotWait(t *testing.T) {
	for name, w := range map[string]want{
		"asked for by the entry": {path: "cur/owed", owed: true},
		"asked for once more":    {path: "cur/owed"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAsideTest(t)
			a.journaled(without("cur/owed", text("content of cur/owed"), wire.OK))
			a.settle()
			if a.k.acked != 0 || a.k.debts.oldest() != 1 {
				t.Fatalf("acknowledged up to %d, owed since %d", a.k.acked, a.k.debts.oldest())
			}
			a.answered(want{path: "cur/bulk"})
			a.answered(w)
			if a.k.group.patient(bulkBytes) {
				t.Error("it waits for more")
			}
			a.journaled(a.makes("live"))
			if len(a.k.aside.changes) == 0 {
				t.Fatal("the entry does not go before it")
			}
			a.settle()
			if a.k.pending() > 0 || a.k.acked != 2 {
				t.Errorf("%d are pending, acknowledged up to %d", a.k.pending(), a.k.acked)
			}
			a.holds(a.want)
		})
	}
}

// TestNothingAsideIsLost: entries that come a second time, and add nothing, set
// contents aside as well; neither what comes then nor further entries lose those.
func TestNothingAsideIsLost(t *testing.T) {
	a := newAsideTest(t)
	a.k.applied = 2
	a.answered(want{path: "cur/1"})
	a.journaled(does(journal.KindMakeDir, "before", file{dir: true}))
	a.answered(want{path: "cur/2"})
	a.journaled(does(journal.KindMakeDir, "before", file{dir: true}))
	a.answered(want{path: "cur/3"})
	a.journaled(a.makes("live"))
	if a.k.pending() != 4 {
		t.Errorf("%d changes are pending, want 4", a.k.pending())
	}
	a.settle()
	a.settle()
	if a.k.pending() > 0 || a.k.applied != 3 || a.k.position != at(1, 3) {
		t.Errorf("%d are pending, %d is applied, at %v", a.k.pending(), a.k.applied, a.k.position)
	}
	a.holds(a.want)
}
