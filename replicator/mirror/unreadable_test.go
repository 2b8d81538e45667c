package mirror

import (
	"errors"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// What a partial listing does not have may be there all the same: it stays, but
// what was renamed is renamed, or one message would have two names.
func TestPartialListingRemovesNothing(t *testing.T) {
	a, b := text("message a"), text("message bb")
	f := newFixture(t)
	p := f.connect()
	p.welcome(at(1, 10), "the mirror is new")
	p.serve(map[string]file{"cur/a": a, "cur/m": b, "new/n": a}, 100)
	p.hangUp()
	for _, partial := range []bool{true, false} {
		p = f.connect()
		p.welcome(at(1, 20), "it was away")
		dir := file{dir: true}.facts()
		for _, l := range []wire.Listing{
			{Path: ".", Items: []wire.Item{{Name: "cur", Facts: dir, Digest: [32]byte{1}}}},
			{Path: "cur", Items: []wire.Item{{Name: "m:2,S", Facts: b.facts()}}},
		} {
			l.Outcome, l.Facts, l.Last, l.Partial = wire.OK, dir, true, partial
			p.until("comparing", func() bool { return len(p.compares) > 0 })
			p.compares = p.compares[1:]
			p.lists(l)
		}
		p.until("compared", func() bool { return f.m.Status().Whole })
		if partial {
			f.holds(map[string]file{"cur/a": a, "cur/m:2,S": b, "new/n": a})
		} else {
			f.holds(map[string]file{"cur/m:2,S": b})
		}
		p.hangUp()
	}
}

// What never came is asked for more and more seldom, until some of it comes.
func TestMissingIsAskedForMoreAndMoreSeldom(t *testing.T) {
	f := newFixture(t)
	lack := func(names ...journal.Path) {
		t.Helper()
		if err := f.m.cfg.Catalog.Update(func(tx *catalog.Tx) error {
			var errs error
			for _, p := range names {
				errs = errors.Join(errs, tx.Put(p, catalog.Item{Facts: journal.Facts{Type: journal.TypeFile}, Missing: true}))
			}
			f.m.update(func(s *Status) { s.Totals = tx.Totals() })
			return errs
		}); err != nil {
			t.Fatal(err)
		}
	}
	lack("d/a", "d/b")
	r := &resync{k: &committer{m: f.m}}
	ticks := func() (n int) {
		for n = 1; ; n++ {
			if r.retryMissing(); r.round.running {
				r.round = round{}
				return n
			}
		}
	}
	for _, want := range []int{1, 2, 4, 8, 16, 16} {
		if n := ticks(); n != want {
			t.Errorf("asked again after %d ticks, not %d", n, want)
		}
	}
	f.m.update(func(s *Status) { s.Totals.Missing = 1 })
	if n := ticks(); n != 1 {
		t.Errorf("something came, and the rest was asked for after %d ticks", n)
	}
}
