package catalog

import (
	"github.com/mailtwin/mailtwin/journal"
)

// Item is what the catalog knows of one name in the store.
type Item struct {
	Facts journal.Facts
	Stamp journal.Stamp

	// Missing says of a file on a mirror that it was applied, but that its
	// content never came.
	Missing bool
	// Derived says of a Missing file that it can be made again from others. It
	// can be asked for as any other, but Totals do not count it as missing. Of
	// what is not Missing it is not kept.
	Derived bool
	// Guess says of a file on a mirror whose content the primary has not read that
	// the mirror has one which is taken to be equal, and which that is: nobody has
	// proven it. It is kept only while Facts.Content is not known, and goes with
	// the name that it is given at.
	Guess journal.ContentID
	// Digest, of a directory, covers all beneath it; the catalog keeps it.
	Digest Digest
	// Observed, of a directory, is its mtime (nanoseconds since 1970) at its
	// last complete observation; 0 means that it must be listed. Each change of
	// a name in it makes it 0: a power cut can take the change back, and the
	// mtime with it, which would then say that nothing has happened.
	Observed int64
	// Link, unless 0, names the group of hard links that a file or symbolic
	// link belongs to.
	Link uint64
}

// Totals count what is beneath a directory, that itself not included.
type Totals struct {
	Files, Directories, Symlinks uint64
	Bytes                        int64  // sizes of the files
	Unread                       uint64 // files whose content was not read yet
	Missing                      uint64 // files whose content never came, but not derived ones
	Guessed                      uint64 // files that have a Guess; Unread counts them too
}

func (t *Totals) add(o Totals) {
	t.Files += o.Files
	t.Directories += o.Directories
	t.Symlinks += o.Symlinks
	t.Bytes += o.Bytes
	t.Unread += o.Unread
	t.Missing += o.Missing
	t.Guessed += o.Guessed
}

func (t *Totals) sub(o Totals) {
	t.Files -= o.Files
	t.Directories -= o.Directories
	t.Symlinks -= o.Symlinks
	t.Bytes -= o.Bytes
	t.Unread -= o.Unread
	t.Missing -= o.Missing
	t.Guessed -= o.Guessed
}

// record is an item as it is stored.
type record struct {
	Item
	Dir    dirID  // directories: the id that its children are stored under
	Totals Totals // directories: of all beneath
}

func (r *record) isDir() bool { return r.Facts.Type == journal.TypeDirectory }

// newRecord keeps of an item what its type can have.
func newRecord(it Item) *record {
	r := &record{Item: it}
	f := &r.Facts
	if len(f.Attr.Xattrs) == 0 {
		f.Attr.Xattrs = nil
	}
	if f.Type != journal.TypeFile {
		f.Size, f.Content, r.Missing = 0, journal.ContentID{}, false
	}
	if f.Type != journal.TypeSymlink {
		f.Target = ""
	}
	r.Derived = r.Derived && r.Missing
	if f.Type != journal.TypeFile || f.Content.Known() || r.Missing {
		r.Guess = journal.ContentID{}
	}
	if f.Type == journal.TypeDirectory {
		f.Attr.MTime, r.Link = 0, 0
	} else {
		r.Observed = 0
	}
	f.Size = max(f.Size, 0)
	r.Digest = Digest{}
	return r
}

// counts returns what the item adds to the totals of its directory.
func (r *record) counts() Totals {
	var t Totals
	switch r.Facts.Type {
	case journal.TypeDirectory:
		t = r.Totals
		t.Directories++
	case journal.TypeSymlink:
		t.Symlinks = 1
	case journal.TypeFile:
		t.Files, t.Bytes = 1, r.Facts.Size
		if !r.Facts.Content.Known() {
			t.Unread = 1
		}
		if r.Missing && !r.Derived {
			t.Missing = 1
		}
		if r.Guess.Known() {
			t.Guessed = 1
		}
	}
	return t
}

// marks are the places of an item in the indexes.
type marks struct {
	inode   uint64
	link    uint64
	content journal.ContentID
	unread  bool
	missing bool
}

func (r *record) marks() (m marks) {
	if r == nil {
		return m
	}
	m.inode, m.link = r.Stamp.Inode, r.Link
	if r.Facts.Type == journal.TypeFile {
		m.unread, m.missing = !r.Facts.Content.Known(), r.Missing
		if !r.Missing {
			m.content = r.Facts.Content
		}
	}
	return m
}
