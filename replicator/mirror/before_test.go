package mirror

import (
	"fmt"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// beforeTest gives a committer its steps by hand, and the time.
type beforeTest struct {
	*bench
	r    *receiver
	now  time.Time
	next journal.Sequence
	want map[string]file
}

func newBeforeTest(t *testing.T) *beforeTest {
	b := &beforeTest{bench: newBench(t), now: time.Unix(1e9, 0), next: 1, want: map[string]file{}}
	b.m.cfg.Now = func() time.Time { return b.now }
	b.k.c.steps, b.k.c.live = make(chan step, 8192), make(chan step, 8192)
	b.r = &receiver{c: b.k.c}
	return b
}

// takes has the committer take one step.
func (b *beforeTest) takes(s step) {
	b.t.Helper()
	if err := b.k.takeNext(s); err != nil {
		b.t.Fatal(err)
	}
}

// passes has a step come up.
func (b *beforeTest) passes(s step) {
	b.t.Helper()
	if err := b.r.pass(b.t.Context(), s); err != nil {
		b.t.Fatal(err)
	}
}

// takesAll has the committer take what has come up, and returns how many commits
// it made of that.
func (b *beforeTest) takesAll() uint64 {
	b.t.Helper()
	before := b.m.cfg.Catalog.Version()
	if err := b.k.takeAll(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	return b.m.cfg.Catalog.Version() - before
}

// answer is the step of a content that was asked for.
func (b *beforeTest) answer(w want) step {
	b.t.Helper()
	r := b.k.resync
	r.transfer++
	r.inFlight[r.transfer] = &w
	r.sent[w.path]++
	f := text("content of " + string(w.path))
	b.want[string(w.path)] = f
	return step{answer: &arrived{
		transfer: r.transfer, file: b.staged(f.data), end: wire.ContentEnd{Outcome: wire.OK, Facts: f.facts()},
	}}
}

// batch is the step of entries.
func (b *beforeTest) batch(entries ...entry) step {
	s := step{entries: &wire.Entries{First: b.next}}
	for i := range entries {
		s.entries.Entries = append(s.entries.Entries, entries[i].Entry)
	}
	b.next += journal.Sequence(len(entries))
	s.entries.Last = at(1, b.next-1)
	return s
}

// delivery is the step of an entry whose content has come with it.
func (b *beforeTest) delivery(path string) step {
	f := text("live mail " + path)
	b.want[path] = f
	e := put(path, f)
	s := b.batch(e)
	number := wire.PrimaryTransfer | uint64(b.next)
	s.entries.Entries[0].Transfer = number
	s.contents = map[uint64]*arrived{number: {transfer: number, file: b.staged(f.data)}}
	return s
}

func (b *beforeTest) exists(path string) bool { return b.files()[path] != "" }

// TestEntriesGoBefore: contents of a comparison that wait for more let entries go
// before them, unless those may have to do with the same names or contents.
func TestEntriesGoBefore(t *testing.T) {
	delivery := arriving(journal.KindPut, "u/new/1", "")
	lacks := delivery
	lacks.Transfer = 0
	waiting := func(kind journal.Kind, path, from string, w *want) *change {
		c := &change{answers: w}
		c.Kind, c.Path, c.From = kind, journal.Path(path), journal.Path(from)
		return c
	}
	two := group{changes: []*change{
		waiting(journal.KindPut, "v/cur/1", "", &want{path: "v/cur/1"}), waiting(journal.KindMove, "w/cur/2:2,S", "w/new/2", nil),
	}}
	owed := group{changes: []*change{waiting(journal.KindPut, "v/cur/1", "", &want{path: "v/cur/1", owed: true})}}
	indebted := group{changes: []*change{waiting(journal.KindPut, "in/debt", "", &want{path: "in/debt"})}}
	round := group{changes: []*change{waiting(journal.KindPut, "v/cur/1", "", &want{path: "v/cur/1", round: true})}}
	repeated := two
	repeated.position = at(1, 1)
	withEntries := two
	withEntries.entries = 1
	for name, c := range map[string]struct {
		group   group
		entries []wire.Entry
		want    bool
	}{
		"a delivery":                             {two, []wire.Entry{delivery}, true},
		"the same file":                          {two, []wire.Entry{arriving(journal.KindRemove, "v/cur/1", "")}, false},
		"a file that is renamed":                 {two, []wire.Entry{arriving(journal.KindMove, "v/cur/1:2,S", "v/cur/1")}, false},
		"a file that takes the former name":      {two, []wire.Entry{arriving(journal.KindPut, "w/new/2", "")}, false},
		"a directory above":                      {two, []wire.Entry{arriving(journal.KindMoveDir, "x", "v")}, false},
		"something beneath":                      {two, []wire.Entry{arriving(journal.KindPut, "v/cur/1/x", "")}, false},
		"a control file of the mailbox":          {two, []wire.Entry{arriving(journal.KindPut, "v/dovecot-uidlist", "")}, false},
		"one of another mailbox":                 {two, []wire.Entry{arriving(journal.KindPut, "v2/dovecot-uidlist", "")}, true},
		"entries that were applied before":       {repeated, []wire.Entry{delivery}, false},
		"one of several":                         {two, []wire.Entry{delivery, arriving(journal.KindRemove, "v/cur/1", "")}, false},
		"a content that may be one of an answer": {two, []wire.Entry{lacks}, false},
		"a flood":                                {two, make([]wire.Entry, fewEntries+1), false},
		"nothing to go before":                   {group{}, []wire.Entry{delivery}, false},
		"entries that have joined":               {withEntries, []wire.Entry{delivery}, false},
		"a content that is owed":                 {owed, []wire.Entry{delivery}, false},
		"one that was owed before":               {indebted, []wire.Entry{delivery}, false},
		"one that may be owed":                   {round, []wire.Entry{delivery}, false},
	} {
		t.Run(name, func(t *testing.T) {
			k := &committer{m: newBench(t).m}
			k.resync = &resync{k: k}
			k.debts.begin(1)
			k.debts.owe("in/debt", 1)
			if got := k.mayWait(&c.group, c.entries); got != c.want {
				t.Errorf("they may go before it: %v", got)
			}
		})
	}
}

// TestLiveMailDoesNotWait: what is delivered while contents of a comparison wait
// for more is durable and acknowledged before them, in one commit with what has
// come up behind it.
func TestLiveMailDoesNotWait(t *testing.T) {
	b := newBeforeTest(t)
	b.takes(b.answer(want{path: "cur/1"}))
	first := b.delivery("new/1")
	b.passes(b.delivery("new/2"))
	b.passes(b.delivery("new/3"))
	before := b.m.cfg.Catalog.Version()
	b.takes(first)
	if n := b.m.cfg.Catalog.Version() - before; n != 1 || b.k.acked != 3 {
		t.Errorf("%d commits, acknowledged up to %d", n, b.k.acked)
	}
	if !b.exists("new/3") || b.exists("cur/1") {
		t.Error("the contents of the comparison were committed with the deliveries")
	}
	if n := b.takesAll(); n != 1 {
		t.Errorf("the contents took %d commits", n)
	}
	b.holds(b.want)
}

// TestRelatedEntriesJoin: entries that come up behind a delivery and have to do
// with what waits find it in its place.
func TestRelatedEntriesJoin(t *testing.T) {
	b := newBeforeTest(t)
	b.takes(b.answer(want{path: "cur/1"}))
	first := b.delivery("new/1")
	b.passes(b.batch(named(journal.KindMove, "cur/1", "cur/1:2,S")))
	b.want["cur/1:2,S"] = b.want["cur/1"]
	delete(b.want, "cur/1")
	b.takes(first)
	if b.k.acked != 1 || b.exists("cur/1") {
		t.Errorf("acknowledged up to %d", b.k.acked)
	}
	b.takesAll()
	b.holds(b.want)
	b.complete()
}

// TestSteadyMailDoesNotStarveContents: contents are committed in the end, though the
// next delivery always comes before their patience ends.
func TestSteadyMailDoesNotStarveContents(t *testing.T) {
	b := newBeforeTest(t)
	b.takes(b.answer(want{path: "cur/old"}))
	began := b.now
	for i := 0; len(b.k.group.changes) > 0; i++ {
		if i > 100 {
			t.Fatal("the contents are never committed")
		}
		if i == 3 {
			b.takes(b.answer(want{path: "cur/later"})) // it does not make the wait longer
		}
		b.takes(b.delivery(fmt.Sprint("new/", i)))
		b.now = b.now.Add(20 * time.Millisecond)
	}
	if took := b.now.Sub(began); took < passedLimit || took > passedLimit+40*time.Millisecond {
		t.Errorf("the contents waited %v", took)
	}
	b.holds(b.want)
	b.takes(b.answer(want{path: "cur/next"})) // what comes then begins anew
	b.takes(b.delivery("new/next"))
	if len(b.k.group.changes) != 1 {
		t.Error("the next content does not wait")
	}
}

// TestNothingThatWaitsIsLost: a batch that comes a second time, and adds nothing,
// goes before contents as well; those are committed all the same.
func TestNothingThatWaitsIsLost(t *testing.T) {
	b := newBeforeTest(t)
	b.k.applied = 2
	again := func() step { return b.batch(does(journal.KindMakeDir, "before", file{dir: true})) }
	b.takes(b.answer(want{path: "cur/1"}))
	b.takes(again())
	b.takes(b.answer(want{path: "cur/2"}))
	b.takes(again())
	b.takes(b.answer(want{path: "cur/3"}))
	b.takes(b.delivery("new/1"))
	if len(b.k.group.changes) != 3 || b.k.applied != 3 || b.k.position != at(1, 3) {
		t.Errorf("%d wait, %d is applied, at %v", len(b.k.group.changes), b.k.applied, b.k.position)
	}
	b.takesAll()
	b.holds(b.want)
}

// TestAbsenceIsCommittedTogether: what was delivered and renamed while the mirror was
// away comes as entries whose contents are to be had under their new names only;
// answers and entries that come by turns do not each take a commit of their own.
func TestAbsenceIsCommittedTogether(t *testing.T) {
	const n = 1000
	for name, earlier := range map[string]bool{"of this stream": false, "of an earlier one": true} {
		t.Run(name, func(t *testing.T) {
			b := newBeforeTest(t)
			for i := range n {
				f := text(fmt.Sprint("content of new/", i))
				b.passes(b.batch(without(fmt.Sprint("new/", i), f, wire.Changed)))
			}
			commits := b.takesAll()
			b.want["new"] = file{dir: true}
			if earlier {
				b.k.debts.begin(1)
			}
			for i := range n {
				from, to := fmt.Sprint("new/", i), fmt.Sprint("cur/", i)
				b.passes(b.answer(want{path: journal.Path(from), owed: !earlier, round: earlier}))
				b.passes(b.batch(named(journal.KindMove, from, to)))
				b.want[to] = b.want[from]
				delete(b.want, from)
			}
			commits += b.takesAll()
			if most := uint64(2 * n / 8); commits > most {
				t.Errorf("%d entries and answers took %d commits, want at most %d", 3*n, commits, most)
			}
			b.holds(b.want)
			if n := b.totals().Missing; n > 0 {
				t.Errorf("%d are missing", n)
			}
		})
	}
}

// TestLinkedContentsDoNotJoin: a content that may become a further name of a file
// finds that file as the entries before it leave it.
func TestLinkedContentsDoNotJoin(t *testing.T) {
	b := newBeforeTest(t)
	s := b.answer(want{path: "cur/1", owed: true})
	if !b.k.resync.joinsEntries(s.answer) {
		t.Error("a content that is owed does not join entries")
	}
	s.answer.end.Link = 7
	if b.k.resync.joinsEntries(s.answer) {
		t.Error("one that may become a link does")
	}
	if s := b.answer(want{path: "cur/2"}); b.k.resync.joinsEntries(s.answer) {
		t.Error("one of a comparison does")
	}
}

// TestAttributesOfAnotherContent: an entry that changes the attributes of a file to
// which no comparison has come yet does not make its content the primary's.
func TestAttributesOfAnotherContent(t *testing.T) {
	for name, data := range map[string]string{"of another size": "3 V1 N2", "of the same size": "LIVE MAIL dovecot-uidlist"} {
		t.Run(name, func(t *testing.T) {
			b := newBeforeTest(t)
			b.passes(b.delivery("dovecot-uidlist"))
			b.takesAll()
			b.k.resync.running = true
			f := text(data)
			f.mtime += 77
			b.passes(b.batch(does(journal.KindSetAttributes, "dovecot-uidlist", f)))
			b.takesAll()
			var it catalog.Item
			if err := b.m.cfg.Catalog.View(func(tx *catalog.Tx) (err error) {
				it, err = tx.Lookup("dovecot-uidlist")
				return err
			}); err != nil {
				t.Fatal(err)
			}
			if want := contentID("live mail dovecot-uidlist"); it.Facts.Content != want || it.Facts.Size != int64(len("live mail dovecot-uidlist")) {
				t.Errorf("the catalog has %d bytes, content %v", it.Facts.Size, it.Facts.Content)
			}
			if it.Facts.Attr.MTime != f.mtime {
				t.Errorf("the time is %d", it.Facts.Attr.MTime)
			}
		})
	}
}
