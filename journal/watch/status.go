package watch

import (
	"cmp"
	"sync"
	"time"

	"github.com/mailtwin/mailtwin/journal"
)

// Phase is what the observer is at.
type Phase string

// The phases.
const (
	PhaseStarting  Phase = "starting"  // the catalog catches up with the journal
	PhaseBaseline  Phase = "baseline"  // the first scan of the store
	PhaseScanning  Phase = "scanning"  // a later scan; hints are served meanwhile
	PhaseWatching  Phase = "watching"  // only hints, settling and polling
	PhaseSuspended Phase = "suspended" // the store is not as it was: nothing is journaled
	PhaseStopped   Phase = "stopped"
)

// Mode is how changes are found.
type Mode string

// The modes.
const (
	ModeEvents  Mode = "events"  // by hints of the kernel
	ModePolling Mode = "polling" // by repeated scans, because not every directory can be watched
)

// Unreadable is something that could not be read.
type Unreadable struct {
	Path  journal.Path
	Err   string    // of the last attempt
	Since time.Time // of the first attempt that failed
	// Rewritten says that it can be read, and is held back: a message was changed in
	// place.
	Rewritten bool
}

// Status is the state of a Watcher at one moment.
type Status struct {
	Phase  Phase
	Detail string // for people: what is being done, or why nothing is
	Mode   Mode
	// ModeReason says why the mode is ModePolling.
	ModeReason string
	// Complete says that a watch covers every directory that is observed. It is
	// false until the first scan is over.
	Complete bool
	Watches  int // directories that are watched

	DirectoriesDone  uint64 // of the scan that is under way, or the last one
	DirectoriesKnown uint64 // in the catalog
	// Reached is the directory that the first scan is at: those before it, in the
	// order of their names and each before what is in it, are in the catalog with
	// all that could be looked at in them. "": no first scan goes on.
	Reached journal.Path

	// Suspended says why the observer is suspended; else it is empty.
	Suspended string
	// Doubtful lists directories, by path, whose content is not journaled because
	// they were replaced in a way that looks like a mount which came or went. There
	// are no more than 1,024 of them.
	Doubtful []Doubt

	// Unreadable are those that cannot be read, by path, no more than 1,024 of
	// them; UnreadableCount is how many there are. It must not be changed.
	Unreadable      []Unreadable
	UnreadableCount int

	LastOverflow time.Time // when hints were last lost; zero: never
	Overflows    uint64
	Dirty        int // names and directories to be looked at, or being looked at
	Waiting      int // names to be looked at again: gone, being written, unreadable
	Unsettled    int // directories that had hints since they were last listed
	BeingWritten int // names that wait for a writer to finish
	// Snapshots is how many snapshots are to be journaled: what they are of is
	// replicated, and none of the counts above has them.
	Snapshots int
	// LargeSnapshots is how many are not journaled because a file is larger than
	// an entry may carry.
	LargeSnapshots int
	JournalError   string
	LastScanEnded  time.Time
	// Quiet is when everything that had been noticed was looked at; zero: never.
	// A hint may have been on its way then, for HintDelay.
	Quiet     time.Time
	scan      uint64 // the number of the last scan that ended
	undecided int    // of Waiting, those that can be waited for

	// Counters since the start.
	DirectoriesListed uint64
	FilesOpened       uint64
	Entries           uint64
	Cycles            uint64
}

// Pending is how many names were noticed and are still to be looked at, but those
// that nobody knows when they can be: what cannot be read, or waits to be completed.
func (s *Status) Pending() int { return s.Dirty + s.undecided }

// Polling says why changes since the last scan are not known; "" if events tell
// of them.
func (s *Status) Polling() string {
	if s.Mode != ModePolling {
		return ""
	}
	return cmp.Or(s.ModeReason, "not every directory can be watched")
}

// board is the status that everyone may read and only the observer writes.
type board struct {
	mu      sync.Mutex
	status  Status
	changed chan struct{} // nil, or closed at the next change
}

// change changes the status.
func (b *board) change(f func(*Status)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(&b.status)
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
}

// read returns a copy.
func (b *board) read() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.status
	s.Doubtful = append([]Doubt(nil), s.Doubtful...)
	return s
}

// next returns a channel that is closed at the next change.
func (b *board) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.changed == nil {
		b.changed = make(chan struct{})
	}
	return b.changed
}
