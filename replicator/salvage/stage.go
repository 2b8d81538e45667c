package salvage

import (
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/zeebo/blake3"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/replicator/content"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
)

// stageName is the directory, in that of staging, in which contents wait to be
// renamed into the mailboxes.
const stageName = "salvage"

// chunkWindow is how many chunks both sides remember, from one delivery to the
// next.
const chunkWindow = 8 << 10

// fewFiles is up to how many files are made durable one by one; more are
// cheaper with one syncfs.
const fewFiles = 8

// stage is that directory.
type stage struct{ dir *beneath.Dir }

// staged is a content in it.
type staged struct {
	number uint64
	id     journal.ContentID
	size   int64
}

func (f *staged) name() string { return strconv.FormatUint(f.number, 16) }

// arriving is a content that goes on.
type arriving struct {
	offer   int
	file    *staged
	w       *os.File
	decoder *content.Decoder
}

// openStage opens the directory, and makes it if need be.
func openStage(root *beneath.Root) (*stage, error) {
	dir, err := root.MakeDirs(mailstore.Staging, stageName)
	if err != nil {
		return nil, fmt.Errorf("prepare the staging directory: %w", err)
	}
	return &stage{dir}, nil
}

func (s *stage) close() { _ = s.dir.Close() }

func (s *stage) drop(f *staged) { _ = s.dir.Remove(f.name()) } // the next salvage empties the directory

// begin opens a file for a content that comes.
func (s *stage) begin(l *ledger, window *content.Received, offer int) (*arriving, error) {
	f, w, err := s.create(l)
	if err != nil {
		return nil, err
	}
	source := stageSource{s, f.name()}
	return &arriving{offer: offer, file: f, w: w, decoder: content.NewDecoder(window, source)}, nil
}

// create makes a staged file. Numbers are used once, as long as the ledger
// lives.
func (s *stage) create(l *ledger) (*staged, *os.File, error) {
	f := &staged{number: l.next}
	l.next++
	w, err := s.dir.Create(f.name())
	if err != nil {
		return nil, nil, fmt.Errorf("stage a content: %w", err)
	}
	return f, w, nil
}

// copy stages a copy of a file of the store. nil, without an error, says that
// it has other bytes, or could not be read.
func (s *stage) copy(l *ledger, from io.Reader, id journal.ContentID, size int64) (*staged, error) {
	f, w, err := s.create(l)
	if err != nil {
		return nil, err
	}
	hasher := blake3.New()
	read := &lossy{r: io.LimitReader(from, size+1)}
	f.size, err = io.Copy(io.MultiWriter(w, hasher), read)
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, fmt.Errorf("stage a content: %w", err)
	}
	hasher.Sum(f.id[:0])
	if f.id != id || f.size != size {
		s.drop(f)
		return nil, nil
	}
	return f, nil
}

// lossy reads until something fails, and takes that for the end: what is
// lacking shows in the hash.
type lossy struct{ r io.Reader }

// Read implements io.Reader.
func (l *lossy) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if err != nil {
		err = io.EOF
	}
	return n, err
}

// sync makes staged files durable.
func (s *stage) sync(files []*staged) error {
	if len(files) > fewFiles {
		return s.dir.SyncFS()
	}
	for _, f := range files {
		file, err := s.dir.Open(f.name())
		if err == nil {
			err = file.Sync()
			if cerr := file.Close(); err == nil {
				err = cerr
			}
		}
		if err != nil {
			return fmt.Errorf("make a content durable: %w", err)
		}
	}
	return nil
}

// numbers returns the staged files; others are removed.
func (s *stage) numbers() (map[uint64]bool, error) {
	found := make(map[uint64]bool)
	names, err := s.dir.List()
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if number, err := strconv.ParseUint(n.Name, 16, 64); err == nil && n.Type == journal.TypeFile {
			found[number] = true
		} else if err := s.dir.RemoveTree(n.Name); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// stageSource finds the bytes of a content again, as long as it is staged. It
// implements content.Source.
type stageSource struct {
	s    *stage
	name string
}

// ReadAt reads bytes of the content.
func (s stageSource) ReadAt(p []byte, off int64) (int, error) {
	file, err := s.s.dir.Open(s.name)
	if err != nil {
		return 0, err
	}
	defer func() { _ = file.Close() }()
	return file.ReadAt(p, off)
}
