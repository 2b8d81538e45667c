package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strconv"

	"github.com/mailtwin/mailtwin/journal/vfs"
)

const (
	segmentSuffix = ".seg"
	tempSuffix    = ".tmp"
	windowSize    = 64 << 10  // bytes read ahead
	markEvery     = 256 << 10 // bytes between marks
)

// segment is one file of the journal.
type segment struct {
	header
	path string

	// Guarded by Log.mu.
	size  int64  // how much of it is durable; fixed once another segment follows
	marks []mark // some records' ends, so that not all must be read to find one
}

// mark says where a record ends.
type mark struct {
	at  Position
	off int64
}

// mark remembers where a record ends, if the last mark is far enough away.
func (s *segment) mark(at Position, off int64) {
	last := int64(headerSize)
	if n := len(s.marks); n > 0 {
		last = s.marks[n-1].off
	}
	if off-last >= markEvery {
		s.marks = append(s.marks, mark{at, off})
	}
}

// markBefore returns the last mark that is not after a sequence, or that of the
// header's end.
func (s *segment) markBefore(after Sequence) mark {
	n := sort.Search(len(s.marks), func(i int) bool { return s.marks[i].at.Sequence > after })
	if n == 0 {
		return mark{s.before, headerSize}
	}
	return s.marks[n-1]
}

// base is the place before the first record, as the records' epoch sees it.
func (s *segment) base() Position {
	return Position{Epoch: s.epoch, Sequence: s.before.Sequence, Digest: s.before.Digest}
}

func segmentName(first Sequence) string { return fmt.Sprintf("%016x%s", uint64(first), segmentSuffix) }

// parseSegmentName is the inverse of segmentName.
func parseSegmentName(name string) (Sequence, bool) {
	if len(name) != 16+len(segmentSuffix) {
		return 0, false
	}
	n, err := strconv.ParseUint(name[:16], 16, 64)
	return Sequence(n), err == nil && segmentName(Sequence(n)) == name
}

// createSegment makes a segment, durable, of an encoded header and maybe
// records, and leaves it open. It takes the place of one with the same name.
func createSegment(fsys vfs.FS, dir string, h header, content []byte) (*segment, vfs.File, error) {
	path := filepath.Join(dir, segmentName(h.first()))
	file, err := writeDurably(fsys, path, content)
	if err != nil {
		return nil, nil, fmt.Errorf("beginning segment %q: %w", path, err)
	}
	return &segment{header: h, path: path, size: int64(len(content))}, file, nil
}

// writeDurably gives path the content data, atomically and durably, and returns
// the file, still open.
func writeDurably(fsys vfs.FS, path string, data []byte) (_ vfs.File, err error) {
	temp := path + tempSuffix
	file, err := fsys.Open(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close())
		}
	}()
	if _, err := file.WriteAt(data, 0); err != nil {
		return nil, err
	}
	if err := file.Sync(); err != nil {
		return nil, err
	}
	if err := fsys.Rename(temp, path); err != nil {
		return nil, err
	}
	if err := fsys.SyncDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	return file, nil
}

// window reads a file forward in large pieces.
type window struct {
	file  vfs.File
	start int64 // where in the file buf begins
	buf   []byte
}

// at returns n bytes at off, valid until the next call, and reads ahead at most
// up to limit. It is io.ErrUnexpectedEOF if the file ends before.
func (w *window) at(off int64, n int, limit int64) ([]byte, error) {
	if off < w.start || off+int64(n) > w.start+int64(len(w.buf)) {
		if err := w.fill(off, n, limit); err != nil {
			return nil, err
		}
	}
	return w.buf[off-w.start:][:n], nil
}

func (w *window) fill(off int64, n int, limit int64) error {
	if off+int64(n) > limit {
		return io.ErrUnexpectedEOF
	}
	want := int(min(int64(max(n, windowSize)), limit-off))
	if cap(w.buf) < want || cap(w.buf) > 2*windowSize {
		w.buf = make([]byte, max(want, min(2*cap(w.buf), windowSize)))
	}
	got, err := w.file.ReadAt(w.buf[:want], off)
	w.start, w.buf = off, w.buf[:got]
	if got >= n {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// errBadRecord says that there is no whole record at an offset.
var errBadRecord = errors.New("bad record")

// record returns the record at off of the segment, its checksum verified. It is
// errBadRecord if there is none before limit, and any other error if the file
// could not be read.
func (w *window) record(seed uint32, off, limit int64) (frame, []byte, error) {
	b, err := w.at(off, frameSize, limit)
	if err != nil {
		return frame{}, nil, badIfEnd(err, "it breaks off")
	}
	f := decodeFrame(b)
	if f.length == 0 || f.length > maxEntry {
		return frame{}, nil, fmt.Errorf("%w: a length of %d", errBadRecord, f.length)
	}
	if b, err = w.at(off, frameSize+f.length, limit); err != nil {
		return frame{}, nil, badIfEnd(err, "it breaks off")
	}
	if frameSum(seed, b) != f.sum {
		return frame{}, nil, fmt.Errorf("%w: its checksum does not match", errBadRecord)
	}
	return f, b, nil
}

func badIfEnd(err error, why string) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %s", errBadRecord, why)
	}
	return err
}

// corrupt is ErrCorrupt with what an operator needs.
func corrupt(path string, off int64, why error) error {
	return fmt.Errorf("%w: %q at offset %d: %w; restore this file as it was, "+
		"or move the whole directory away: a new journal is begun and the mirrors compare their stores",
		ErrCorrupt, path, off, why)
}
