package watch_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zeebo/blake3"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/journal/watch"
)

// inherited makes the catalog one that a mirror has kept, with some files that
// never came, and starts an observer with it.
func (f *fixture) inherited(meanwhile func(), missing map[journal.Path]string) {
	f.t.Helper()
	f.inherit(meanwhile, missing, 0)
	f.settled()
}

// inherit is inherited without waiting for what comes of it; the clock of the store
// was ahead then.
func (f *fixture) inherit(meanwhile func(), missing map[journal.Path]string, ahead time.Duration) {
	f.t.Helper()
	f.close()
	c, err := catalog.Open(filepath.Join(f.state, "catalog"), catalog.Options{})
	f.must(err)
	f.must(c.UpdateDurably(func(tx *catalog.Tx) error {
		store, complete, err := watch.Leave(tx)
		if err != nil || !complete || store == (beneath.Identity{}) {
			f.t.Errorf("left %v, %v, %v", store, complete, err)
		}
		if kept, err := watch.Kept(tx); kept || err != nil {
			f.t.Errorf("kept all the same: %v", err)
		}
		for p, content := range missing {
			facts := journal.Facts{
				Type: journal.TypeFile, Size: int64(len(content)), Content: blake3.Sum256([]byte(content)),
				Attr: journal.Attributes{Mode: 0o600, MTime: 1},
			}
			if err := tx.Put(p, catalog.Item{Facts: facts, Missing: true}); err != nil {
				return err
			}
		}
		return watch.Inherit(tx, store, f.cfg.Boot, watch.Moment{Store: time.Now().Add(ahead), Node: f.cfg.Clock.Now()})
	}))
	f.must(c.Close())
	meanwhile()
	f.start()
}

// TestInherited: of a catalog that was a mirror's nothing is a baseline.
func TestInherited(t *testing.T) {
	f := started(t)
	f.deliver("u1/new/1.h", "one")
	f.deliver("u1/new/2.h", "two")
	f.write("u1/subscriptions", "A\n")
	f.settled()
	f.inherited(func() {}, nil)
	f.noMore() // it is as the catalog says
	f.inherited(func() {
		f.deliver("u2/new/3.h", "three")
		f.rename("u1/new/1.h", "u1/cur/1.h:2,S")
		f.remove("u1/new/2.h")
	}, nil)
	got := map[string]bool{}
	for _, e := range f.rest() {
		got[show(e)] = true
	}
	for _, want := range []string{"put u2/new/3.h", "move u1/new/1.h > u1/cur/1.h:2,S", "remove u1/new/2.h"} {
		if !got[want] {
			t.Errorf("%q is not journaled, but %v", want, got)
		}
	}
	if len(got) != 3 {
		t.Errorf("journaled: %v", got)
	}
}

// TestMissingIsNotGone: what never came to a mirror is not removed by anybody,
// and is journaled when it comes.
func TestMissingIsNotGone(t *testing.T) {
	f := started(t)
	f.deliver("u1/new/1.h", "one")
	f.settled()
	missing := map[journal.Path]string{
		"u1/cur/5.h:2,S":  "five",
		"u1/new/6.h":      "six",
		"u1/cur/7.h:2,":   "seven",
		"u1/.A/cur/8.h":   "eight",
		"u1/.A/maildir":   "control",
		"u1/.A/new/9.h":   "nine",
		"u2/cur/10.h:2,F": "ten",
	}
	f.inherited(func() {
		f.deliver("u1/cur/7.h:2,", "seven") // it comes while nobody looks
		f.write("u1/.A/maildir", "control")
	}, missing)
	got := map[string]bool{}
	for _, e := range f.rest() {
		got[show(e)] = true
	}
	if len(got) != 2 || !got["put u1/cur/7.h:2,"] || !got[`put u1/.A/maildir +0 "control"`] {
		t.Errorf("journaled: %v", got)
	}
	f.deliver("u1/cur/5.h:2,S", "five")
	f.expect("put u1/cur/5.h:2,S")
	f.deliver("u1/cur/6.h:2,S", "six") // under the flags that it has elsewhere
	f.expect("remove u1/new/6.h", "put u1/cur/6.h:2,S")
	f.watcher.Rescan()
	f.settled()
	f.restart()
	f.settled()
	f.noMore()
	items := f.items()
	for _, p := range []journal.Path{"u1/.A/cur/8.h", "u1/.A/new/9.h", "u2/cur/10.h:2,F"} {
		if it, ok := items[p]; !ok || !it.Missing {
			t.Errorf("%s is %+v now", p, it)
		}
	}
	for _, p := range []journal.Path{"u1/cur/5.h:2,S", "u1/cur/6.h:2,S", "u1/cur/7.h:2,", "u1/.A/maildir"} {
		if it, ok := items[p]; !ok || it.Missing {
			t.Errorf("%s is %+v now", p, it)
		}
	}
	f.must(os.Rename(f.path("u1/.A"), filepath.Join(t.TempDir(), "A"))) // at once, with what is missing in it
	f.expect("rmdir u1/.A")
}

// TestLostIsNotRemoved: what a mirror has lost, before it became primary, was not
// removed by those who use the mail. What they remove afterwards is.
func TestLostIsNotRemoved(t *testing.T) {
	f := started(t)
	f.mailbox("u1/.B")
	f.mailbox("u1/.B/.C")
	for _, p := range []string{"u1/cur/1:2,S", "u1/new/2", "u1/new/3", "u1/.B/new/4", "u1/.B/.C/cur/5:2,", "u2/new/6"} {
		f.deliver(p, "message "+p)
	}
	f.write("u2/subscriptions", "A\n")
	f.settled()
	f.lose("u1/new/2", "u1/.B", "u2/subscriptions")
	f.inherited(func() { f.remove("u1/cur/1:2,S") }, nil)
	f.expect("remove u1/cur/1:2,S")
	lost := []journal.Path{"u1/new/2", "u1/.B/new/4", "u1/.B/.C/cur/5:2,", "u2/subscriptions"}
	still := func(when string) {
		t.Helper()
		items := f.items()
		for _, p := range lost {
			if it, ok := items[p]; !ok || !it.Missing {
				t.Errorf("%s: %s is %+v", when, p, it)
			}
		}
	}
	still("at first")
	f.remove("u1/new/3") // its directory changes, and so does that of the folder
	f.mailbox("u1/.D")
	f.settled()
	f.restart()
	f.settled()
	still("later")
	f.mailbox("u1/.B")
	f.deliver("u1/.B/new/4", "message u1/.B/new/4") // somebody brings it back
	f.settled()
	lost = slices.DeleteFunc(lost, func(p journal.Path) bool { return p == "u1/.B/new/4" })
	still("in a folder that is made again")
	f.must(f.watcher.GiveUp())
	f.settled()
	for p, it := range f.items() {
		if it.Missing {
			t.Errorf("given up, and still there: %s", p)
		}
	}
}

// TestReplayOfAnotherHistory: a catalog is not led on by a journal that it does
// not belong to.
func TestReplayOfAnotherHistory(t *testing.T) {
	f := started(t)
	f.deliver("u1/new/1.h", "one")
	f.settled()
	f.must(f.catalog.Update(func(tx *catalog.Tx) error {
		at := tx.Position()
		at.Digest[0]++
		tx.SetPosition(at)
		return nil
	}))
	if err := watch.Replay(t.Context(), f.catalog, f.log); !errors.Is(err, journal.ErrDiverged) {
		t.Errorf("replayed: %v", err)
	}
}

// TestQuiesce: its end is the head of the journal with everything in it that was
// done before.
func TestQuiesce(t *testing.T) {
	f := started(t)
	for round := range 5 {
		for _, name := range []string{"a", "b", "c", "d"} {
			f.deliver("u1/new/"+name+string(rune('0'+round))+".h", name)
		}
		f.write("u1/subscriptions", strings.Repeat("A\n", round+1))
		if round > 0 {
			f.remove("u1/new/a" + string(rune('0'+round-1)) + ".h")
			f.rename("u1/new/b"+string(rune('0'+round-1))+".h", "u1/cur/b"+string(rune('0'+round-1))+".h:2,S")
		}
		var said []string
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		head, err := f.watcher.Quiesce(ctx, func(words string) { said = append(said, words) })
		cancel()
		if err != nil {
			t.Fatalf("%v; said %q; status %+v", err, said, f.watcher.Status())
		}
		if head != f.log.Head() || len(f.differences()) > 0 {
			t.Errorf("round %d: %v, the head is %v; differences %v; said %q", round, head, f.log.Head(), f.differences(), said)
		}
	}
}

// TestQuiesceTakesSnapshots: they do not wait until it has been quiet for long.
func TestQuiesceTakesSnapshots(t *testing.T) {
	f := withIndex(t)
	f.cfg.Timing.Snapshot, f.cfg.Timing.SnapshotAtLatest = time.Hour, 2*time.Hour
	f.start()
	f.settled()
	for _, box := range []string{"u1", "u2"} {
		f.write(box+"/index.log", "1\n2\n")
		f.write(box+"/index", "1\n")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := f.watcher.Quiesce(ctx, func(string) {}); err != nil {
		t.Fatal(err)
	}
	for _, p := range []journal.Path{"u1/index", "u1/index.log", "u2/index", "u2/index.log"} {
		if !f.knows(p) {
			t.Errorf("%s is not journaled", p)
		}
	}
}

// TestQuiesceSaysWhatItWaitsFor: for a file that is being written there is no
// end, and the caller learns why.
func TestQuiesceSaysWhatItWaitsFor(t *testing.T) {
	f := started(t)
	writer, err := os.Create(f.path("u1/new/1.h"))
	f.must(err)
	ctx, cancel := context.WithCancel(t.Context())
	_, err = f.watcher.Quiesce(ctx, func(words string) {
		if strings.Contains(words, "being written") {
			cancel()
		}
	})
	cancel()
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "being written") {
		t.Errorf("it ends with: %v", err)
	}
	f.must(writer.Close())
	ctx, cancel = context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := f.watcher.Quiesce(ctx, func(string) {}); err != nil || len(f.differences()) > 0 {
		t.Errorf("closed: %v, differences %v", err, f.differences())
	}
	f.stop()
	late, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := f.watcher.Quiesce(late, func(string) {}); err == nil {
		t.Error("an observer that has stopped is quiescent")
	}
}

// TestMissingIsGivenUp: what never came is removed when the operator says so, and
// nothing else is; what is there after all stays.
func TestMissingIsGivenUp(t *testing.T) {
	f := started(t)
	f.deliver("u1/new/1.h", "one")
	f.settled()
	f.inherited(func() {}, map[journal.Path]string{"u1/cur/5.h:2,S": "five", "u1/new/6.h": "six", "u1/cur/7.h:2,": "seven"})
	f.noMore()
	f.must(f.watcher.GiveUp())
	f.settled()
	got := map[string]bool{}
	for _, e := range f.rest() {
		got[show(e)] = true
	}
	for _, want := range []string{"remove u1/cur/5.h:2,S", "remove u1/new/6.h", "remove u1/cur/7.h:2,"} {
		if !got[want] {
			t.Errorf("%q is not journaled, but %v", want, got)
		}
	}
	for e := range got {
		if e == "remove u1/new/1.h" {
			t.Errorf("what is there is removed: %v", got)
		}
	}
	f.deliver("u1/new/6.h", "six") // from a backup
	f.expect("put u1/new/6.h")
}

// TestRemovedWithAClockSetBack: no directory has changed since the node became
// primary, by a clock that was set back since. What is gone was removed all the same.
func TestRemovedWithAClockSetBack(t *testing.T) {
	f := newFixture(t)
	clock := new(jumpingClock)
	f.cfg.Clock = clock
	f.start()
	f.deliver("u1/cur/1:2,S", "one")
	f.deliver("u1/cur/2:2,S", "two")
	f.settled()
	clock.jump(time.Hour)
	f.inherited(func() { clock.jump(-time.Hour); f.remove("u1/cur/1:2,S") }, nil)
	f.expect("remove u1/cur/1:2,S")
	f.remove("u1/cur/2:2,S")
	f.expect("remove u1/cur/2:2,S")
}

// meanwhile are hints that leave one directory to the scan itself, and do something
// when that comes there.
type meanwhile struct {
	*testHints
	at    journal.Path
	ahead *atomic.Bool // somebody was there ahead of the scan
	once  *sync.Once
	do    func()
}

func (f *fixture) whenScanIsAt(at journal.Path, do func()) {
	f.cfg.Hints = meanwhile{testHints: filtered(f.store, nil), at: at, ahead: &atomic.Bool{}, once: &sync.Once{}, do: do}
}

func (h meanwhile) Add(dir journal.Path) error {
	if dir == h.at {
		if !h.ahead.Swap(true) {
			return errors.New("it is left to the scan")
		}
		h.once.Do(h.do)
	}
	return h.testHints.Add(dir)
}

// lose removes messages while nobody looks, long enough before what follows.
func (f *fixture) lose(names ...string) {
	f.t.Helper()
	f.close()
	for _, p := range names {
		f.remove(p)
	}
	lostAt := time.Now()
	f.wait("a later time", func() bool { return time.Since(lostAt) > 50*time.Millisecond }) // file systems have coarse clocks
}

// stillMissing fails unless the catalog has these as what never came.
func (f *fixture) stillMissing(names ...journal.Path) {
	f.t.Helper()
	items := f.items()
	for _, p := range names {
		if it, ok := items[p]; !ok || !it.Missing {
			f.t.Errorf("%s is %+v", p, it)
		}
	}
}

// TestLostWhereMailComesAtOnce: what was lost was not removed either where mail has
// come since the scan was there, before it is at its end.
func TestLostWhereMailComesAtOnce(t *testing.T) {
	f := started(t)
	for _, p := range []string{"u1/cur/1:2,S", "u1/cur/2:2,S", "u1/cur/3:2,"} {
		f.deliver(p, "message "+p)
	}
	f.settled()
	f.lose("u1/cur/1:2,S")
	f.whenScanIsAt("u2/new", func() {
		f.rename("u1/cur/3:2,", "u1/cur/3:2,S")
		f.remove("u1/cur/2:2,S")
	})
	f.inherited(func() {}, nil)
	f.expect("move u1/cur/3:2, > u1/cur/3:2,S", "remove u1/cur/2:2,S")
	f.stillMissing("u1/cur/1:2,S")
}

// TestRemovedAfterTheFirstScan: what is removed when the first scan is over was not
// lost, though the clock by which the node became primary is an hour ahead of that of
// the store.
func TestRemovedAfterTheFirstScan(t *testing.T) {
	f := newFixture(t)
	clock := new(jumpingClock)
	f.cfg.Clock = clock
	f.start()
	for _, p := range []string{"u1/cur/1:2,S", "u1/cur/2:2,S", "u1/cur/3:2,S"} {
		f.deliver(p, "message "+p)
	}
	f.settled()
	clock.jump(time.Hour)
	f.lose("u1/cur/1:2,S")
	f.inherited(func() {}, nil)
	f.stillMissing("u1/cur/1:2,S")
	f.remove("u1/cur/2:2,S")
	f.expect("remove u1/cur/2:2,S")
	f.restart()
	f.settled()
	f.remove("u1/cur/3:2,S")
	f.expect("remove u1/cur/3:2,S")
	f.stillMissing("u1/cur/1:2,S")
}

// callingRules call something when a name is classified.
type callingRules struct {
	maildir
	at map[journal.Path]func()
}

func (r callingRules) Classify(p journal.Path, t journal.Type) watch.Class {
	if do := r.at[p]; do != nil {
		do()
	}
	return r.maildir.Classify(p, t)
}

// TestRemovedWhileLostNamesAreFound: a message that got a new name while what was lost
// is found, a few names at a time, and was removed then, was not lost.
func TestRemovedWhileLostNamesAreFound(t *testing.T) {
	f := started(t)
	for _, p := range []string{"u1/cur/1:2,S", "u1/cur/2:2,S", "u1/cur/3:2,"} {
		f.deliver(p, "message "+p)
	}
	f.settled()
	f.lose("u1/cur/1:2,S", "u1/cur/2:2,S")
	var deaf atomic.Bool
	f.cfg.Hints = filtered(f.store, func(watch.Hint) bool { return !deaf.Load() })
	f.cfg.Limits.Batch = 1
	dirty := func() int { return f.watcher.Status().Dirty }
	f.cfg.Rules = callingRules{at: map[journal.Path]func(){
		"u1/cur/1:2,S": sync.OnceFunc(func() {
			before := dirty()
			f.rename("u1/cur/3:2,", "u1/cur/3:2,S")
			for end := time.Now().Add(patience); dirty() < before+2 && time.Now().Before(end); {
				runtime.Gosched() // the hints come
			}
			deaf.Store(true)
		}),
		"u1/cur/2:2,S": sync.OnceFunc(func() { f.remove("u1/cur/3:2,S") }),
	}}
	f.inherited(func() {}, nil)
	f.expect("move u1/cur/3:2, > u1/cur/3:2,S", "remove u1/cur/3:2,S")
	f.stillMissing("u1/cur/1:2,S", "u1/cur/2:2,S")
}

// TestLostBesideAnotherClock: the store is on another machine, by whose clock it is an
// hour earlier, or later, than by the node's when that becomes primary. What was lost
// was not removed, and what was removed was not lost.
func TestLostBesideAnotherClock(t *testing.T) {
	for _, ahead := range []time.Duration{time.Hour, -time.Hour} {
		f := newFixture(t)
		clock := new(jumpingClock)
		f.cfg.Clock = clock
		f.start()
		for _, p := range []string{"u1/cur/1:2,S", "u2/cur/2:2,S"} {
			f.deliver(p, "message "+p)
		}
		f.settled()
		f.lose("u1/cur/1:2,S")
		clock.jump(ahead)
		f.inherited(func() {
			clock.jump(max(0, -ahead)) // it is set right
			f.remove("u2/cur/2:2,S")
		}, nil)
		f.expect("remove u2/cur/2:2,S")
		f.stillMissing("u1/cur/1:2,S")
	}
}
