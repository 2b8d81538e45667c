package mirror

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
)

// powerCut lets a mirror acknowledge three entries, and then a group of five, which a
// power cut takes from its catalog, but not from its store. It returns the mirror as
// it was, and as it starts again.
func powerCut(t *testing.T, group []entry) (was, is *fixture) {
	t.Helper()
	store, dir := t.TempDir(), filepath.Join(t.TempDir(), "catalog")
	was = newFixtureOf(t, store, dir)
	p := was.whole()
	p.journal(put("d/a", text("aaa")), put("d/b", text("bb")), put("d/x", text("x")))
	p.untilAcked(3)
	if err := was.m.cfg.Catalog.Sync(); err != nil {
		t.Fatal(err)
	}
	before := filepath.Join(t.TempDir(), "before")
	if err := os.CopyFS(before, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	footprint := filepath.Join(store, mailstore.Staging, footprintName)
	printed, err := os.ReadFile(footprint)
	if err != nil {
		t.Fatal(err)
	}
	p.journal(group...)
	p.untilAcked(8)
	p.hangUp()
	if err := os.WriteFile(footprint, printed, 0o600); err != nil { // it is brought up to date behind the catalog
		t.Fatal(err)
	}
	return was, newFixtureOf(t, store, before)
}

// lastGroup is what the power cut takes from the catalog.
func lastGroup() []entry {
	return []entry{
		named(journal.KindMove, "d/a", "e/a"), put("d/b", text("another")), put("d/c", text("c")),
		does(journal.KindRemove, "d/x", file{}), does(journal.KindMakeDir, "f", file{dir: true}),
	}
}

// TestTheCatalogLosesWhatWasAcknowledged: after a power cut it may be one group
// behind what was acknowledged, which is in the store. The group comes once more.
func TestTheCatalogLosesWhatWasAcknowledged(t *testing.T) {
	f, g := powerCut(t, lastGroup())
	q := g.connect()
	if q.hello.Position != at(1, 3) || !q.hello.Whole {
		t.Fatalf("goes on from %v, whole: %v", q.hello.Position, q.hello.Whole)
	}
	q.welcome(q.hello.Position, "")
	q.journal(lastGroup()...)
	q.untilAcked(8)
	want := map[string]file{
		"d": {dir: true}, "e": {dir: true}, "f": {dir: true},
		"e/a": text("aaa"), "d/b": text("another"), "d/c": text("c"),
	}
	f.holds(want)
	g.holds(want)
	if n := g.totals().Missing; n > 0 || len(q.asked) > 0 {
		t.Errorf("%d are missing, asked for %q", n, q.asked)
	}
}

// TestTheGroupThatIsLostDoesNotComeAgain: no comparison of catalogs would find what a
// power cut has taken from this one, so the store is looked at first.
func TestTheGroupThatIsLostDoesNotComeAgain(t *testing.T) {
	_, g := powerCut(t, lastGroup())
	q := g.connect()
	q.welcome(at(1, 9), "the journal no longer reaches back to where the mirror is")
	if err := q.end(); err == nil || g.stocks != 0 {
		t.Errorf("the stream ended with %v, the store was looked at %d times", err, g.stocks)
	}
	q = g.connect()
	if g.stocks != 1 || q.hello.Whole {
		t.Errorf("the store was looked at %d times, whole: %v", g.stocks, q.hello.Whole)
	}
	q.welcome(at(1, 9), "the journal no longer reaches back to where the mirror is")
	q.until("comparing", func() bool { return len(q.compares) > 0 })
	q.serve(map[string]file{"d/a": text("aaa")}, 10)
	if q.hangUp(); g.stocks != 1 {
		t.Errorf("the store was looked at %d times", g.stocks)
	}
}

// TestTheGroupThatIsLostIsOfAnEarlierEpoch: a primary that was promoted may never have
// had it, and goes on from where the mirror's catalog is all the same.
func TestTheGroupThatIsLostIsOfAnEarlierEpoch(t *testing.T) {
	_, g := powerCut(t, lastGroup())
	q := g.connect()
	q.epoch = 2
	q.welcome(q.hello.Position, "")
	if err := q.end(); err == nil || g.stocks != 0 {
		t.Errorf("the stream ended with %v, the store was looked at %d times", err, g.stocks)
	}
	q = g.connect()
	if g.stocks != 1 || q.hello.Whole {
		t.Errorf("the store was looked at %d times, whole: %v", g.stocks, q.hello.Whole)
	}
	q.hangUp()
}
