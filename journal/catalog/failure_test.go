package catalog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/mailtwin/mailtwin/journal"
)

// TestFailedSync: what a failed fsync leaves is not known, so nothing is
// written after it until the catalog is opened again.
func TestFailedSync(t *testing.T) {
	mem := vfs.NewCrashableMem()
	broken := errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
		if strings.HasSuffix(op.Path, ".log") && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileWrite) {
			return syscall.EIO
		}
		return nil
	})}
	c, err := open(errorfs.Wrap(mem, &broken), "catalog", Options{})
	check(t, err)
	at := journal.Position{Sequence: 1}
	check(t, c.UpdateDurably(func(tx *Tx) error { tx.SetPosition(at); return tx.Put("kept", file(1)) }))
	broken.On()
	err = c.UpdateDurably(func(tx *Tx) error {
		tx.SetPosition(journal.Position{Sequence: 2})
		return tx.Put("lost", file(2))
	})
	if !errors.Is(err, ErrFailed) {
		t.Fatal(err)
	}
	equal(t, "durable position", c.DurablePosition(), at)
	broken.Off()
	for _, f := range []func() error{
		c.Sync,
		func() error { return c.Update(func(*Tx) error { t.Error("an update began"); return nil }) },
		c.Close,
	} {
		if err := f(); !errors.Is(err, ErrFailed) {
			t.Fatal(err)
		}
	}
	c, err = open(mem.CrashClone(vfs.CrashCloneCfg{}), "catalog", Options{})
	check(t, err)
	defer c.Close()
	check(t, c.Check())
	view(t, c, func(tx *Tx) {
		equal(t, "position", tx.Position(), at)
		equal(t, "names", names(t, tx, journal.Root), []string{"kept"})
	})
}

// TestDamage: whatever file is damaged, the catalog either does not notice
// because the place is not used, or says ErrCorrupt.
func TestDamage(t *testing.T) {
	original := t.TempDir()
	c, err := Open(original, Options{})
	check(t, err)
	for round := range 4 {
		update(t, c, func(tx *Tx) {
			for i := range 300 {
				check(t, tx.Put(journal.Path(fmt.Sprintf("d%d/f%d", i%7, i)), file(uint64(1+round*300+i))))
			}
		})
		check(t, c.store.db.Flush())
	}
	check(t, c.Close())
	files, err := os.ReadDir(original)
	check(t, err)
	found := 0
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(original, f.Name()))
		check(t, err)
		for _, at := range []int{0, len(data) / 3, len(data) / 2, len(data) - 20} {
			if at < 0 || at >= len(data) {
				continue
			}
			dir := t.TempDir()
			check(t, os.CopyFS(dir, os.DirFS(original)))
			bad := append([]byte(nil), data...)
			bad[at] ^= 0x55
			check(t, os.WriteFile(filepath.Join(dir, f.Name()), bad, 0o600))
			err := openAndCheck(dir)
			if err == nil {
				continue
			}
			found++
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), dir) {
				t.Errorf("%s at %d: %v", f.Name(), at, err)
			}
		}
	}
	if found == 0 {
		t.Fatal("no damage was found")
	}
}

func openAndCheck(dir string) error {
	c, err := Open(dir, Options{})
	if err != nil {
		return err
	}
	return errors.Join(c.Check(), c.Close())
}

// TestCheckFindsWhatIsOutOfStep changes the store behind the catalog's back.
func TestCheckFindsWhatIsOutOfStep(t *testing.T) {
	c, err := Open(t.TempDir(), Options{})
	check(t, err)
	defer c.Close()
	update(t, c, func(tx *Tx) {
		check(t, tx.Put("d/x", file(1)))
		unread := file(2)
		unread.Facts.Content = journal.ContentID{}
		check(t, tx.Put("d/y", unread))
	})
	check(t, c.Check())
	const d = rootDir + 1
	other := file(1)
	other.Facts.Attr.Mode++
	for name, change := range map[string]func(b *batch) error{
		"lost index":   func(b *batch) error { return b.Delete(numberKey(nil, spaceStamp, 1, d, "x"), nil) },
		"stray index":  func(b *batch) error { return b.Set(numberKey(nil, spaceStamp, 9, d, "x"), nil, nil) },
		"lost content": func(b *batch) error { return b.Delete(contentKey(nil, file(1).Facts.Content, d, "x"), nil) },
		"read":         func(b *batch) error { return b.Delete(refKey(nil, spaceUnread, d, "y"), nil) },
		"lost file":    func(b *batch) error { return b.Delete(refKey(nil, spaceChild, d, "x"), nil) },
		"other facts": func(b *batch) error {
			return b.Set(refKey(nil, spaceChild, d, "x"), appendRecord(nil, newRecord(other)), nil)
		},
		"orphan": func(b *batch) error {
			return b.Set(refKey(nil, spaceChild, 99, "x"), appendRecord(nil, newRecord(Item{Facts: journal.Facts{Type: journal.TypeSymlink}})), nil)
		},
		"misplaced": func(b *batch) error { return b.Set(dirKey(nil, d), refValue(rootDir, "e"), nil) },
	} {
		keys := map[string][]byte{}
		check(t, scan(c.store.db, []byte{0}, []byte{255}, func(k, v []byte) error {
			keys[string(k)] = append([]byte{}, v...)
			return nil
		}))
		b := c.store.batch()
		check(t, change(b))
		check(t, c.store.commit(b))
		check(t, b.Close())
		if err := c.Check(); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
		b = c.store.batch()
		check(t, b.DeleteRange([]byte{0}, []byte{255}, nil))
		for k, v := range keys {
			check(t, b.Set([]byte(k), v, nil))
		}
		check(t, c.store.commit(b))
		check(t, b.Close())
	}
	check(t, c.Check())
}
