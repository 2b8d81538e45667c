package journal

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/mailtwin/mailtwin/journal/vfs"
)

const (
	writeSize = 512 << 10 // bytes in one write
	groupSize = 8 << 20   // bytes after which no further call joins a group
)

// call is one Append on its way into the journal.
type call struct {
	entries []Entry
	payload []byte // all entries, encoded
	ends    []int  // where in payload each ends

	// Set by whoever writes the group, under commitMu.
	done    bool
	records []Record
	err     error
}

// Append appends entries and returns their records when they are durable. If
// it fails, none of them is in the journal and it may be tried again (after a
// crash that follows the failure they may be found there all the same, or the
// first few of them). ErrEntry says that an entry cannot be journaled,
// ErrSealed that Seal was called.
//
// Calls that come while another one is being written share one write and one
// sync among them. Entries of a call are next to each other in the journal.
func (l *Log) Append(entries ...Entry) ([]Record, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	c := &call{entries: entries, ends: make([]int, len(entries))}
	for i := range entries {
		if err := entries[i].Check(); err != nil {
			return nil, fmt.Errorf("appending to the journal: %w", err)
		}
		c.payload = entries[i].appendTo(c.payload)
		c.ends[i] = len(c.payload)
	}
	l.queueMu.Lock()
	l.queue = append(l.queue, c)
	l.queueMu.Unlock()

	// Whoever gets the lock first writes for all that queued up meanwhile.
	l.commitMu.Lock()
	defer l.commitMu.Unlock()
	for !c.done {
		l.commit(l.takeGroup())
	}
	if c.err != nil {
		return nil, fmt.Errorf("appending to the journal: %w", c.err)
	}
	return c.records, nil
}

// takeGroup takes the calls that are written together from the queue.
func (l *Log) takeGroup() []*call {
	l.queueMu.Lock()
	defer l.queueMu.Unlock()
	n, size := 0, 0
	for n < len(l.queue) && size < groupSize {
		size += len(l.queue[n].payload)
		n++
	}
	group := l.queue[:n:n]
	if l.queue = l.queue[n:]; len(l.queue) == 0 {
		l.queue = nil
	}
	return group
}

// commit writes a group and makes it durable, or fails all of it.
func (l *Log) commit(group []*call) {
	err := l.prepare()
	if err == nil {
		err = l.write(group)
	}
	for _, c := range group {
		c.done, c.err = true, err
	}
}

// prepare sees to a last segment that can be written to.
func (l *Log) prepare() error {
	if err := l.refusal(); err != nil {
		return err
	}
	l.mu.Lock()
	last := l.segments[len(l.segments)-1]
	l.mu.Unlock()
	if l.file != nil && last.size < l.opt.SegmentSize {
		return nil
	}
	if err := l.saveCursors(false); err != nil {
		return err
	}
	h := l.continuation(last, l.Head())
	return l.begin(last, h, h.encode())
}

// continuation returns the header of a segment that continues last after the
// place before: it says how much of last is valid, whatever else a write that
// failed may have left there. If nothing of last is valid but its header, the
// new segment has the same name and takes its place.
func (l *Log) continuation(last *segment, before Position) header {
	h := header{epoch: last.epoch, before: before, created: l.opt.Now().UnixNano(), previous: last.first(), length: last.size}
	if h.first() == last.first() {
		h.before, h.previous, h.length = last.before, last.previous, last.length
	}
	return h
}

// begin begins the segment with the header h and the given content after last
// or in its place, and makes it the one that is written to.
func (l *Log) begin(last *segment, h header, content []byte) error {
	next, file, err := createSegment(l.fs, l.dir, h, content)
	if err != nil {
		return err
	}
	if l.file != nil {
		_ = l.file.Close() // all of it is durable
	}
	l.file = file
	l.mu.Lock()
	defer l.mu.Unlock()
	if next.first() == last.first() {
		l.segments = l.segments[:len(l.segments)-1]
	}
	l.segments = append(l.segments, next)
	return nil
}

// write writes a group at the end of the last segment, makes it durable, and
// only then known.
func (l *Log) write(group []*call) error {
	l.mu.Lock()
	last, head := l.segments[len(l.segments)-1], l.head
	l.mu.Unlock()
	w := groupWriter{file: l.file, seed: last.sum, buf: l.buf[:0], off: last.size, durable: head.Sequence, at: head}
	w.at.Epoch = last.epoch
	w.now = time.Unix(0, l.opt.Now().UnixNano()).UTC()
	err := w.write(group)
	if l.buf = w.buf; cap(l.buf) > 2*writeSize {
		l.buf = nil // a large entry does not stay in memory
	}
	if err == nil {
		err = l.file.Sync()
	}
	if err != nil {
		return errors.Join(err, l.abandon(last))
	}
	l.publish(last, w.off, w.at)
	return nil
}

// groupWriter writes the records of a group in large pieces.
type groupWriter struct {
	file    vfs.File
	seed    uint32
	now     time.Time
	durable Sequence // before the group
	at      Position // of the last record encoded
	buf     []byte
	off     int64 // where buf belongs
}

func (w *groupWriter) write(group []*call) error {
	for _, c := range group {
		c.records = make([]Record, len(c.entries))
		start := 0
		for i, end := range c.ends {
			pending := uint32(w.at.Sequence - w.durable)
			w.buf, w.at = appendRecord(w.buf, w.seed, w.at, w.now, pending, c.payload[start:end])
			c.records[i] = Record{Position: w.at, Time: w.now, Entry: c.entries[i]}
			start = end
			if len(w.buf) < writeSize {
				continue
			}
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	return w.flush()
}

func (w *groupWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	_, err := w.file.WriteAt(w.buf, w.off)
	w.off += int64(len(w.buf))
	w.buf = w.buf[:0]
	return err
}

// publish makes what is durable known to readers.
func (l *Log) publish(last *segment, size int64, head Position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	last.size, l.head = size, head
	last.mark(head, size)
	close(l.wake)
	l.wake = make(chan struct{})
}

// abandon gives up the descriptor of a segment to which a write or sync failed:
// the kernel may call a later sync of it a success although it has dropped
// what was written. The next append begins a new segment. What was written is
// cut off through another descriptor, so that it is not found after a crash;
// should that fail too, the new segment's header still says what is valid.
func (l *Log) abandon(last *segment) error {
	_ = l.file.Close()
	l.file = nil
	file, err := l.fs.Open(last.path, os.O_RDWR)
	if err != nil {
		return fmt.Errorf("and cutting it off: %w", err)
	}
	err = file.Truncate(last.size)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("and cutting it off: %w", err)
	}
	return nil
}
