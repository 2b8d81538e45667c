package watch_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/journal/watch"
)

// TestLeft: what was noticed and cannot be journaled is known by name, also of an
// observer that is suspended, and of one that has ended.
func TestLeft(t *testing.T) {
	f := started(t)
	f.deliver("u1/new/1.h", "one")
	f.expect("put u1/new/1.h")
	before := time.Now()
	f.wait("quiet", func() bool { return f.watcher.Left().Quiet.After(before) })
	if l := f.watcher.Left(); len(l.Names) > 0 || len(l.Directories) > 0 || l.All {
		t.Errorf("nothing is left to be journaled, but %+v", l)
	}

	f.must(os.Rename(f.store, f.store+".away"))
	f.suspended("does not exist")
	quiet := f.watcher.Left().Quiet
	// Whoever writes into it still does.
	away := filepath.Join(f.store+".away", "u1")
	f.must(os.WriteFile(filepath.Join(away, "tmp/2.h"), []byte("two"), 0o600))
	f.must(os.Rename(filepath.Join(away, "tmp/2.h"), filepath.Join(away, "new/2.h")))
	f.wait("noticed", func() bool { return slices.Contains(f.watcher.Left().Names, "u1/new/2.h") })
	if err := f.watcher.CatchUp(t.Context()); err != nil {
		t.Errorf("of a suspended observer: %v", err)
	}
	f.stop()
	err := <-f.done
	f.done <- err
	l := f.watcher.Left()
	if !slices.Equal(l.Names, []journal.Path{"u1/new/2.h"}) || !l.Quiet.Equal(quiet) {
		t.Errorf("at the end: %+v; want u1/new/2.h alone, quiet at %v", l, quiet)
	}
	if f.watcher.CatchUp(t.Context()) == nil {
		t.Error("an observer that has ended caught up")
	}
}

// TestEndIsRemembered: the end of observing makes durable when the catalog last had
// everything, however long the last sync of it was ago.
func TestEndIsRemembered(t *testing.T) {
	f := newFixture(t)
	f.cfg.Timing.Sync = time.Hour
	f.start()
	f.settled()
	f.deliver("u1/new/1.h", "one")
	f.expect("put u1/new/1.h")
	before := time.Now()
	f.wait("quiet", func() bool { return f.watcher.Left().Quiet.After(before) })
	f.stop()
	err := <-f.done
	f.done <- err
	var at time.Time
	f.must(f.cfg.Catalog.View(func(tx *catalog.Tx) (err error) {
		at, err = watch.WholeAt(tx)
		return err
	}))
	if !at.After(before) {
		t.Errorf("the catalog is known to have had everything at %v, want after %v", at, before)
	}
	if got, want := f.cfg.Catalog.DurablePosition(), f.cfg.Journal.Head(); got != want {
		t.Errorf("the catalog is durable at %v, want %v", got, want)
	}
}

// TestLeftUnreadable: what cannot be read is waited for no longer than it takes
// to find that out.
func TestLeftUnreadable(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs another user's files")
	}
	const nobody = 65534
	f := newFixture(t)
	f.must(os.Chmod(filepath.Dir(f.store), 0o755)) //nolint:gosec // the observer is somebody else
	f.must(os.Chmod(filepath.Dir(filepath.Dir(f.store)), 0o755))
	f.must(filepath.Walk(f.store, func(p string, _ os.FileInfo, err error) error {
		if err == nil {
			err = os.Lchown(p, nobody, nobody)
		}
		return err
	}))
	f.cfg.Timing.Unreadable = time.Hour
	f.startAs(nobody)
	f.eventually()
	f.deliver("u1/new/1.h", "one") // nobody but root may read it
	f.must(os.Lchown(f.path("u2/cur"), 0, 0))
	f.must(os.Chmod(f.path("u2/cur"), 0o700)) // also a change of the directory
	f.wait("unreadable", func() bool { return f.watcher.Status().UnreadableCount > 0 })
	if err := f.watcher.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if l := f.watcher.Left(); !slices.Contains(l.Names, "u1/new/1.h") || l.All {
		t.Errorf("left is %+v; want the message that cannot be read", l)
	}
}

// TestMovedAndUnreadable: a message that was moved to another mailbox and cannot
// be read there is not removed where it was, and the end of observing does not wait
// for it.
func TestMovedAndUnreadable(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs another user's files")
	}
	const nobody = 65534
	f := newFixture(t)
	f.must(os.Chmod(filepath.Dir(f.store), 0o755)) //nolint:gosec // the observer is somebody else
	f.must(os.Chmod(filepath.Dir(filepath.Dir(f.store)), 0o755))
	f.must(filepath.Walk(f.store, func(p string, _ os.FileInfo, err error) error {
		if err == nil {
			err = os.Lchown(p, nobody, nobody)
		}
		return err
	}))
	f.cfg.Timing.Racy = time.Hour // so that no file is known again but by its content
	f.cfg.Timing.Unreadable = time.Hour
	f.startAs(nobody)
	f.wait("scanned", func() bool { return f.watcher.Status().Phase == watch.PhaseWatching })
	f.write("u1/tmp/1.h", "one")
	f.must(os.Lchown(f.path("u1/tmp/1.h"), nobody, nobody))
	f.rename("u1/tmp/1.h", "u1/new/1.h")
	f.wait("journaled", func() bool { return f.knows("u1/new/1.h") })
	f.must(os.Lchown(f.path("u1/new/1.h"), 0, 0))
	f.rename("u1/new/1.h", "u2/cur/1.h:2,S")
	f.wait("listed", func() bool {
		l := f.watcher.Left()
		return slices.Contains(l.Names, "u1/new/1.h") && slices.Contains(l.Names, "u2/cur/1.h:2,S")
	})
	if _, err := f.watcher.Quiesce(t.Context(), func(string) {}); err != nil {
		t.Fatal(err)
	}
	for _, e := range f.rest() {
		if e.Kind == journal.KindRemove || e.Kind == journal.KindMove {
			t.Errorf("journaled: %s", show(e))
		}
	}
	if !f.knows("u1/new/1.h") {
		t.Error("it was removed where it was")
	}
}
