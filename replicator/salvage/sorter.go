package salvage

import (
	"bufio"
	"cmp"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// How much a sorter holds in memory, and how many runs it reads at one time.
const (
	sortMemory = 8 << 20
	sortRuns   = 64
	runBuffer  = 32 << 10
)

// record is something to be sorted: by key, then in the order of adding.
type record struct {
	key  string
	data []byte
}

// sorter sorts records that need not fit in memory: what is beyond is written
// in sorted runs to files that have no name, so that nothing is left of them
// after a crash.
type sorter struct {
	dir    string
	limit  int // bytes in memory; sortMemory but in tests
	held   []record
	memory int
	runs   []*os.File
}

func newSorter(dir string) *sorter { return &sorter{dir: dir, limit: sortMemory} }

// add takes a record in. The data is the sorter's from then on.
func (s *sorter) add(key string, data []byte) error {
	s.held = append(s.held, record{key, data})
	s.memory += len(key) + len(data) + 64
	if s.memory < s.limit {
		return nil
	}
	return s.spill()
}

func byKey(a, b record) int { return cmp.Compare(a.key, b.key) }

// spill writes what is held as a run.
func (s *sorter) spill() error {
	if len(s.runs) == sortRuns {
		if err := s.fold(); err != nil {
			return err
		}
	}
	slices.SortStableFunc(s.held, byKey)
	w, err := s.newRun()
	if err != nil {
		return err
	}
	for _, r := range s.held {
		if err := writeRecord(w, r); err != nil {
			return fmt.Errorf("write what is sorted: %w", err)
		}
	}
	s.held, s.memory = nil, 0
	return s.flush(w)
}

// newRun makes a file for a run.
func (s *sorter) newRun() (*bufio.Writer, error) {
	f, err := os.CreateTemp(s.dir, "sort-*.tmp")
	if err != nil {
		return nil, fmt.Errorf("sort on disk: %w", err)
	}
	s.runs = append(s.runs, f)
	if err := os.Remove(f.Name()); err != nil {
		return nil, fmt.Errorf("sort on disk: %w", err)
	}
	return bufio.NewWriterSize(f, runBuffer), nil
}

func (s *sorter) flush(w *bufio.Writer) error {
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write what is sorted: %w", err)
	}
	return nil
}

// fold makes one run of all.
func (s *sorter) fold() error {
	m, err := s.merge(nil)
	if err != nil {
		return err
	}
	old := s.runs
	s.runs = nil
	w, err := s.newRun()
	for err == nil {
		var r record
		if r, err = m.next(); err == nil {
			err = writeRecord(w, r)
		}
	}
	if errors.Is(err, io.EOF) {
		err = s.flush(w)
	}
	for _, f := range old {
		_ = f.Close() // it was only read, and is gone with its last descriptor
	}
	return err
}

func writeRecord(w *bufio.Writer, r record) error {
	var head [2 * binary.MaxVarintLen64]byte
	n := binary.PutUvarint(head[:], uint64(len(r.key)))
	n += binary.PutUvarint(head[n:], uint64(len(r.data)))
	if _, err := w.Write(head[:n]); err != nil {
		return err
	}
	if _, err := w.WriteString(r.key); err != nil {
		return err
	}
	_, err := w.Write(r.data)
	return err
}

// close lets go of everything.
func (s *sorter) close() {
	for _, f := range s.runs {
		_ = f.Close()
	}
	s.runs, s.held = nil, nil
}

// sorted returns all records in their order; nothing may be added any more.
func (s *sorter) sorted() (*merge, error) {
	slices.SortStableFunc(s.held, byKey)
	return s.merge(s.held)
}

// merge reads all runs, and then held, side by side.
func (s *sorter) merge(held []record) (*merge, error) {
	m := &merge{}
	for i, f := range s.runs {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return nil, fmt.Errorf("read what was sorted: %w", err)
		}
		if err := m.begin(&run{number: i, r: bufio.NewReaderSize(f, runBuffer)}); err != nil {
			return nil, err
		}
	}
	return m, m.begin(&run{number: len(s.runs), held: held})
}

// merge gives out the records of sorted runs in their order.
type merge struct {
	runs  runHeap
	ahead *record // was peeked at
}

func (m *merge) begin(r *run) error {
	more, err := r.advance()
	if more {
		heap.Push(&m.runs, r)
	}
	return err
}

// next returns the next record; io.EOF after the last.
func (m *merge) next() (record, error) {
	if m.ahead != nil {
		r := *m.ahead
		m.ahead = nil
		return r, nil
	}
	if len(m.runs) == 0 {
		return record{}, io.EOF
	}
	first := m.runs[0]
	r := first.record
	more, err := first.advance()
	switch {
	case err != nil:
		return record{}, err
	case more:
		heap.Fix(&m.runs, 0)
	default:
		heap.Pop(&m.runs)
	}
	return r, nil
}

// peek returns the next record without taking it.
func (m *merge) peek() (record, error) {
	r, err := m.next()
	if err == nil {
		m.ahead = &r
	}
	return r, err
}

// run is one sorted run: in a file, or in memory.
type run struct {
	record
	number int // an earlier run has what was added earlier
	r      *bufio.Reader
	held   []record
}

// advance goes to the next record, if there is one.
func (r *run) advance() (bool, error) {
	if r.r == nil {
		if len(r.held) == 0 {
			return false, nil
		}
		r.record, r.held = r.held[0], r.held[1:]
		return true, nil
	}
	size, err := binary.ReadUvarint(r.r)
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	var length uint64
	if err == nil {
		length, err = binary.ReadUvarint(r.r)
	}
	if err == nil {
		both := make([]byte, size+length)
		_, err = io.ReadFull(r.r, both)
		r.record = record{string(both[:size]), both[size:]}
	}
	if err != nil {
		return false, fmt.Errorf("read what was sorted: %w", err)
	}
	return true, nil
}

// runHeap is a heap of runs by their records.
type runHeap []*run

func (h runHeap) Len() int      { return len(h) }
func (h runHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h runHeap) Less(i, j int) bool {
	if c := strings.Compare(h[i].key, h[j].key); c != 0 {
		return c < 0
	}
	return h[i].number < h[j].number
}

// Push implements heap.Interface.
func (h *runHeap) Push(x any) { *h = append(*h, x.(*run)) }

// Pop implements heap.Interface.
func (h *runHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
