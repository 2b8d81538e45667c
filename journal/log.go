package journal

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mailtwin/mailtwin/journal/vfs"
)

// Options say how a journal is kept. The zero value of each but Now and Epoch
// stands for its default.
type Options struct {
	SegmentSize int64            // bytes; a new segment is begun beyond this. Default 16 MiB
	MaxSize     int64            // bytes; beyond this Trim drops what cursors still need. Default 4 GiB
	MaxAge      time.Duration    // the same for what is older. Default 7 days
	Now         func() time.Time // the clock; required
	Epoch       Epoch            // of a journal that is made by Open or Create
}

// Defaults of Options.
const (
	DefaultSegmentSize = 16 << 20
	DefaultMaxSize     = 4 << 30
	DefaultMaxAge      = 7 * 24 * time.Hour
)

func (o *Options) setDefaults() error {
	if o.Now == nil {
		return errors.New("opening a journal: no clock was given")
	}
	if o.SegmentSize <= 0 {
		o.SegmentSize = DefaultSegmentSize
	}
	if o.MaxSize <= 0 {
		o.MaxSize = DefaultMaxSize
	}
	if o.MaxAge <= 0 {
		o.MaxAge = DefaultMaxAge
	}
	return nil
}

// Log is a journal that is open. Its methods may be used concurrently. A
// directory has at most one Log at a time; whoever opens it sees to that.
type Log struct {
	fs  vfs.FS
	dir string
	opt Options

	queueMu sync.Mutex
	queue   []*call // appends that wait for their group

	// The locks below are taken in this order.
	commitMu sync.Mutex // held while a group is written
	file     vfs.File   // of the last segment; nil after it failed. Guarded by commitMu
	buf      []byte     // guarded by commitMu

	trimMu   sync.Mutex // held while segments are dropped
	untidy   bool       // a segment was removed and its name may not be. Guarded by trimMu
	saveMu   sync.Mutex // held while cursors are saved
	saved    Position   // the head in the file of cursors. Guarded by saveMu
	repaired error      // what Open had to do

	mu       sync.Mutex // guards what follows
	segments []*segment // oldest first, never empty; the last one is written to
	head     Position
	wake     chan struct{} // closed when the head moves or the journal is closed
	closed   bool
	sealed   bool // nothing is appended any more
	cursors  map[string]Position
	dirty    bool // cursors differ from the file
}

// Head returns the position of the last durable record, or the start position
// of a journal without any.
func (l *Log) Head() Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head
}

// Start returns the place before the oldest record that is kept.
func (l *Log) Start() Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.segments[0].before
}

// Repaired says what Open cut off, as ErrTornTail; nil if there was nothing.
// What was cut off had never been acknowledged.
func (l *Log) Repaired() error { return l.repaired }

// Size returns how much is kept: bytes in the segments, and entries.
func (l *Log) Size() (bytes int64, entries uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bytesLocked(), uint64(l.head.Sequence - l.segments[0].before.Sequence)
}

func (l *Log) bytesLocked() (n int64) {
	for _, s := range l.segments {
		n += s.size
	}
	return n
}

// Contains reports whether p is a place in this journal from which reading can
// go on: nil; ErrTrimmed if p is older than Start; ErrDiverged if p belongs to
// another history, be it by its epoch, its digest, or because it lies beyond
// the head.
func (l *Log) Contains(p Position) error {
	l.mu.Lock()
	start, head := l.segments[0].before, l.head
	l.mu.Unlock()
	var here Position
	switch {
	case p.Sequence > head.Sequence:
		return fmt.Errorf("%w: %v is beyond the head %v", ErrDiverged, p, head)
	case p.Sequence < start.Sequence:
		return fmt.Errorf("%w: %v is before %v", ErrTrimmed, p, start)
	case p.Sequence == head.Sequence:
		here = head
	case p.Sequence == start.Sequence:
		here = start
	default:
		var err error
		if here, err = l.positionOf(p.Sequence); err != nil {
			return err
		}
	}
	if p != here {
		return fmt.Errorf("%w: %v, and here it is %v", ErrDiverged, p, here)
	}
	return nil
}

// positionOf returns the position of a record.
func (l *Log) positionOf(s Sequence) (_ Position, err error) {
	r, err := l.Read(s - 1)
	if err != nil {
		return Position{}, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	record, ok, err := r.TryNext()
	if err == nil && !ok {
		err = fmt.Errorf("%w: sequence %d is beyond the head", ErrDiverged, s)
	}
	return record.Position, err
}

// Check reads everything that is kept and durable, verifies it, and returns
// the first thing that is wrong, as ErrCorrupt.
func (l *Log) Check() (err error) {
	r, err := l.Read(l.Start().Sequence)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for end := l.Head().Sequence; r.next <= end; {
		if _, _, err := r.TryNext(); err != nil {
			return err
		}
	}
	return nil
}

// Close waits for the appends under way, saves the cursors and closes the
// journal; waiting readers return ErrClosed. The journal is closed whatever
// Close returns: an error says that the cursors may not be saved. Closing again
// does nothing.
func (l *Log) Close() error {
	l.commitMu.Lock()
	defer l.commitMu.Unlock()
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	close(l.wake)
	l.mu.Unlock()

	err := l.saveCursors(true)
	if l.file != nil {
		err = errors.Join(err, l.file.Close())
		l.file = nil
	}
	return err
}
