package watch_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/journal/watch"
)

// gate is a Pace that a test opens.
type gate struct {
	open  atomic.Bool
	asked atomic.Int64
	out   atomic.Int64
	live  atomic.Int64
}

func (g *gate) Look(int) (func(), time.Duration) {
	g.asked.Add(1)
	if !g.open.Load() {
		return nil, time.Millisecond
	}
	g.out.Add(1)
	return func() { g.out.Add(-1) }, 0
}

func (g *gate) Live(bytes int64) { g.live.Add(bytes) }

// openGate lets the observer of f ask a gate that is open.
func openGate(f *fixture) *gate {
	g := &gate{}
	g.open.Store(true)
	f.cfg.Pace = g
	return g
}

// hold shuts the gate, and returns when a scan waits before it.
func (g *gate) hold(f *fixture) {
	g.open.Store(false)
	f.watcher.Rescan()
	asked := g.asked.Load()
	f.wait("the scan asks for leave", func() bool { return g.asked.Load() > asked })
}

// TestLiveMailDoesNotWaitForLeave: while a scan waits for leave, new mail is
// journaled; with leave the scan ends, and gives all of it back.
func TestLiveMailDoesNotWaitForLeave(t *testing.T) {
	f := newFixture(t)
	g := openGate(f)
	f.start()
	f.settled()
	g.hold(f)
	f.deliver("u1/new/1.h", "one")
	f.eventually()
	f.mailbox("u3") // with what is in it before it is watched
	f.deliver("u3/new/1.h", "one more")
	f.eventually()
	if g.live.Load() == 0 {
		t.Error("live mail was not counted")
	}
	g.open.Store(true)
	f.settled()
	if n := g.out.Load(); n != 0 {
		t.Errorf("%d leaves were not given back", n)
	}
}

// TestQuiesceNeedsNoLeave: who waits for the mail server's last words does not
// wait for the array to be spared, not even where a scan waits already.
func TestQuiesceNeedsNoLeave(t *testing.T) {
	f := newFixture(t)
	g := openGate(f)
	f.start()
	f.settled()
	g.hold(f)
	f.deliver("u1/new/1.h", "one")
	if _, err := f.watcher.Quiesce(t.Context(), func(string) {}); err != nil || len(f.differences()) > 0 {
		t.Errorf("%v; %v", err, f.differences())
	}
}

// TestARenamedFolderDoesNotWaitForLeave: what was delivered into a folder before
// the observer knew its new name is hinted under the old one, and found without
// leave, also while a scan waits for it.
func TestARenamedFolderDoesNotWaitForLeave(t *testing.T) {
	for _, scanning := range []bool{false, true} {
		f := newFixture(t)
		g := openGate(f)
		release := make(chan struct{})
		var held atomic.Bool
		f.cfg.Hints = filtered(f.store, func(watch.Hint) bool {
			if held.Load() {
				<-release
			}
			return true
		})
		f.start()
		f.settled()
		g.open.Store(false)
		if scanning {
			g.hold(f)
		}
		held.Store(true)
		f.rename("u1/.A", "u1/.B")
		f.deliver("u1/.B/new/1.h", "one")
		close(release)
		f.eventually()
		g.open.Store(true)
		f.settled()
		f.close()
	}
}

// TestWhatWaitsForLeaveIsTold: a tree that is larger than any folder waits, and
// as long as it does, not everything has been looked at.
func TestWhatWaitsForLeaveIsTold(t *testing.T) {
	f := newFixture(t)
	for i := range 70 {
		f.mailbox(fmt.Sprintf("u3/.F%d", i))
	}
	g := openGate(f)
	f.start()
	f.settled()
	g.open.Store(false)
	f.rename("u3", "u4")
	asked := g.asked.Load()
	f.wait("the walk asks for leave", func() bool { return g.asked.Load() > asked })
	if s := f.watcher.Status(); s.Dirty == 0 {
		t.Errorf("nothing is left to be looked at: %+v", s)
	}
	g.open.Store(true)
	f.settled()
}
