package watch_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mailtwin/mailtwin/journal/watch"
)

// suspended waits until the observer says that the store is not as it was,
// with these words.
func (f *fixture) suspended(words string) {
	f.t.Helper()
	f.wait("suspended", func() bool {
		s := f.watcher.Status()
		return s.Phase == watch.PhaseSuspended && strings.Contains(s.Suspended, words)
	})
	f.noMore()
}

// TestMissingRoot takes the store away and brings it back, changed.
func TestMissingRoot(t *testing.T) {
	f := started(t)
	f.deliver("u1/new/1.h", "one")
	f.expect("put u1/new/1.h")
	f.must(os.Rename(f.store, f.store+".away"))
	f.suspended("does not exist")
	f.must(os.Mkdir(f.store, 0o700))
	f.suspended("another directory")
	if err := f.watcher.Accept(); !errors.Is(err, watch.ErrNothingThere) {
		t.Errorf("an empty directory was accepted: %v", err)
	}
	f.must(os.Remove(f.store))
	f.must(os.Rename(f.store+".away", f.store))
	f.settled()
	f.rename("u1/new/1.h", "u1/cur/1.h:2,S")
	f.expect("move u1/new/1.h > u1/cur/1.h:2,S")
}

// TestEmptyRoot empties the store by hand: nothing is removed until that is
// confirmed by having content again.
func TestEmptyRoot(t *testing.T) {
	f := started(t)
	f.close()
	away := f.store + ".away"
	f.must(os.Mkdir(away, 0o700))
	for _, d := range []string{"u1", "u2"} {
		f.must(os.Rename(f.path(d), filepath.Join(away, d)))
	}
	f.start()
	f.suspended("is empty, but")
	if err := f.watcher.Accept(); !errors.Is(err, watch.ErrNothingThere) {
		t.Errorf("an empty store was accepted: %v", err)
	}
	// A mail server makes what it misses: that is not the store yet.
	f.mailbox("u1")
	f.suspended("was in it before")
	f.remove("u1")
	for _, d := range []string{"u1", "u2"} {
		f.must(os.Rename(filepath.Join(away, d), f.path(d)))
	}
	f.settled()
	f.noMore()
}

// TestEmptiedStoreIsAccepted: once there is something in it again, a person can
// say that the rest is gone.
func TestEmptiedStoreIsAccepted(t *testing.T) {
	f := started(t)
	f.close()
	for _, d := range []string{"u1", "u2"} {
		f.remove(d)
	}
	f.start()
	f.suspended("is empty, but")
	f.mailbox("u3")
	f.suspended("was in it before")
	f.must(f.watcher.Accept())
	f.settled()
}

// TestOtherStore starts on another directory than the catalog is of, which
// the operator then accepts.
func TestOtherStore(t *testing.T) {
	f := newFixture(t)
	f.write("u1/cur/1.h:2,S", "one")
	f.write("u1/cur/2.h:2,S", "two")
	f.start()
	f.settled()
	f.rename("u1/cur/1.h:2,S", "u1/cur/1.h:2,FS")
	f.settled()
	f.deliver("u1/new/3.h", "three")
	f.settled()
	f.close()
	f.must(os.Rename(f.store, f.store+".away"))
	f.must(copyTree(f.store, f.store+".away"))
	f.remove("u1/cur/2.h:2,S")
	f.start()
	f.suspended("another directory")
	f.must(f.watcher.Accept())
	f.settled()
	for _, e := range f.rest() {
		if e.Path != "u1/cur/1.h:2,FS" && e.Path != "u1/cur/2.h:2,S" {
			t.Errorf("unexpected: %s", show(e))
		}
	}
}

// copyTree copies files with their times.
func copyTree(to, from string) error {
	return filepath.Walk(from, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		dest := filepath.Join(to, rel)
		if info.IsDir() {
			return os.MkdirAll(dest, info.Mode())
		}
		data, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(dest, data, info.Mode())
		}
		if err == nil {
			err = os.Chtimes(dest, info.ModTime(), info.ModTime())
		}
		return err
	})
}

// mount mounts for the rest of the test, or skips it.
func mount(t *testing.T, source, target, fstype string, flags uintptr) {
	t.Helper()
	if err := unix.Mount(source, target, fstype, flags, ""); err != nil {
		t.Skipf("cannot mount: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) })
}

// TestUnmountedStore unmounts the store under the observer, and mounts it
// again.
func TestUnmountedStore(t *testing.T) {
	f := newFixture(t)
	disk := filepath.Join(t.TempDir(), "disk")
	f.must(os.Mkdir(disk, 0o700))
	f.must(os.RemoveAll(f.store))
	f.must(os.Mkdir(f.store, 0o700))
	mount(t, "tmpfs", disk, "tmpfs", 0)
	f.must(os.Mkdir(disk+"/store", 0o700))
	mount(t, disk+"/store", f.store, "", unix.MS_BIND)
	for _, m := range mailboxes {
		f.mailbox(m)
	}
	f.start()
	f.settled()
	f.deliver("u1/new/1.h", "one")
	f.expect("put u1/new/1.h")
	f.must(unix.Unmount(f.store, unix.MNT_DETACH))
	f.suspended("is it not mounted?")
	f.must(os.WriteFile(disk+"/store/u1/new/2.h", []byte("two"), 0o600)) // while it is away
	f.must(unix.Mount(disk+"/store", f.store, "", unix.MS_BIND, ""))
	f.expect("put u1/new/2.h")
	f.rename("u1/new/2.h", "u1/cur/2.h:2,S")
	f.expect("move u1/new/2.h > u1/cur/2.h:2,S")

	mount(t, "tmpfs", f.store, "tmpfs", 0) // an empty one over it
	f.suspended("another directory or file system")
	f.must(unix.Unmount(f.store, unix.MNT_DETACH))
	f.settled()
	f.noMore()
}
