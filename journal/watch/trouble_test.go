package watch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/vfs/crashfs"
	"github.com/mailtwin/mailtwin/journal/watch"
)

// TestUnreadable takes the right to read from the observer: of nothing that it
// cannot read anything is journaled, least of all a removal.
func TestUnreadable(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs another user's files")
	}
	const nobody = 65534
	f := newFixture(t)
	for i := range 10 {
		f.write(fmt.Sprintf("u1/cur/%d.h:2,S", i), "x")
	}
	f.write("u1/subscriptions", "A\n")
	f.must(os.Chmod(filepath.Dir(f.store), 0o755)) //nolint:gosec // the observer is somebody else
	f.must(os.Chmod(filepath.Dir(filepath.Dir(f.store)), 0o755))
	f.must(filepath.Walk(f.store, func(p string, _ os.FileInfo, err error) error {
		return errors.Join(err, os.Lchown(p, nobody, nobody))
	}))
	f.cfg.Timing.Rescan = 50 * time.Millisecond
	f.startAs(nobody)
	f.eventually()

	f.must(os.Lchown(f.path("u1/subscriptions"), 0, 0))
	f.wait("control file", func() bool { return f.watcher.Status().UnreadableCount == 1 })
	f.appendTo("u1/subscriptions", "B\n")
	f.must(os.Lchown(f.path("u1/cur"), 0, 0)) // a directory that cannot be opened
	f.must(os.Rename(f.path("u1/cur/3.h:2,S"), f.path("u1/cur/3.h:2,FS")))
	f.wait("directory", func() bool {
		s := f.watcher.Status()
		return s.UnreadableCount >= 2 && len(s.Unreadable) == s.UnreadableCount
	})
	scanned := f.watcher.Status().LastScanEnded
	f.wait("scans", func() bool { return f.watcher.Status().LastScanEnded.Sub(scanned) > 200*time.Millisecond })
	for _, e := range f.rest() {
		t.Errorf("journaled: %s", show(e))
	}
	for _, p := range []string{"u1/subscriptions", "u1/cur"} {
		f.must(os.Lchown(f.path(p), nobody, nobody))
	}
	f.wait("readable", func() bool { return f.watcher.Status().UnreadableCount == 0 && len(f.differences()) == 0 })
	for _, e := range f.rest() {
		if e.Kind == journal.KindRemove || e.Kind == journal.KindRemoveDir {
			t.Errorf("journaled: %s", show(e))
		}
	}
}

// startAs runs the observer with the file rights of a user.
func (f *fixture) startAs(uid int) {
	f.run = func(run func()) {
		runtime.LockOSThread() // and never back: the thread ends with its rights
		_, _, _ = syscall.RawSyscall(syscall.SYS_SETFSUID, uintptr(uid), 0, 0)
		run()
	}
	f.start()
}

// TestLostWhereTheSecondLookFails: what was lost was not removed either where it cannot
// be looked at a second time, and the directory has changed when it can.
func TestLostWhereTheSecondLookFails(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs another user's files")
	}
	f := newFixture(t)
	f.deliver("u1/cur/1:2,S", "one")
	f.deliver("u1/cur/2:2,", "two")
	const nobody = 65534
	f.must(os.Chmod(filepath.Dir(f.store), 0o755)) //nolint:gosec // the observer is somebody else
	f.must(os.Chmod(filepath.Dir(filepath.Dir(f.store)), 0o755))
	f.must(filepath.Walk(f.store, func(p string, _ os.FileInfo, err error) error {
		return errors.Join(err, os.Lchown(p, nobody, nobody))
	}))
	f.startAs(nobody)
	f.settled()
	f.lose("u1/cur/1:2,S")
	var mended sync.WaitGroup
	f.whenScanIsAt("u2/new", func() {
		if err := os.Chmod(f.path("u1"), 0); err != nil {
			t.Error(err)
		}
		mended.Go(func() {
			for end := time.Now().Add(patience); time.Now().Before(end) && f.watcher.Status().UnreadableCount < 2; {
				runtime.Gosched() // neither u1 nor the message can be looked at
			}
			err := os.Rename(f.path("u1/cur/2:2,"), f.path("u1/cur/2:2,S"))
			if err := errors.Join(err, os.Chmod(f.path("u1"), 0o700)); err != nil { //nolint:gosec // a directory
				t.Error(err)
			}
		})
	})
	f.inherited(func() {}, nil)
	mended.Wait()
	f.settled()
	f.stillMissing("u1/cur/1:2,S")
	for _, e := range f.rest() {
		if e.Kind == journal.KindRemove {
			t.Errorf("journaled: %s", show(e))
		}
	}
}

// TestRemovedBesideWhatCannotBeRead: when the first scan is over, what is removed was
// not lost, whatever cannot be read elsewhere, and though the clock of the store is set
// back. What was lost where nobody could look is not removed all the same.
func TestRemovedBesideWhatCannotBeRead(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs another user's files")
	}
	f := newFixture(t)
	for _, p := range []string{"u1/cur/1:2,S", "u1/cur/2:2,S", "u1/cur/3:2,S", "u2/cur/4:2,S", "u2/cur/5:2,S"} {
		f.deliver(p, "message "+p)
	}
	const nobody = 65534
	f.must(os.Chmod(filepath.Dir(f.store), 0o755)) //nolint:gosec // the observer is somebody else
	f.must(os.Chmod(filepath.Dir(filepath.Dir(f.store)), 0o755))
	f.must(filepath.Walk(f.store, func(p string, _ os.FileInfo, err error) error {
		return errors.Join(err, os.Lchown(p, nobody, nobody))
	}))
	f.cfg.Timing.Poll = 300 * time.Millisecond // with moments between two scans
	f.startAs(nobody)
	f.settled()
	f.lose("u1/cur/1:2,S", "u2/cur/4:2,S")
	removed := func(p string) {
		t.Helper()
		f.wait("scan", func() bool {
			s := f.watcher.Status()
			return s.Phase == watch.PhaseWatching && !s.LastScanEnded.IsZero() && s.UnreadableCount == 1 && s.Waiting == s.UnreadableCount && s.Dirty == 0
		})
		f.caughtUp()
		f.remove(p)
		if got := show(f.next()); got != "remove "+p {
			t.Fatal(got)
		}
	}
	f.inherit(func() { f.must(os.Lchown(f.path("u2/cur"), 0, 0)) }, nil, time.Hour)
	removed("u1/cur/2:2,S")
	f.restart()
	removed("u1/cur/3:2,S")
	f.must(os.Lchown(f.path("u2/cur"), nobody, nobody))
	f.settled()
	f.noMore()
	f.stillMissing("u1/cur/1:2,S", "u2/cur/4:2,S")
	f.caughtUp()
	f.remove("u2/cur/5:2,S")
	f.expect("remove u2/cur/5:2,S")
}

// caughtUp waits until the observer has nothing to do.
func (f *fixture) caughtUp() {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.ctx, patience)
	defer cancel()
	f.must(f.watcher.CatchUp(ctx))
}

// TestJournalFails makes the journal's disk fail: nothing is lost, and it goes
// on when the disk is well.
func TestJournalFails(t *testing.T) {
	f := newFixture(t)
	disk := crashfs.New()
	f.disk = disk
	f.start()
	f.settled()
	var mu sync.Mutex
	broken := true
	disk.Before(func(op crashfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if broken && op.Kind.Changes() {
			return syscall.ENOSPC
		}
		return nil
	})
	f.deliver("u1/new/1.h", "one")
	f.rename("u1/.A", "u1/.B")
	f.wait("failure", func() bool { return f.watcher.Status().JournalError != "" })
	f.rename("u1/new/1.h", "u1/cur/1.h:2,S")
	if bad := f.differences(); len(bad) == 0 {
		t.Error("the catalog is ahead of the journal")
	}
	mu.Lock()
	broken = false
	mu.Unlock()
	f.settled()
	if s := f.watcher.Status(); s.JournalError != "" {
		t.Errorf("still %s", s.JournalError)
	}
}

// TestWhatWaitsForeverIsNotPending: an empty uidlist waits for the server that fills it,
// which may be for ever, and holds up nothing.
func TestWhatWaitsForeverIsNotPending(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.settled()
	f.write("u1/dovecot-uidlist", "")
	f.wait("waiting", func() bool { return f.watcher.Status().Waiting > 0 })
	f.wait("nothing pending", func() bool { s := f.watcher.Status(); return s.Waiting > 0 && s.Pending() == 0 })
}

// jumpingClock is the real time and an offset.
type jumpingClock struct {
	systemClock
	mu     sync.Mutex
	offset time.Duration
}

func (c *jumpingClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Round(0).Add(c.offset) // without the monotonic clock's help
}

func (c *jumpingClock) jump(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
}

// TestClockJumps sets the clock back and forth by an hour.
func TestClockJumps(t *testing.T) {
	f := newFixture(t)
	clock := new(jumpingClock)
	f.cfg.Clock = clock
	f.start()
	f.settled()
	for i, d := range []time.Duration{-time.Hour, 2 * time.Hour, -90 * time.Minute} {
		name := fmt.Sprintf("u1/new/%d.h", i)
		f.deliver(name, name)
		clock.jump(d)
		f.eventually()
		f.remove(name)
		f.eventually()
		clock.jump(d / 3)
		f.write("u1/subscriptions", name)
		f.eventually()
	}
}

// TestRealWatchLimit runs another process in a user namespace of its own with
// a low limit of watches.
func TestRealWatchLimit(t *testing.T) {
	if os.Getenv("WATCH_LIMIT_TEST") != "" {
		testWithLimit(t)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestRealWatchLimit$", "-test.v")
	cmd.Env = append(os.Environ(), "WATCH_LIMIT_TEST=1")
	id := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	gid := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: id, GidMappings: gid}
	out, err := cmd.CombinedOutput()
	if err != nil && len(out) == 0 {
		t.Skipf("no user namespace: %v", err)
	}
	if err != nil || bytes.Contains(out, []byte("SKIP")) {
		t.Errorf("%v\n%s", err, out)
	}
}

func testWithLimit(t *testing.T) {
	if err := os.WriteFile("/proc/sys/user/max_inotify_watches", []byte("5"), 0o600); err != nil {
		t.Skip(err)
	}
	f := newFixture(t)
	f.start()
	f.wait("polling", func() bool {
		s := f.watcher.Status()
		return s.Mode == watch.ModePolling && strings.Contains(s.ModeReason, "max_user_watches") && s.Watches == 5
	})
	f.manyChanges()
	f.must(os.WriteFile("/proc/sys/user/max_inotify_watches", []byte("1000"), 0o600))
	f.wait("watching", func() bool { s := f.watcher.Status(); return s.Mode == watch.ModeEvents && s.Complete })
	f.settled()
}
