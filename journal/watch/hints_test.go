package watch_test

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/watch"
)

// testHints is a HintSource between the kernel's and the observer that drops
// and adds hints, and refuses watches.
type testHints struct {
	watch.HintSource
	out   chan watch.Hint
	limit int // watches; 0: none

	mu    sync.Mutex
	dirs  map[journal.Path]bool
	added int
}

// filtered passes on only the hints that keep accepts; nil keeps all.
func filtered(root string, keep func(watch.Hint) bool) *testHints {
	h := &testHints{out: make(chan watch.Hint, 100), dirs: make(map[journal.Path]bool)}
	var err error
	if h.HintSource, err = watch.Notify(root); err != nil {
		panic(err)
	}
	go func() {
		defer close(h.out)
		for hint := range h.HintSource.Hints() {
			if keep == nil || keep(hint) {
				h.out <- hint
			}
		}
	}()
	return h
}

func (h *testHints) Hints() <-chan watch.Hint { return h.out }

func (h *testHints) Add(dir journal.Path) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.limit > 0 && len(h.dirs) >= h.limit && !h.dirs[dir] {
		return fmt.Errorf("no more watches: %w", syscall.ENOSPC)
	}
	if err := h.HintSource.Add(dir); err != nil {
		return err
	}
	h.added++
	h.dirs[dir] = true
	return nil
}

func (h *testHints) Remove(dir journal.Path) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.dirs, dir)
	h.HintSource.Remove(dir)
}

func (h *testHints) allow(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.limit = n
}

// TestNoHints loses every hint: the periodic scan finds everything.
func TestNoHints(t *testing.T) {
	f := newFixture(t)
	f.cfg.Timing.Rescan = 50 * time.Millisecond
	f.cfg.Hints = filtered(f.store, func(watch.Hint) bool { return false })
	f.start()
	f.wait("baseline", func() bool { return f.watcher.Status().Phase == watch.PhaseWatching })
	f.manyChanges()
}

// manyChanges does a bit of everything.
func (f *fixture) manyChanges() {
	f.t.Helper()
	f.deliver("u1/new/1.h", "one")
	f.deliver("u1/new/2.h", "two")
	f.write("u1/subscriptions", "A\n")
	f.eventually()
	f.rename("u1/new/1.h", "u1/cur/1.h:2,S")
	f.remove("u1/new/2.h")
	f.appendTo("u1/subscriptions", "B\n")
	f.rename("u1/.A", "u2/.A")
	f.eventually()
	f.deliver("u2/.A/new/3.h", "three")
	f.remove("u1/cur/1.h:2,S")
	f.eventually()
}

// eventually waits until the catalog is what is in the store, also while scans
// follow each other.
func (f *fixture) eventually() {
	f.t.Helper()
	f.wait("consistent", func() bool { return len(f.differences()) == 0 })
}

// TestOverflow says that hints were lost, which really were.
func TestOverflow(t *testing.T) {
	f := newFixture(t)
	h := filtered(f.store, func(watch.Hint) bool { return false })
	f.cfg.Hints = h
	f.start()
	f.settled()
	before := f.watcher.Status().DirectoriesListed
	f.deliver("u1/new/1.h", "one")
	f.rename("u1/.A", "u1/.B")
	h.out <- watch.Hint{Lost: true}
	f.settled()
	s := f.watcher.Status()
	if s.Overflows != 1 || s.LastOverflow.IsZero() {
		t.Errorf("status %+v", s)
	}
	// u1 and what changed in it; nothing of the other mailboxes.
	if n := s.DirectoriesListed - before; n > 5 {
		t.Errorf("%d directories were listed", n)
	}
}

// TestRealOverflow makes the kernel's queue so short that it overflows.
func TestRealOverflow(t *testing.T) {
	f := newFixture(t)
	sysctl(t, "/proc/sys/fs/inotify/max_queued_events", "8", func() {
		var err error
		f.cfg.Hints, err = watch.Notify(f.store) // takes the limit of this moment
		f.must(err)
	})
	f.start()
	f.settled()
	for i := range 1000 {
		f.write(fmt.Sprintf("u1/new/%d.h", i), "x")
		if i%2 == 0 {
			f.rename(fmt.Sprintf("u1/new/%d.h", i), fmt.Sprintf("u1/cur/%d.h:2,S", i))
		}
	}
	f.settled()
	if s := f.watcher.Status(); s.Overflows == 0 {
		t.Skip("the queue did not overflow")
	}
	if puts := count(f.rest(), journal.KindPut); puts != 1000 {
		t.Errorf("%d messages were put, not 1000", puts)
	}
}

// sysctl sets a kernel parameter while f runs.
func sysctl(t *testing.T, name, value string, f func()) {
	t.Helper()
	old, err := os.ReadFile(name)
	if err == nil {
		err = os.WriteFile(name, []byte(value), 0o600)
	}
	if err != nil {
		t.Skipf("cannot set %s: %v", name, err)
	}
	defer func() {
		if err := os.WriteFile(name, old, 0o600); err != nil {
			t.Errorf("%s stays at %s: %v", name, value, err)
		}
	}()
	f()
}

// TestWatchLimit has watches for a few directories only, and then for all.
func TestWatchLimit(t *testing.T) {
	f := newFixture(t)
	h := filtered(f.store, nil)
	h.allow(3)
	f.cfg.Hints = h
	f.start()
	f.wait("polling", func() bool {
		s := f.watcher.Status()
		return s.Mode == watch.ModePolling && s.ModeReason != "" && !s.Complete && s.Phase == watch.PhaseWatching
	})
	f.manyChanges()
	h.allow(1000)
	f.wait("watching", func() bool {
		s := f.watcher.Status()
		return s.Mode == watch.ModeEvents && s.Complete && s.ModeReason == ""
	})
	f.settled()
}

// startPolling starts an observer that has no watch for u2/new, which comes last.
func (f *fixture) startPolling(every time.Duration) {
	f.t.Helper()
	h := filtered(f.store, nil)
	h.allow(9)
	f.cfg.Hints = h
	f.cfg.Timing.Poll = every
	f.start()
	f.wait("polling", func() bool {
		s := f.watcher.Status()
		return s.Mode == watch.ModePolling && s.Phase == watch.PhaseWatching && s.Dirty == 0
	})
}

// TestMovedToWhereNothingIsWatched: that a message left its folder is hinted, and
// that it came into another one is not. It is never told to be gone.
func TestMovedToWhereNothingIsWatched(t *testing.T) {
	f := newFixture(t)
	f.deliver("u1/cur/1:2,S", "a message")
	f.deliver("u1/cur/2:2,S", "another one")
	f.startPolling(time.Second)
	f.rename("u1/cur/1:2,S", "u2/new/1:2,S")
	f.remove("u1/cur/2:2,S")
	f.expect("move u1/cur/1:2,S > u2/new/1:2,S", "remove u1/cur/2:2,S")
}

// TestWalkOfAFolderIsNoScan: while polling, a walk of a folder that was renamed does not
// tell that a message is gone which came where nothing is watched.
func TestWalkOfAFolderIsNoScan(t *testing.T) {
	f := newFixture(t)
	f.deliver("u1/cur/1:2,S", "a message")
	f.startPolling(3 * time.Second)
	f.rename("u1/cur/1:2,S", "u2/new/1:2,S")
	f.rename("u1/.A", "u1/.B")
	f.wait("the message is found", func() bool { return f.knows("u2/new/1:2,S") })
	got := map[string]bool{}
	for _, e := range f.rest() {
		got[show(e)] = true
	}
	if len(got) != 2 || !got["mvdir u1/.A > u1/.B"] || !got["move u1/cur/1:2,S > u2/new/1:2,S"] {
		t.Errorf("journaled: %v", got)
	}
}

// TestBoundedDirt makes more names dirty than the observer remembers.
func TestBoundedDirt(t *testing.T) {
	f := newFixture(t)
	f.cfg.Limits = watch.Limits{Names: 10, Directories: 2, Unsettled: 2, Batch: 4}
	f.cfg.Timing.Rescan = 300 * time.Millisecond
	f.start()
	f.eventually()
	for i := range 50 {
		for _, m := range mailboxes {
			f.deliver(fmt.Sprintf("%s/new/%d.h", m, i), "x")
		}
	}
	f.eventually()
	for i := range 50 {
		for _, m := range mailboxes {
			f.rename(fmt.Sprintf("%s/new/%d.h", m, i), fmt.Sprintf("%s/cur/%d.h:2,S", m, i))
		}
	}
	f.eventually()
	for _, m := range mailboxes {
		f.remove(m + "/cur")
		f.must(os.Mkdir(f.path(m+"/cur"), 0o700))
	}
	f.eventually()
}
