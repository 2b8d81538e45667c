package catalog

import (
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/mailtwin/mailtwin/journal"
)

// reopened opens a catalog several times, with a change each time.
func reopened(t *testing.T, times int) *Catalog {
	t.Helper()
	dir := t.TempDir()
	for i := range times {
		c, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		err = c.UpdateDurably(func(tx *Tx) error {
			p := journal.Path(fmt.Sprintf("file%d", i))
			return tx.Put(p, Item{Facts: journal.Facts{Type: journal.TypeFile, Size: int64(i)}})
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestAStartDoesNotCompact: a node that is started again and again does not write
// its whole catalog anew before it answers.
func TestAStartDoesNotCompact(t *testing.T) {
	c := reopened(t, 8)
	m := c.store.db.Metrics()
	if m.Compact.Count != 0 || m.Compact.NumInProgress != 0 {
		t.Errorf("%d compactions, and %d go on", m.Compact.Count, m.Compact.NumInProgress)
	}
	if n := m.Levels[0].TablesCount; n < 4 {
		t.Errorf("%d files in the first level: nothing is left to be done", n)
	}
}

// TestCompactionsAreLetGo: what had to wait for the start is done then.
func TestCompactionsAreLetGo(t *testing.T) {
	c := reopened(t, 8)
	c.store.compactions.begin(0)
	if err := c.store.db.Compact(t.Context(), []byte{0}, []byte{0xff}, false); err != nil {
		t.Fatal(err)
	}
	if m := c.store.db.Metrics(); m.Compact.Count == 0 || m.Levels[0].TablesCount != 0 {
		t.Errorf("%d compactions, %d files in the first level", m.Compact.Count, m.Levels[0].TablesCount)
	}
}

// TestCompactionsHurry: a flood of changes does not wait until the start is over.
func TestCompactionsHurry(t *testing.T) {
	dir := t.TempDir()
	c, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	c.store.compactions.begin(24 * time.Hour)
	for i := range 40 {
		err := c.UpdateDurably(func(tx *Tx) error {
			p := journal.Path(fmt.Sprintf("file%d", i))
			return tx.Put(p, Item{Facts: journal.Facts{Type: journal.TypeFile, Size: int64(i)}})
		})
		if err == nil {
			err = c.store.db.Flush()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if m := c.store.db.Metrics(); m.Compact.Count == 0 {
		t.Error("it was never compacted")
	}
}

// waiting is a store in which so many compactions wait.
type waiting struct {
	left    int
	granted []pebble.CompactionGrantHandle
}

func (w *waiting) GetAllowedWithoutPermission() int { return 1 }

func (w *waiting) GetWaitingCompaction() (bool, pebble.WaitingCompaction) {
	return w.left > 0, pebble.WaitingCompaction{}
}

func (w *waiting) Schedule(h pebble.CompactionGrantHandle) bool {
	w.left--
	w.granted = append(w.granted, h)
	return true
}

// TestOneCompactionAtATime follows the scheduler through a few of them.
func TestOneCompactionAtATime(t *testing.T) {
	c, db := newCompactions(), &waiting{left: 2}
	c.Register(1, db)
	if ok, _ := c.TrySchedule(); ok {
		t.Fatal("one runs before they are let go")
	}
	c.letGo = true
	c.grant()
	c.grant()
	if len(db.granted) != 1 {
		t.Fatalf("%d run at a time", len(db.granted))
	}
	if ok, _ := c.TrySchedule(); ok {
		t.Fatal("another one runs beside it")
	}
	db.granted[0].Done()
	if len(db.granted) != 2 {
		t.Fatalf("%d have run; the second one waits", len(db.granted))
	}
	db.granted[1].Done()
	ok, h := c.TrySchedule()
	if !ok {
		t.Fatal("nothing runs, and one is refused")
	}
	c.Unregister()
	db.left = 1
	h.Done()
	if ok, _ := c.TrySchedule(); ok || len(db.granted) != 2 {
		t.Fatal("one runs in a store that is closed")
	}
}
