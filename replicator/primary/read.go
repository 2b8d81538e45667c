package primary

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

var (
	// errGone says that there is no such file any more.
	errGone = errors.New("gone")
	// errChanged says that it is another file by now, or was while it was read.
	errChanged = errors.New("changed")
	// errNeverCame says of a primary that was a mirror before that it knows the
	// file by name only. Whoever lacks it too must not wait for it.
	errNeverCame = errors.New("the content never came to this node")
	// errLater says that a proof has to wait.
	errLater = errors.New("not read now for a proof")
	// errGivenUp says that a file which could not be read is not tried again now.
	errGivenUp = errors.New("not read again while the array is evacuated")
)

// maxCapture bounds the control files that are read as they were observed;
// see openItem.
const maxCapture = 64 << 20

// source is a file of which the first Size bytes are the content that the
// catalog speaks of.
type source struct {
	file    *os.File
	item    catalog.Item
	path    journal.Path
	bulk    *bulkReader // nil: it is live mail, which waits for nothing
	settled bool        // the file was looked at behind the last read, and closed:
	steady  bool        // it was as the catalog says
	err     error
}

// openItem opens the file that item says is at path.
//
// A file that has grown since it was observed (dovecot-uidlist does) is still
// good for the bytes that it had then, if their content id is known and can be
// checked: so a file that grows all the time is not put off for ever.
func (s *Server) openItem(path journal.Path, item catalog.Item) (*source, error) {
	dir, err := s.cfg.Root.Dir(path.Dir())
	if err != nil {
		return nil, lookupError(err)
	}
	defer func() { _ = dir.Close() }()
	file, err := dir.Open(path.Name())
	if err != nil {
		return nil, lookupError(err)
	}
	info, err := beneath.FileInfo(file)
	if err == nil && !matches(info, item) {
		err = errChanged
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return &source{file: file, item: item, path: path}, nil
}

// matches reports whether an open file is the one that the catalog knows, maybe
// since before the machine was started.
func matches(info beneath.Info, item catalog.Item) bool {
	if item.Stamp.Inode != 0 && !info.Stamp.SameInode(item.Stamp) {
		return false
	}
	if info.Facts.Size == item.Facts.Size && info.Facts.Attr.MTime == item.Facts.Attr.MTime {
		return true
	}
	return item.Facts.Content.Known() && info.Facts.Size >= item.Facts.Size && item.Facts.Size <= maxCapture
}

// reader reads the content, once. Of a file that can wait, each call is a leave
// and a read of the disk: whoever reads should do so in large steps.
func (s *source) reader() io.Reader {
	if s.bulk != nil {
		return io.LimitReader(s.bulk, s.item.Facts.Size)
	}
	return io.LimitReader(s.file, s.item.Facts.Size)
}

// settle looks at the file once more after it was read, and closes it. To do
// so again does nothing.
func (s *source) settle() {
	if s.settled {
		return
	}
	if s.bulk != nil {
		s.bulk.end(false)
	}
	var info beneath.Info
	info, s.err = beneath.FileInfo(s.file)
	s.steady = info.Facts.Size == s.item.Facts.Size && info.Facts.Attr.MTime == s.item.Facts.Attr.MTime
	s.settled = true
	_ = s.file.Close() // it was only read
}

// check says of a content that was read whether it was the one meant.
func (s *source) check(id journal.ContentID, size int64) error {
	s.settle()
	known := s.item.Facts.Content
	switch {
	case s.err != nil:
		return s.err
	case size != s.item.Facts.Size:
		return errChanged
	case known.Known() && id == known:
		return nil // also if it has grown since
	case !s.steady:
		return errChanged
	case known.Known():
		// Other bytes under the same inode, size and time: nobody has written
		// them. That is damage, and must not reach the mirror.
		return fmt.Errorf("%w: the bytes read are %s, they were %s", errDamaged, id, known)
	}
	return nil
}

var errDamaged = errors.New("damaged content")

// lookupError tells what is not there from what cannot be read.
func lookupError(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, beneath.ErrNotDirectory), errors.Is(err, beneath.ErrEscapes):
		return errGone
	case errors.Is(err, beneath.ErrNotRegular):
		return errChanged
	}
	return err
}

// openEntry opens the content of an entry wherever it is by now: the file may
// have been renamed since.
func (s *Server) openEntry(e *journal.Entry) (*source, error) {
	item := catalog.Item{Facts: e.Facts, Stamp: e.Stamp}
	src, err := s.openItem(e.Path, item)
	if err == nil || !(errors.Is(err, errGone) || errors.Is(err, errChanged)) {
		return src, err
	}
	var candidates []journal.Path
	if verr := s.cfg.Catalog.View(func(t *catalog.Tx) error {
		byStamp, err := t.FindStamp(e.Stamp)
		if err != nil {
			return err
		}
		candidates = append(candidates, byStamp...)
		if e.Facts.Content.Known() {
			byContent, err := t.FindContent(e.Facts.Content)
			if err != nil {
				return err
			}
			candidates = append(candidates, byContent...)
		}
		return nil
	}); verr != nil {
		return nil, verr
	}
	for _, p := range candidates {
		if p == e.Path {
			continue
		}
		found := item
		if found.Facts.Content.Known() {
			found.Stamp = journal.Stamp{} // any file with this content will do
		}
		if src, cerr := s.openItem(p, found); cerr == nil {
			return src, nil
		}
	}
	return nil, err
}
