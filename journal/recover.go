package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/mailtwin/mailtwin/journal/vfs"
)

// Open opens the journal in dir, which must exist, and makes one there if there
// is none. What an append wrote without being acknowledged is kept as far as
// it is whole, made durable, and the rest cut off (see Repaired). After an error
// everything is there as before; ErrCorrupt and ErrNewer come before any repair.
func Open(fsys vfs.FS, dir string, opt Options) (*Log, error) {
	if err := opt.setDefaults(); err != nil {
		return nil, err
	}
	l := &Log{fs: fsys, dir: dir, opt: opt, wake: make(chan struct{})}
	if err := l.recover(); err != nil {
		if l.file != nil {
			err = errors.Join(err, l.file.Close())
		}
		return nil, fmt.Errorf("opening the journal in %q: %w", dir, err)
	}
	return l, nil
}

func (l *Log) recover() error {
	paths, err := l.list()
	if err != nil {
		return err
	}
	saved, err := l.loadCursors()
	if err != nil {
		return err
	}
	l.cursors, l.saved = saved.cursors, saved.head
	if err := l.openSegments(paths); err != nil {
		return err
	}
	if len(l.segments) == 0 {
		if saved.head.Sequence > 0 {
			return corrupt(filepath.Join(l.dir, cursorsName), 0, fmt.Errorf("it knows of %v, but there are no segments", saved.head))
		}
		now := l.opt.Now().UnixNano()
		return l.create(Position{Epoch: l.opt.Epoch, Digest: firstDigest(l.opt.Epoch, now)}, now)
	}
	if err := l.checkChain(); err != nil {
		return err
	}
	return l.recoverLast(saved.head)
}

// list returns the segments' paths in order, and removes what an interrupted
// atomic write left behind.
func (l *Log) list() ([]string, error) {
	names, err := l.fs.List(l.dir)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, name := range names {
		path := filepath.Join(l.dir, name)
		if _, ok := parseSegmentName(name); ok {
			paths = append(paths, path)
			continue
		}
		whole, temp := strings.CutSuffix(name, tempSuffix)
		if _, ok := parseSegmentName(whole); temp && (ok || whole == cursorsName) {
			if err := l.fs.Remove(path); err != nil {
				return nil, err
			}
		}
	}
	return paths, nil
}

// create makes the first segment of a new journal, at a time.
func (l *Log) create(after Position, now int64) error {
	h := header{epoch: l.opt.Epoch, before: after, created: now}
	s, file, err := createSegment(l.fs, l.dir, h, h.encode())
	if err != nil {
		return err
	}
	l.segments, l.file, l.head = []*segment{s}, file, s.before
	return nil
}

// openSegments reads the headers of all segments. One whose creation was
// interrupted never held anything and is dropped.
func (l *Log) openSegments(paths []string) error {
	for i, path := range paths {
		first, _ := parseSegmentName(filepath.Base(path))
		h, err := l.readHeader(path)
		switch torn := errors.Is(err, ErrTornTail); {
		case torn && i == len(paths)-1 && (i > 0 || first == 1):
			l.repaired = err
			if i == 0 {
				return nil // made anew in its place
			}
			return l.remove(path)
		case torn:
			return corrupt(path, 0, err)
		case err != nil:
			return err
		case h.first() != first:
			return corrupt(path, 0, fmt.Errorf("it begins with sequence %d", h.first()))
		}
		l.segments = append(l.segments, &segment{header: h, path: path})
	}
	return nil
}

func (l *Log) remove(path string) error {
	if err := l.fs.Remove(path); err != nil {
		return err
	}
	return l.fs.SyncDir(l.dir)
}

// readHeader says ErrTornTail if the header is not whole and nothing follows it.
func (l *Log) readHeader(path string) (_ header, err error) {
	file, err := l.fs.Open(path, os.O_RDONLY)
	if err != nil {
		return header{}, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	var b [headerSize + 1]byte
	n, err := file.ReadAt(b[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return header{}, fmt.Errorf("reading %q: %w", path, err)
	}
	h, err := decodeHeader(b[:])
	switch {
	case err == nil && n >= headerSize:
		return h, nil
	case errors.Is(err, ErrNewer):
		return header{}, fmt.Errorf("%q: %w; use the program that wrote it", path, err)
	case n <= headerSize:
		return header{}, fmt.Errorf("%w: %q has no whole header", ErrTornTail, path)
	}
	return header{}, corrupt(path, 0, err)
}

// checkChain verifies that each segment continues the one before it, and sets
// the sizes of all but the last.
func (l *Log) checkChain() error {
	for i, next := range l.segments[1:] {
		s := l.segments[i]
		if next.previous != s.first() {
			return corrupt(next.path, 0, fmt.Errorf("it continues the segment %s, which is missing", segmentName(next.previous)))
		}
		if next.before.Epoch != s.epoch {
			return corrupt(next.path, 0, fmt.Errorf("it continues epoch %d, and the segment before it has %d", next.before.Epoch, s.epoch))
		}
		if err := l.checkLength(s.path, next.length); err != nil {
			return err
		}
		s.size = next.length
	}
	return nil
}

func (l *Log) checkLength(path string, length int64) (err error) {
	file, err := l.fs.Open(path, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if length < headerSize {
		return corrupt(path, 0, fmt.Errorf("it should be %d bytes long", length))
	}
	_, err = file.ReadAt(make([]byte, 1), length-1)
	if errors.Is(err, io.EOF) {
		return corrupt(path, length-1, errors.New("the end of it is missing"))
	}
	return err
}

// recoverLast reads the last segment and opens it for appending if all of it is
// known to be durable. What is whole and not known to be durable, which a
// killed process may have left, is carried over into a new segment; what is not
// whole is left behind. known is a place that is known to have been durable;
// zero: none.
func (l *Log) recoverLast(known Position) error {
	s := l.segments[len(l.segments)-1]
	file, err := l.fs.Open(s.path, os.O_RDWR)
	if err != nil {
		return err
	}
	w := &window{file: file}
	t, err := readTail(w, s, known)
	if err == nil && t.end.Sequence < known.Sequence {
		err = corrupt(s.path, t.endOff, fmt.Errorf("the journal ends with %v, but %v was durable", t.end, known))
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	s.size, l.head = t.durableOff, t.end
	if t.bad == nil && t.durable == t.end {
		l.file = file
		return l.fs.SyncDir(l.dir) // the names may not be durable
	}
	if t.bad != nil {
		cut := fmt.Errorf("%w: cut %q at offset %d: %w", ErrTornTail, s.path, t.endOff, t.bad)
		l.repaired = errors.Join(l.repaired, cut)
	}
	return errors.Join(l.carryOver(w, s, t), file.Close())
}

// carryOver begins a segment with the records of s that are not known to be
// durable.
func (l *Log) carryOver(w *window, s *segment, t tail) error {
	h := l.continuation(s, t.durable)
	b := h.encode()
	for off := t.durableOff; off < t.endOff; {
		f, record, err := w.record(s.sum, off, t.endOff)
		if err != nil {
			return fmt.Errorf("reading %q: %w", s.path, err)
		}
		start := len(b)
		b = append(b, record...)
		binary.BigEndian.PutUint32(b[start+4:], frameSum(h.sum, b[start:]))
		off += f.size()
	}
	return l.begin(s, h, b)
}

// tail is what the last segment is found to hold.
type tail struct {
	end        Position // the last whole record
	endOff     int64    // where it ends
	durable    Position // the last record known to be durable
	durableOff int64    // where it ends
	bad        error    // why there is more in the file than whole records
}

// readTail reads a segment to the end of what is whole.
func readTail(w *window, s *segment, known Position) (tail, error) {
	t := tail{end: s.before, endOff: headerSize, durable: s.before, durableOff: headerSize}
	for at := s.base(); ; at = t.end {
		if known != (Position{}) && known.Sequence == t.end.Sequence {
			if known != t.end {
				return t, corrupt(s.path, t.endOff, fmt.Errorf("%v was durable, and %v is here", known, t.end))
			}
			t.durable, t.durableOff = t.end, t.endOff
		}
		_, err := w.at(t.endOff, 1, math.MaxInt64)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return t, nil
		}
		var f frame
		var record []byte
		if err == nil {
			f, record, err = w.record(s.sum, t.endOff, math.MaxInt64)
		}
		if errors.Is(err, errBadRecord) {
			t.bad = err
			return t, disprove(w, s, t.end.Sequence+1, t.endOff, err)
		}
		if err != nil {
			return t, fmt.Errorf("reading %q: %w", s.path, err)
		}
		if err := f.follows(at, record); err != nil {
			return t, corrupt(s.path, t.endOff, err)
		}
		if f.pending == 0 {
			t.durable, t.durableOff = t.end, t.endOff
		}
		t.end, t.endOff = f.at, t.endOff+f.size()
		s.mark(t.end, t.endOff)
	}
}

// disprove looks behind a bad record for a whole one that was written when the
// record missing at off was already durable: then this is no torn tail, but
// damage. Records of the same write prove nothing, for a disk may keep the end
// of a write and lose its middle.
func disprove(w *window, s *segment, missing Sequence, off int64, why error) error {
	for at := off + 1; ; at++ {
		b, err := w.at(at, frameSize, math.MaxInt64)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading %q: %w", s.path, err)
		}
		f := decodeFrame(b)
		if f.at.Sequence <= missing || uint64(f.at.Sequence-missing) > uint64(at-off)/frameSize || f.at.Epoch != s.epoch {
			continue
		}
		if uint64(f.pending) >= uint64(f.at.Sequence-missing) {
			continue
		}
		switch _, _, err := w.record(s.sum, at, math.MaxInt64); {
		case err == nil:
			return corrupt(s.path, off, fmt.Errorf("%w, and sequence %d after it is whole", why, f.at.Sequence))
		case !errors.Is(err, errBadRecord):
			return fmt.Errorf("reading %q: %w", s.path, err)
		}
	}
}
