package catalog

import (
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// compactAfter is how long after the store was opened its files are left as they
// are. What is replayed of its log makes one more of them, and at every second
// start that was one too many: then all keys are written anew, and Open would wait
// for that. Where a flood of changes makes so many files meanwhile that writes have
// to wait, it is over (see hurry).
const compactAfter = 5 * time.Second

// compactions lets one compaction of a store run at a time, and none before it is
// let go. It implements pebble.CompactionScheduler, whose own one begins at once,
// and pebble.CompactionGrantHandle. Pebble holds its own locks when it calls
// TrySchedule, and takes them when it is called.
type compactions struct {
	db pebble.DBForCompaction // set by Register, before everything else

	mu       sync.Mutex
	granted  *sync.Cond // granting has become false
	letGo    bool
	running  int  // for a moment one less, if it ends before grant has counted it
	granting bool // db is being called
	closed   bool
	timer    *time.Timer // nil: not begun
}

func newCompactions() *compactions {
	c := &compactions{}
	c.granted = sync.NewCond(&c.mu)
	return c
}

// begin lets compactions go after a while.
func (c *compactions) begin(after time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timer = time.AfterFunc(after, func() {
		c.mu.Lock()
		c.letGo = true
		c.mu.Unlock()
		c.grant()
	})
}

// hurry lets compactions go at once, if they were begun. It may be called with the
// locks of db held.
func (c *compactions) hurry() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil && !c.letGo && !c.closed {
		c.timer.Reset(0)
	}
}

// Register implements pebble.CompactionScheduler.
func (c *compactions) Register(_ int, db pebble.DBForCompaction) { c.db = db }

// Unregister implements pebble.CompactionScheduler.
func (c *compactions) Unregister() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
	}
	c.closed = true
	for c.granting {
		c.granted.Wait()
	}
}

// TrySchedule implements pebble.CompactionScheduler. A compaction that is refused
// waits, until Done or the end of the rest comes to it.
func (c *compactions) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.letGo || c.running > 0 || c.closed {
		return false, nil
	}
	c.running++
	return true, c
}

// UpdateGetAllowedWithoutPermission implements pebble.CompactionScheduler: it is
// never more than one.
func (c *compactions) UpdateGetAllowedWithoutPermission() {}

// Started implements pebble.CompactionGrantHandle.
func (c *compactions) Started() {}

// MeasureCPU implements pebble.CompactionGrantHandle.
func (c *compactions) MeasureCPU(pebble.CompactionGoroutineKind) {}

// CumulativeStats implements pebble.CompactionGrantHandle.
func (c *compactions) CumulativeStats(pebble.CompactionGrantHandleStats) {}

// Done implements pebble.CompactionGrantHandle.
func (c *compactions) Done() {
	c.mu.Lock()
	c.running--
	c.mu.Unlock()
	c.grant()
}

// grant lets a compaction run that waits. None is overlooked: who is refused is
// known to wait before the lock is free that db takes to look.
func (c *compactions) grant() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.granting {
		c.granted.Wait()
	}
	if c.running > 0 || c.closed {
		return
	}
	c.granting = true
	c.mu.Unlock()
	accepted := false
	if waits, _ := c.db.GetWaitingCompaction(); waits {
		accepted = c.db.Schedule(c)
	}
	c.mu.Lock()
	c.granting = false
	if accepted {
		c.running++
	}
	c.granted.Broadcast()
}
