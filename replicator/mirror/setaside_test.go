package mirror

import (
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
