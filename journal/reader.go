package journal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sort"
	"time"
)

// Reader reads the records of a journal in order, as far as they are durable,
// and follows as more are appended. It is for one goroutine; readers do not
// disturb each other or the appends.
type Reader struct {
	log    *Log
	next   Sequence
	digest Digest   // before next
	known  bool     // digest is known
	seg    *segment // nil: to be looked up
	window window
	off    int64 // of next in seg
	closed bool
}

// Read returns a reader whose first record is the one after the given
// sequence. It is ErrTrimmed if that one is not kept any more, and ErrDiverged
// if the sequence is beyond the head.
func (l *Log) Read(after Sequence) (*Reader, error) {
	r := &Reader{log: l, next: after + 1}
	if err := r.seek(after); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// seek finds the place after the record after.
func (r *Reader) seek(after Sequence) error {
	seg, at, err := r.log.locate(after + 1)
	switch {
	case err != nil:
		return err
	case after > at.head.Sequence:
		return fmt.Errorf("reading the journal: %w: %d is beyond the head, %d", ErrDiverged, after, at.head.Sequence)
	}
	if err := r.enter(seg); err != nil {
		return err
	}
	from := mark{at.head, at.limit}
	if after < at.head.Sequence {
		from = r.log.markBefore(seg, after)
	}
	r.off, r.digest = from.off, from.at.Digest
	for s := from.at.Sequence + 1; s <= after; s++ {
		if _, _, err := r.record(s, at.limit); err != nil {
			return err
		}
	}
	return nil
}

// Next returns the next record, and waits for it if need be until ctx is done.
// It is ErrTrimmed if the record was dropped before it was read, ErrClosed if
// the journal or the reader was closed, ErrCorrupt if what was durable cannot be
// read back. After any error but that of ctx and of the file system the reader
// is of no more use.
func (r *Reader) Next(ctx context.Context) (Record, error) {
	for {
		wake := r.log.wakeup()
		record, ok, err := r.TryNext()
		if ok || err != nil {
			return record, err
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return Record{}, ctx.Err()
		}
	}
}

// TryNext is Next, but returns false instead of waiting.
func (r *Reader) TryNext() (Record, bool, error) {
	if r.closed {
		return Record{}, false, ErrClosed
	}
	seg, at, err := r.log.locate(r.next)
	if err != nil || r.next > at.head.Sequence {
		return Record{}, false, err
	}
	if seg != r.seg {
		if err := r.enter(seg); err != nil {
			return Record{}, false, err
		}
	}
	f, payload, err := r.record(r.next, at.limit)
	if err != nil {
		return Record{}, false, err
	}
	entry, err := decodeEntry(payload)
	if err != nil {
		return Record{}, false, corrupt(seg.path, r.off-f.size(), err)
	}
	r.next++
	return Record{Position: f.at, Time: time.Unix(0, f.time).UTC(), Entry: entry}, true, nil
}

// Close releases the reader.
func (r *Reader) Close() error {
	r.closed = true
	return r.leave()
}

func (r *Reader) leave() error {
	file := r.window.file
	r.seg, r.window = nil, window{buf: r.window.buf[:0]}
	if file == nil {
		return nil
	}
	return file.Close()
}

// enter goes to the beginning of a segment.
func (r *Reader) enter(seg *segment) error {
	if err := r.leave(); err != nil {
		return err
	}
	if r.known && r.digest != seg.before.Digest {
		return corrupt(seg.path, 0, errors.New("it does not continue the segment before it"))
	}
	file, err := r.log.fs.Open(seg.path, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) && r.log.dropped(r.next) {
		return fmt.Errorf("reading the journal: %w: sequence %d", ErrTrimmed, r.next)
	}
	if err != nil {
		return fmt.Errorf("reading the journal: %w", err)
	}
	r.seg, r.window.file, r.off = seg, file, headerSize
	r.digest, r.known = seg.before.Digest, true
	return nil
}

// record returns the record at the reader's place in its segment, which must be
// that of s, and goes to the place after it.
func (r *Reader) record(s Sequence, limit int64) (frame, []byte, error) {
	f, b, err := r.window.record(r.seg.sum, r.off, limit)
	if err == nil {
		err = f.follows(Position{Epoch: r.seg.epoch, Sequence: s - 1, Digest: r.digest}, b)
		if err != nil {
			err = fmt.Errorf("%w: %w", errBadRecord, err)
		}
	}
	if errors.Is(err, errBadRecord) {
		return frame{}, nil, corrupt(r.seg.path, r.off, err)
	}
	if err != nil {
		return frame{}, nil, fmt.Errorf("reading %q: %w", r.seg.path, err)
	}
	r.off += f.size()
	r.digest = f.at.Digest
	return f, b[frameSize:], nil
}

// extent says how much there is to read.
type extent struct {
	head  Position
	limit int64 // of the segment, in bytes
}

// locate returns the segment in which s is or will be.
func (l *Log) locate(s Sequence) (*segment, extent, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, extent{}, ErrClosed
	}
	if start := l.segments[0].before.Sequence; s <= start {
		return nil, extent{}, fmt.Errorf("reading the journal: %w: sequence %d, and %d is the oldest", ErrTrimmed, s, start+1)
	}
	n := sort.Search(len(l.segments), func(i int) bool { return l.segments[i].first() > s })
	seg := l.segments[n-1]
	return seg, extent{head: l.head, limit: seg.size}, nil
}

func (l *Log) markBefore(seg *segment, after Sequence) mark {
	l.mu.Lock()
	defer l.mu.Unlock()
	return seg.markBefore(after)
}

// dropped reports whether s is being dropped, or has been.
func (l *Log) dropped(s Sequence) bool {
	l.trimMu.Lock()
	defer l.trimMu.Unlock()
	return s <= l.Start().Sequence
}

// wakeup returns a channel that is closed at the next append, or when the
// journal is closed.
func (l *Log) wakeup() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wake
}
