package watch_test

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/journal"
)

// meeting is a Pace that gives leave back to nobody, but to the scan at the root,
// before two have it at the same time.
type meeting struct {
	here atomic.Int64
	met  chan struct{}
}

func (m *meeting) Look(int) (func(), time.Duration) {
	switch m.here.Add(1) {
	case 1:
		return func() {}, 0
	case 3:
		close(m.met)
	}
	return func() {
		select {
		case <-m.met:
		case <-time.After(patience):
		}
	}, 0
}

func (m *meeting) Live(int64) {}

// TestSeveralLookAheadOfAScan: directories are looked at several at a time.
func TestSeveralLookAheadOfAScan(t *testing.T) {
	f := started(t)
	f.close()
	m := &meeting{met: make(chan struct{})}
	f.cfg.Pace = m
	f.start()
	f.wait("two of them have leave", func() bool { return m.here.Load() >= 3 })
	f.settled()
	f.noMore()
}

// narrow is a Pace that lets one look at a time, and another one much later.
type narrow struct{ out atomic.Bool }

func (n *narrow) Look(int) (func(), time.Duration) {
	if !n.out.CompareAndSwap(false, true) {
		return nil, 2 * patience
	}
	return func() { n.out.Store(false) }, 0
}

func (n *narrow) Live(int64) {}

// withFolders returns a fixture whose watcher has seen so many folders, and has
// ended.
func withFolders(t *testing.T, n int) *fixture {
	f := newFixture(t)
	for i := range n {
		f.mailbox(fmt.Sprintf("u3/.F%03d", i))
	}
	f.start()
	f.settled()
	f.close()
	return f
}

// TestLeaveThatIsGivenBackIsTaken: who waits because others look asks again when
// one of them has ended, and not when time has passed.
func TestLeaveThatIsGivenBackIsTaken(t *testing.T) {
	f := withFolders(t, 30)
	f.deliver("u3/.F015/new/1.h", "one")
	f.cfg.Pace = &narrow{}
	f.start()
	f.settled()
}

// held are hints that leave one directory to the scan itself, and let it wait there.
type held struct {
	*testHints
	at      journal.Path
	ahead   *atomic.Bool // somebody was there ahead of the scan
	release chan struct{}
}

func holdAt(f *fixture, at journal.Path) held {
	return held{testHints: filtered(f.store, nil), at: at, ahead: &atomic.Bool{}, release: make(chan struct{})}
}

func (h held) Add(dir journal.Path) error {
	if dir == h.at {
		if !h.ahead.Swap(true) {
			return errors.New("it is left to the scan")
		}
		<-h.release
	}
	return h.testHints.Add(dir)
}

// TestNobodyLooksTooFarAhead: what is looked at ahead of a scan that comes to no
// end has one.
func TestNobodyLooksTooFarAhead(t *testing.T) {
	f := withFolders(t, 100)
	g := openGate(f)
	h := holdAt(f, "u1/.A")
	f.cfg.Hints = h
	f.start()
	const most = 256 + 3 // and the root, and those that the scan has come to
	f.wait("they look ahead", func() bool { return g.asked.Load() >= most-1 })
	if n := g.asked.Load(); n > most {
		t.Errorf("%d directories were looked at", n)
	}
	close(h.release)
	f.settled()
	f.noMore()
	if n := g.out.Load(); n != 0 {
		t.Errorf("%d leaves were not given back", n)
	}
}

// TestWhatWasLookedAtAheadIsObserved: changes that were made meanwhile in what was
// looked at already are found as ever.
func TestWhatWasLookedAtAheadIsObserved(t *testing.T) {
	f := started(t)
	f.write("u1/subscriptions", "A\n")
	f.expect(`put u1/subscriptions +0 "A\n"`)
	f.close()
	f.deliver("u2/new/1.h", "one")
	g := openGate(f)
	h := holdAt(f, "u1/.A")
	f.cfg.Hints = h
	f.start()
	const all = 1 + 4*3 + 2 // the root, each mailbox with its directories, the file of u1, and the names in u2/new
	f.wait("all is looked at", func() bool { return g.asked.Load() >= all && g.out.Load() == 0 })
	f.write("u1/subscriptions", "B\n")
	f.remove("u1/.A")
	f.deliver("u2/new/2.h", "two")
	close(h.release)
	f.settled()
	for _, p := range []journal.Path{"u1/.A", "u1/.A/cur"} {
		if _, ok := f.items()[p]; ok {
			t.Errorf("%s is still known", p)
		}
	}
}

// TestRemovedBehindALookAhead: a file that is removed when it was looked at, and before
// the scan comes to its directory, is not forgotten by that.
func TestRemovedBehindALookAhead(t *testing.T) {
	f := newFixture(t)
	f.write("u2/subscriptions", "A\n")
	f.start()
	f.settled()
	f.close()
	f.cfg.Timing.Settle, f.cfg.Timing.SettleAtLatest = time.Hour, 2*time.Hour // no listing finds it
	f.cfg.Timing.Confirm = time.Second
	g := openGate(f)
	h := holdAt(f, "u1/.A")
	f.cfg.Hints = h
	f.start()
	const all = 1 + 4*3 + 1 // the root, each mailbox with its directories, and the file
	f.wait("all is looked at", func() bool { return g.asked.Load() >= all && g.out.Load() == 0 })
	f.remove("u2/subscriptions")
	f.wait("it is hinted", func() bool { return f.watcher.Status().Dirty > 1 })
	close(h.release)
	if e := show(f.next()); e != "remove u2/subscriptions" {
		t.Errorf("journaled: %s", e)
	}
}

// TestWhatIsAsKnownIsLookedAtOnce: the scan has nothing to do where nothing has
// changed, but what was looked at ahead of it is watched.
func TestWhatIsAsKnownIsLookedAtOnce(t *testing.T) {
	f := withFolders(t, 30)
	h := filtered(f.store, nil)
	f.cfg.Hints = h
	f.start()
	f.settled()
	f.noMore()
	s := f.watcher.Status()
	if h.added != s.Watches || h.added != len(h.dirs) || s.DirectoriesListed != 0 {
		t.Errorf("%d watches of %d directories were added %d times, and %d directories were listed", s.Watches, len(h.dirs), h.added, s.DirectoriesListed)
	}
	f.deliver("u3/.F017/new/1.h", "one")
	f.expect("put u3/.F017/new/1.h")
}

// TestChangesInPlaceAreFoundAheadOfAScan: of a directory that has not changed, a
// file that did has; also where its size and its mtime are as before.
func TestChangesInPlaceAreFoundAheadOfAScan(t *testing.T) {
	f := withFolders(t, 3)
	for _, p := range []string{"u3/.F000/subscriptions", "u3/.F001/subscriptions"} {
		f.write(p, "A\n")
	}
	f.start()
	f.settled()
	f.close()
	f.write("u3/.F000/subscriptions", "B\n")
	f.write("u3/.F001/subscriptions", "C\n")
	if err := os.Chtimes(f.path("u3/.F001/subscriptions"), time.Unix(1e9, 0), time.Unix(1e9, 0)); err != nil {
		t.Fatal(err)
	}
	f.start()
	f.expect(
		`put u3/.F000/subscriptions +0 "B\n"`,
		`put u3/.F001/subscriptions +0 "C\n"`,
	)
	f.settled()
	f.noMore()
}
