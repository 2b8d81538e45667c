package watch

import (
	"errors"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// Clock is where the observer gets the time from.
type Clock interface {
	// Now returns the time of day. It may jump.
	Now() time.Time
	// After returns a channel on which the time is sent once d has passed.
	After(d time.Duration) <-chan time.Time
}

// Pace gives leave to look at the store for what can wait: scans, listings and
// the installation of watches.
type Pace interface {
	// Look asks for leave to look at that many names. It does not block: it
	// returns what to call when that was done, by the goroutine that has asked,
	// or how long to wait before asking again. Several may ask at once.
	Look(names int) (done func(), wait time.Duration)
	// Live counts bytes of live mail that were read. It does not block either.
	Live(bytes int64)
}

// free is the Pace of whoever needs none.
type free struct{}

func (free) Look(int) (func(), time.Duration) { return func() {}, 0 }
func (free) Live(int64)                       {}

// Config says what a Watcher works with. Snapshots, Hints, Pace, Ahead, Log, Timing
// and Limits may be left out.
type Config struct {
	Root    *beneath.Root
	Catalog *catalog.Catalog
	Journal *journal.Log
	Rules   Rules
	// Snapshots: nil, and nothing of ClassDerived is journaled.
	Snapshots Snapshots
	Hints     HintSource // nil: Notify on the root. The watcher closes it at the end of Run
	Pace      Pace       // nil: nothing waits
	// Boot names the present boot of the machine; "": it is not known, and the
	// machine may have gone down since the store was observed last.
	Boot string
	// Ahead is told of the entries that are about to be appended, before they are
	// durable: the append may fail. Those of a few names are told one by one, as
	// soon as they are known. It must neither block nor change them. nil: nobody
	// is told.
	Ahead  func([]journal.Entry)
	Clock  Clock
	Log    hclog.Logger // nil: nothing is logged
	Timing Timing
	Limits Limits
}

// Timing holds the intervals of the observer. The zero value of each stands
// for the default.
type Timing struct {
	Confirm          time.Duration // before the second look at a name that is gone. Default 20 ms
	WriterFirst      time.Duration // before the second look at a file that is being written. Default 5 ms
	WriterLast       time.Duration // the longest time between two looks at it. Default 1 s
	WriterStill      time.Duration // how long a file must not have changed where leases are not to be had. Default 250 ms
	MessagesAtMost   time.Duration // how long a uidlist waits for a message that is being written. Default 60 s
	Settle           time.Duration // how long a directory is quiet before it is listed. Default 5 s
	SettleAtLatest   time.Duration // how often a busy directory is listed, and a quiet one at most. Default 60 s
	Snapshot         time.Duration // how long derived files are quiet before they are journaled. Default: Settle
	SnapshotAtLatest time.Duration // how often busy derived files are journaled, and quiet ones at most. Default: SettleAtLatest
	Racy             time.Duration // how old an mtime is before it is trusted. Default 2 s
	Health           time.Duration // between two looks at the root. Default 1 s
	Poll             time.Duration // between two scans while polling. Default 2 s
	Rescan           time.Duration // between two scans while watching. Default 15 min; negative: never
	Sync             time.Duration // between two syncs of the catalog. Default 10 s
	Unreadable       time.Duration // between the first two attempts at what cannot be read. Default 30 s
	UnreadableLast   time.Duration // the longest time between two of them. Default 15 min
	JournalRetry     time.Duration // after a failed append. Default 1 s
}

// Limits bound what the observer holds. The zero value of each stands for
// the default.
type Limits struct {
	Names       int   // dirty names, and names to be looked at again. Default 65,536
	Directories int   // dirty directories. Default 4,096
	Unsettled   int   // directories that had hints. Default 65,536
	Batch       int   // names in one cycle. Default 256
	BatchBytes  int64 // bytes that are read in one cycle. Default 8 MiB
	LargeFile   int64 // bytes; what is larger is hashed in the background. Default 4 MiB
	SyncEntries int   // entries after which the catalog is synced. Default 10,000
}

func (c *Config) setDefaults() error {
	if c.Root == nil || c.Catalog == nil || c.Journal == nil || c.Rules == nil || c.Clock == nil {
		return errors.New("watch a store: the root, catalog, journal, rules and clock are all needed")
	}
	if c.Pace == nil {
		c.Pace = free{}
	}
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	t := &c.Timing
	for _, d := range []struct {
		value *time.Duration
		is    time.Duration
	}{
		{&t.Confirm, 20 * time.Millisecond},
		{&t.WriterFirst, 5 * time.Millisecond},
		{&t.WriterLast, time.Second},
		{&t.WriterStill, 250 * time.Millisecond},
		{&t.MessagesAtMost, time.Minute},
		{&t.Settle, 5 * time.Second},
		{&t.SettleAtLatest, time.Minute},
		{&t.Racy, 2 * time.Second},
		{&t.Health, time.Second},
		{&t.Poll, 2 * time.Second},
		{&t.Rescan, 15 * time.Minute},
		{&t.Sync, 10 * time.Second},
		{&t.Unreadable, 30 * time.Second},
		{&t.UnreadableLast, 15 * time.Minute},
		{&t.JournalRetry, time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.is
		}
	}
	for _, d := range []struct {
		value *time.Duration
		is    time.Duration
	}{
		{&t.Snapshot, t.Settle}, {&t.SnapshotAtLatest, t.SettleAtLatest},
	} {
		if *d.value == 0 {
			*d.value = d.is
		}
	}
	l := &c.Limits
	for _, n := range []struct {
		value *int
		is    int
	}{
		{&l.Names, 65536}, {&l.Directories, 4096}, {&l.Unsettled, 65536}, {&l.Batch, 256}, {&l.SyncEntries, 10000},
	} {
		if *n.value <= 0 {
			*n.value = n.is
		}
	}
	if l.BatchBytes <= 0 {
		l.BatchBytes = 8 << 20
	}
	if l.LargeFile <= 0 {
		l.LargeFile = 4 << 20
	}
	return nil
}
