package catalog

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/mailtwin/mailtwin/journal"
)

// model is what a catalog ought to hold, kept in the simplest way.
type model map[journal.Path]Item

func (m model) is(p journal.Path, want journal.Type) bool {
	return p == journal.Root && want == journal.TypeDirectory || m[p].Facts.Type == want
}

func (m model) removeAll(p journal.Path) {
	for q := range m {
		if q.Within(p) {
			delete(m, q)
		}
	}
}

func (m model) parents(p journal.Path) {
	for d := p.Dir(); d != journal.Root; d = d.Dir() {
		if !m.is(d, journal.TypeDirectory) {
			m[d] = Item{Facts: journal.Facts{Type: journal.TypeDirectory}}
		}
	}
}

func (m model) put(p journal.Path, it Item) {
	if m.is(p, journal.TypeDirectory) {
		m.removeAll(p)
	}
	m.parents(p)
	m[p] = it
}

func (m model) makeDir(p journal.Path, e *journal.Entry) {
	it := m[p]
	if !m.is(p, journal.TypeDirectory) {
		it = Item{Facts: journal.Facts{Type: journal.TypeDirectory}}
	}
	it.Facts.Attr = e.Facts.Attr
	it.Stamp = e.Stamp
	m.parents(p)
	m[p] = it
}

func (m model) moveDir(e *journal.Entry) {
	moved := model{}
	for p, it := range m {
		if p.Within(e.From) {
			moved[e.Path+p[len(e.From):]] = it
		}
	}
	m.removeAll(e.From)
	m.removeAll(e.Path)
	m.parents(e.Path)
	maps.Copy(m, moved)
	m.makeDir(e.Path, e)
}

// apply is Apply for entries that have all their facts.
func (m model) apply(e *journal.Entry) {
	it := Item{Facts: e.Facts, Stamp: e.Stamp}
	switch e.Kind {
	case journal.KindPut, journal.KindSymlink:
		if old := m[e.Path]; old.Stamp.SameFile(e.Stamp) && !m.is(e.Path, journal.TypeDirectory) {
			it.Link = old.Link
		}
		m.put(e.Path, it)
	case journal.KindMove:
		if from, ok := m[e.From]; ok && from.Facts.Type != journal.TypeDirectory {
			it.Link = from.Link
			delete(m, e.From)
		}
		m.put(e.Path, it)
	case journal.KindLink:
		it.Link = e.Stamp.Inode
		if from, ok := m[e.From]; ok && from.Stamp.SameFile(e.Stamp) && from.Facts.Type != journal.TypeDirectory {
			from.Link = it.Link
			m[e.From] = from
		}
		m.put(e.Path, it)
	case journal.KindRemove:
		if !m.is(e.Path, journal.TypeDirectory) {
			delete(m, e.Path)
		}
	case journal.KindRemoveDir:
		if m.is(e.Path, journal.TypeDirectory) {
			m.removeAll(e.Path)
		}
	case journal.KindMakeDir:
		m.makeDir(e.Path, e)
	case journal.KindMoveDir:
		if !m.is(e.From, journal.TypeDirectory) || e.From == e.Path {
			m.makeDir(e.Path, e)
		} else {
			m.moveDir(e)
		}
	case journal.KindSetAttributes:
		if old := m[e.Path]; !m.is(e.Path, journal.TypeDirectory) {
			it.Link = old.Link
		}
		m.put(e.Path, it)
	}
}

func (m model) totals() (t Totals) {
	for _, it := range m {
		t.add(newRecord(it).counts())
	}
	return t
}

// entries makes n entries that could stand in a journal, and some that a
// replay could meet.
func entries(rng *rand.Rand, n int) []journal.Entry {
	list := make([]journal.Entry, 0, n)
	path := func() journal.Path {
		var names []string
		for range 1 + rng.IntN(3) {
			names = append(names, string(rune('a'+rng.IntN(4))))
		}
		return journal.Path(strings.Join(names, "/"))
	}
	for i := range n {
		e := journal.Entry{Kind: journal.Kind(1 + rng.IntN(9)), Path: path()}
		it := file(uint64(1 + rng.IntN(8)))
		it.Facts.Attr.Mode = uint32(i)
		e.Facts, e.Stamp = it.Facts, it.Stamp
		switch e.Kind {
		case journal.KindMove, journal.KindLink, journal.KindMoveDir:
			e.From = path()
		case journal.KindRemove, journal.KindRemoveDir:
			e.Facts, e.Stamp = journal.Facts{}, journal.Stamp{}
		case journal.KindSymlink:
			e.Facts = journal.Facts{Type: journal.TypeSymlink, Target: fmt.Sprint(i), Attr: it.Facts.Attr}
		}
		if e.Kind == journal.KindMakeDir || e.Kind == journal.KindMoveDir {
			e.Facts = directory(uint32(i)).Facts
		}
		if e.Kind == journal.KindMoveDir && e.Path != e.From && e.Path.Within(e.From) {
			continue // refused
		}
		list = append(list, e)
	}
	return list
}

// contents reads a whole catalog.
func contents(t testing.TB, c *Catalog) (model, Totals) {
	t.Helper()
	m := model{}
	var totals Totals
	var walk func(tx *Tx, p journal.Path)
	walk = func(tx *Tx, p journal.Path) {
		check(t, tx.List(p, "", func(name string, it Item) error {
			it.Digest = Digest{}
			m[p.Join(name)] = it
			if it.Facts.Type == journal.TypeDirectory {
				walk(tx, p.Join(name))
			}
			return nil
		}))
	}
	view(t, c, func(tx *Tx) {
		walk(tx, journal.Root)
		totals = tx.Totals()
	})
	return m, totals
}

func compare(t testing.TB, what string, c *Catalog, want model) {
	t.Helper()
	check(t, c.Check())
	got, totals := contents(t, c)
	for _, p := range slices.Sorted(maps.Keys(want)) {
		if !reflect.DeepEqual(got[p], want[p]) {
			t.Fatalf("%s: %q: got %+v, want %+v", what, p, got[p], want[p])
		}
	}
	equal(t, what+": items", len(got), len(want))
	equal(t, what+": totals", totals, want.totals())
}

func modelOf(list []journal.Entry) model {
	m := model{}
	for i := range list {
		m.apply(&list[i])
	}
	return m
}

// TestReplayAfterCrash applies random entries, and crashes in between: then
// the catalog is as some update left it that is not older than the last
// durable one, and the records after its position bring it to the end.
func TestReplayAfterCrash(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			list := entries(rng, 250)
			fsys := vfs.NewCrashableMem()
			for done := 0; done < len(list); {
				c, err := open(fsys, "catalog", Options{CacheBytes: 1 << 20})
				check(t, err)
				done = int(c.DurablePosition().Sequence)
				compare(t, fmt.Sprintf("after %d entries", done), c, modelOf(list[:done]))
				crash := min(len(list), done+1+rng.IntN(120))
				done = applyUntil(t, rng, c, list, done, crash)
				durable := int(c.DurablePosition().Sequence)
				clone := fsys.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
				check(t, c.Close())
				if done < len(list) {
					fsys = clone
				}
				c, err = open(fsys, "catalog", Options{CacheBytes: 1 << 20})
				check(t, err)
				if at := int(c.DurablePosition().Sequence); at < durable {
					t.Fatalf("position %d after the crash, %d was durable", at, durable)
				}
				check(t, c.Close())
			}
			c, err := open(fsys, "catalog", Options{CacheBytes: 1 << 20})
			check(t, err)
			defer c.Close()
			compare(t, "in the end", c, modelOf(list))
		})
	}
}

// applyUntil applies entries from done on up to the end, some in one update,
// some durably, and with failing updates in between.
func applyUntil(t *testing.T, rng *rand.Rand, c *Catalog, list []journal.Entry, done, end int) int {
	t.Helper()
	for done < end {
		n := min(end-done, 1+rng.IntN(8))
		how := c.Update
		switch rng.IntN(12) {
		case 0:
			how = c.UpdateDurably
		case 1:
			_ = c.Update(func(tx *Tx) error {
				for range n {
					check(t, tx.Apply(&list[rng.IntN(len(list))]))
				}
				return ErrFailed
			})
		}
		check(t, how(func(tx *Tx) error {
			for i := range n {
				if err := tx.Apply(&list[done+i]); err != nil {
					return err
				}
				if rng.IntN(4) == 0 {
					tx.Digest() // settles in the middle
				}
			}
			tx.SetPosition(journal.Position{Epoch: 1, Sequence: journal.Sequence(done + n)})
			return nil
		}))
		done += n
	}
	return done
}

// TestReplayOfASuffix: applying again what a catalog has already seen brings
// it to the same end, as long as no directory was moved in between.
func TestReplayOfASuffix(t *testing.T) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 2))
		list := slices.DeleteFunc(entries(rng, 150), func(e journal.Entry) bool {
			return e.Kind == journal.KindMoveDir || e.Kind == journal.KindLink
		})
		c := openTest(t, t.TempDir())
		for _, from := range []int{0, rng.IntN(len(list)), rng.IntN(len(list))} {
			update(t, c, func(tx *Tx) {
				for i := range list[from:] {
					check(t, tx.Apply(&list[from+i]))
				}
			})
		}
		compare(t, fmt.Sprint("seed ", seed), c, modelOf(list))
	}
}
