package salvage

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/zeebo/blake3"

	"github.com/mailtwin/mailtwin/journal"
)

// Seen is which messages a salvage has found on disk that the catalog did not have:
// only they may enter the catalog when stock is taken. Another one has come since,
// and nobody has asked the new primary for it. It does not grow in memory. It is not
// safe for concurrent use.
type Seen struct {
	sort *sorter
	file *os.File // the keys in their order, without a name; nil before ordered
	keys int64
}

// seenKey is the size of what is kept of a path.
const seenKey = 16

// NewSeen returns what has seen nothing. Its files are in the directory dir, which
// has to be there when the salvage runs. It has to be closed.
func NewSeen(dir string) *Seen { return &Seen{sort: newSorter(dir)} }

// Close lets go of everything.
func (s *Seen) Close() {
	s.sort.close()
	if s.file != nil {
		_ = s.file.Close() // it was only read since, and has no name
	}
}

func seenAs(p journal.Path) []byte {
	sum := blake3.Sum256([]byte(p))
	return sum[:seenKey]
}

// add takes in a message; a Seen that is nil is not interested.
func (s *Seen) add(p journal.Path) error {
	if s == nil {
		return nil
	}
	return s.sort.add(string(seenAs(p)), nil)
}

// order ends the adding.
func (s *Seen) order() error {
	m, err := s.sort.sorted()
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(s.sort.dir, "seen-*.tmp")
	if err != nil {
		return fmt.Errorf("keep what was seen: %w", err)
	}
	s.file = f
	if err := os.Remove(f.Name()); err != nil {
		return fmt.Errorf("keep what was seen: %w", err)
	}
	w := bufio.NewWriterSize(f, runBuffer)
	for {
		r, err := m.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			_, err = w.WriteString(r.key)
		}
		if err != nil {
			return fmt.Errorf("keep what was seen: %w", err)
		}
		s.keys++
	}
	s.sort.close()
	if err := w.Flush(); err != nil {
		return fmt.Errorf("keep what was seen: %w", err)
	}
	return nil
}

// has reports whether a message was seen.
func (s *Seen) has(p journal.Path) (bool, error) {
	if s.file == nil {
		if err := s.order(); err != nil {
			return false, err
		}
	}
	var at [seenKey]byte
	want := seenAs(p)
	for low, high := int64(0), s.keys; low < high; {
		mid := low + (high-low)/2
		if _, err := s.file.ReadAt(at[:], mid*seenKey); err != nil {
			return false, fmt.Errorf("read what was seen: %w", err)
		}
		switch c := bytes.Compare(at[:], want); {
		case c == 0:
			return true, nil
		case c < 0:
			low = mid + 1
		default:
			high = mid
		}
	}
	return false, nil
}
