package watch

import (
	"path/filepath"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// TestObservedIsOfTheDirectoryThatWasListed: one that has got its name since is
// neither taken for it nor for observed.
func TestObservedIsOfTheDirectoryThatWasListed(t *testing.T) {
	c, err := catalog.Open(filepath.Join(t.TempDir(), "catalog"), catalog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	w := &Watcher{cfg: Config{Catalog: c}}
	const dir = journal.Path("d")
	moved := journal.Stamp{Device: 1, Inode: 3}
	if err := c.Update(func(tx *catalog.Tx) error {
		return tx.Put(dir, catalog.Item{Facts: journal.Facts{Type: journal.TypeDirectory}, Stamp: moved})
	}); err != nil {
		t.Fatal(err)
	}
	for _, listed := range []struct {
		journal.Stamp
		observed int64
	}{
		{journal.Stamp{Device: 1, Inode: 2}, 0},
		{journal.Stamp{Device: 9, Inode: 3}, 5}, // after a start of the machine
	} {
		info := beneath.Info{DirMTime: 5}
		info.Stamp = listed.Stamp
		if err := w.observed(dir, info); err != nil {
			t.Fatal(err)
		}
		if err := c.View(func(tx *catalog.Tx) error {
			it, err := tx.Lookup(dir)
			if it.Observed != listed.observed || it.Stamp.Inode != moved.Inode {
				t.Errorf("after %+v was listed: %+v, observed %d", listed.Stamp, it.Stamp, it.Observed)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
}
