package mirror

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"sync/atomic"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
)

// stageName is the directory, in that of staging, in which contents wait. Beside
// it is what a salvage keeps, which a mirror leaves alone.
const stageName = "mirror"

// stage is the directory in which contents wait, durable and complete, to be
// renamed into the mailboxes. It begins empty with each stream.
type stage struct {
	dir   *beneath.Dir
	next  atomic.Uint64
	spare atomic.Pointer[staged] // a file without a content; nil: there is none
}

// openStage makes the staging directory, or empties it.
func openStage(root *beneath.Root) (*stage, error) {
	top, err := root.Dir(journal.Root)
	if err != nil {
		return nil, err
	}
	defer func() { _ = top.Close() }()
	if err := top.Mkdir(mailstore.Staging, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	own, err := top.Dir(mailstore.Staging)
	if err != nil {
		return nil, err
	}
	defer func() { _ = own.Close() }()
	if err := sweep(own); err != nil {
		return nil, err
	}
	if err := own.Mkdir(stageName, 0o700); err != nil {
		return nil, err
	}
	dir, err := own.Dir(stageName)
	if err != nil {
		return nil, err
	}
	return &stage{dir: dir}, nil
}

// sweep removes what an earlier stream left, and what one of a version before
// this one left beside it.
func sweep(own *beneath.Dir) error {
	return own.Each(func(names []beneath.Name) error {
		for _, n := range names {
			if n.Type == journal.TypeDirectory && n.Name != stageName || n.Name == footprintName {
				continue
			}
			if err := own.RemoveTree(n.Name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return nil
	})
}

func (s *stage) close() {
	s.drop(s.spare.Swap(nil))
	_ = s.dir.Close()
}

// prepare makes the next staged file now, so that the next content need not wait
// for that, which takes longer than to write a message. One goroutine calls it. It
// keeps no file open, or a store at rest could not be remounted read-only; and it
// leaves to create what fails.
func (s *stage) prepare() {
	if s.spare.Load() != nil {
		return
	}
	f, file, err := s.make()
	if err != nil {
		return
	}
	if err := file.Close(); err != nil {
		s.drop(f)
		return
	}
	s.spare.Store(f)
}

// create makes a staged file, or takes the one that was prepared.
func (s *stage) create() (*staged, *os.File, error) {
	if f := s.spare.Swap(nil); f != nil {
		if file, err := s.dir.Edit(f.name); err == nil {
			return f, file, nil
		}
		s.drop(f)
	}
	return s.make()
}

func (s *stage) make() (*staged, *os.File, error) {
	f := &staged{name: strconv.FormatUint(s.next.Add(1), 16)}
	file, err := s.dir.Create(f.name)
	if err != nil {
		return nil, nil, fmt.Errorf("stage a content: %w", err)
	}
	return f, file, nil
}

// drop removes a staged file that is not wanted any more.
func (s *stage) drop(f *staged) {
	if f != nil {
		_ = s.dir.Remove(f.name) // the next stream empties the directory anyway
	}
}

// staged is a content in the staging directory.
type staged struct {
	name string
	id   journal.ContentID
	size int64
	// What the file has got already: its attributes, if stamp is set.
	attr   journal.Attributes
	stamp  journal.Stamp
	source *chunkSource // that reads the file when others refer to it; nil: nobody does
	early  chan error   // tells how the sync ended that was begun when it arrived; nil: none was
}

// synced waits for the sync that was begun when the file arrived, and reports
// whether there was one: it is of what the file was then.
func (f *staged) synced() (bool, error) {
	if f.early == nil {
		return false, nil
	}
	err := <-f.early
	f.early = nil
	return true, err
}

// chunkSource finds the bytes of a transfer again: in the staging directory,
// or by their content id wherever they have gone since. It implements
// content.Source.
type chunkSource struct {
	c    *connection
	name string
	id   journal.ContentID // set at the end of the transfer
	is   journal.Stamp     // the same; zero: not known
	// placed is where the file is put, from before that until the catalog knows.
	placed atomic.Pointer[journal.Path]
}

// place says where the file is about to be put; until the catalog knows it can
// be found there.
func (s *chunkSource) place(p journal.Path) {
	if s != nil {
		s.placed.Store(&p)
	}
}

// known says that the catalog knows where the file is.
func (s *chunkSource) known() {
	if s != nil {
		s.placed.Store(nil)
	}
}

// open opens the file wherever it is by now.
func (s *chunkSource) open() (*os.File, error) {
	file, err := s.c.stage.dir.Open(s.name)
	if !errors.Is(err, fs.ErrNotExist) || !s.id.Known() {
		return file, err
	}
	if p := s.placed.Load(); p != nil && s.is.Inode != 0 {
		if file, err = s.c.m.openPath(*p); err == nil {
			if info, err := beneath.FileInfo(file); err == nil && info.Stamp.SameInode(s.is) {
				return file, nil
			}
			_ = file.Close() // another one by now
		}
	}
	return s.c.m.openContent(s.id)
}

// ReadAt reads bytes of the transfer.
func (s *chunkSource) ReadAt(p []byte, off int64) (int, error) {
	file, err := s.open()
	if err != nil {
		return 0, err
	}
	defer func() { _ = file.Close() }()
	return file.ReadAt(p, off)
}

// errNoContent says that the mirror has no such content.
var errNoContent = errors.New("no file with this content")

// openContent opens any file of the store that has the content.
func (m *Mirror) openContent(id journal.ContentID) (*os.File, error) {
	var paths []journal.Path
	if err := m.cfg.Catalog.View(func(t *catalog.Tx) error {
		var err error
		paths, err = t.FindContent(id)
		return err
	}); err != nil {
		return nil, err
	}
	for _, p := range paths {
		if file, err := m.openPath(p); err == nil {
			return file, nil
		}
	}
	return nil, errNoContent
}

// openPath opens a file of the store.
func (m *Mirror) openPath(p journal.Path) (*os.File, error) {
	dir, err := m.cfg.Root.Dir(p.Dir())
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	return dir.Open(p.Name())
}
