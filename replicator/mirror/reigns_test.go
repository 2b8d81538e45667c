package mirror

import (
	"slices"
	"testing"

	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// cameThrough compares the promotions that the store has behind it.
func (f *fixture) cameThrough(want ...wire.Reign) {
	f.t.Helper()
	if err := f.m.cfg.Catalog.View(func(t *catalog.Tx) error {
		reigns, err := Reigns(t)
		if !slices.Equal(reigns, want) {
			f.t.Errorf("it has %+v behind it, not %+v", reigns, want)
		}
		return err
	}); err != nil {
		f.t.Error(err)
	}
}

// TestReignsOfAPrimaryThatIsNotFollowedYet: before a mirror follows a new primary its
// store is looked at, which takes long. If it is promoted in that time, the other's
// promotion is not behind its store.
func TestReignsOfAPrimaryThatIsNotFollowedYet(t *testing.T) {
	_, g := powerCut(t, lastGroup())
	told := wire.Reign{Epoch: 2, Start: at(1, 9), Whole: true}
	q := g.connect()
	q.epoch, q.reigns = 2, []wire.Reign{told}
	q.welcome(at(1, 9), "the epoch is another one")
	if err := q.end(); err == nil {
		t.Error("it follows")
	}
	g.cameThrough()
	q = g.connect()
	q.epoch, q.reigns = 2, []wire.Reign{told}
	q.welcome(at(1, 9), "the epoch is another one")
	q.until("comparing", func() bool { return len(q.compares) > 0 })
	g.cameThrough(told)
	q.hangUp()
}

// TestReignsAreToldAgain: one that is followed already may have learnt of them, or know
// of none any more.
func TestReignsAreToldAgain(t *testing.T) {
	_, g := powerCut(t, lastGroup())
	told := wire.Reign{Epoch: 1, Start: at(1, 0), Whole: true}
	for _, reigns := range [][]wire.Reign{nil, {told}, {told}, nil} {
		q := g.connect()
		q.reigns = reigns
		q.welcome(q.hello.Position, "")
		q.hangUp()
		g.cameThrough(reigns...)
	}
}
