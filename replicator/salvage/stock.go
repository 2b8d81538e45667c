package salvage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/zeebo/blake3"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/journal/watch"
)

// maxUnreadable bounds the names that a stocktaking passes over: where there are more,
// it is not some blocks of the disk that cannot be read.
const maxUnreadable = 1024

// errFails says that a store is not one of which stock can be taken.
var errFails = fmt.Errorf("more than %d names cannot be read: does its disk fail?", maxUnreadable)

// Unreadable is a name of which no stock could be taken.
type Unreadable struct {
	Path journal.Path
	Err  error
}

// TakeStock makes the catalog say what is in the store, durably, where nobody
// has observed it for a while: a mirror compares its catalog with its primary's,
// and what the catalog does not know, a comparison could not remove. It reads
// what is new, and what a power cut may have taken back, and lists what has
// changed. It can be done again.
//
// A name that cannot be looked at, or not be read, is passed over and returned. If it
// is a file, the catalog calls its content missing: nothing is taken for equal to it or
// made from it, and its primary is asked for it, which replaces the name when the
// content is durable. The name itself stays in the store until then. A directory that
// cannot be listed ends it, for what is in it is not known.
//
// Behind a salvage, seen is what that has filled: a message that came since is on
// no other node, and ends it with an error, for a comparison would remove it. Without
// a salvage seen is nil.
func TakeStock(ctx context.Context, root *beneath.Root, cat *catalog.Catalog, rules Rules, unwritten watch.Unwritten, seen *Seen) ([]Unreadable, error) {
	s := &stock{f: finder{root: root, catalog: cat, past: &past{rules: rules}}, unwritten: unwritten, seen: seen}
	if err := s.dir(ctx, journal.Root); err != nil {
		return s.unreadable, err
	}
	return s.unreadable, cat.Sync()
}

// stock is one stocktaking.
type stock struct {
	f          finder
	unwritten  watch.Unwritten
	unreadable []Unreadable
	seen       *Seen
}

// dir makes the catalog right about one directory and all beneath.
func (s *stock) dir(ctx context.Context, p journal.Path) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d, state, err := s.f.open(p)
	if err != nil {
		return unlisted(p, err)
	}
	if state == dirGone {
		_, err := s.gone(ctx, p)
		return err
	}
	defer func() { _ = d.Close() }()
	if state == dirDiffers {
		if err := s.list(d, p); err != nil {
			return err
		}
	}
	for from, more := "", true; more; {
		var page []named
		if page, more, err = s.f.page(p, from); err != nil {
			return err
		}
		for _, n := range page {
			from = n.path.Name() + "\x00"
			if n.item.Facts.Type == journal.TypeDirectory {
				err = s.dir(ctx, n.path)
			} else if state == dirDiffers || s.f.past.rules.Classify(n.path, n.item.Facts.Type) != watch.ClassMessage {
				err = s.check(d, n)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// list takes in what a directory has and the catalog has not.
func (s *stock) list(d *beneath.Dir, p journal.Path) (err error) {
	listed := d.Each(func(names []beneath.Name) error {
		for _, n := range names {
			if err = s.learn(d, p.Join(n.Name), n.Type); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && listed != nil {
		err = unlisted(p, listed)
	}
	return err
}

// unlisted says what to do about a directory that cannot be listed.
func unlisted(p journal.Path, err error) error {
	return fmt.Errorf("what is in the directory %q cannot be told, so this node follows nobody; "+
		"if it stays so, move that directory out of the store, and what was in it is copied anew: %w", string(p), err)
}

// gone forgets a directory that is gone, but for what is known to be missing in it, and
// reports whether there is any.
func (s *stock) gone(ctx context.Context, p journal.Path) (missing bool, err error) {
	for from, more := "", true; more; {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		var page []named
		if page, more, err = s.f.page(p, from); err != nil {
			return false, err
		}
		for _, n := range page {
			from = n.path.Name() + "\x00"
			in := n.item.Missing
			switch {
			case n.item.Facts.Type == journal.TypeDirectory:
				in, err = s.gone(ctx, n.path)
			case !in:
				err = s.forget(n.path)
			}
			if err != nil {
				return false, err
			}
			missing = missing || in
		}
	}
	if !missing {
		return false, s.forget(p)
	}
	// A comparison finds that it is not as it should be.
	return true, s.f.catalog.Update(func(t *catalog.Tx) error {
		return t.Put(p, catalog.Item{Facts: journal.Facts{Type: journal.TypeDirectory}})
	})
}

func (s *stock) forget(p journal.Path) error {
	return s.f.catalog.Update(func(t *catalog.Tx) error { return t.Remove(p) })
}

// check forgets what is gone, and learns what has become another file. What is known to
// be missing stays so: by that a mirror knows what it owes.
func (s *stock) check(d *beneath.Dir, n named) error {
	info, err := d.Stat(n.path.Name())
	if errors.Is(err, fs.ErrNotExist) {
		if n.item.Missing {
			return nil
		}
		return s.forget(n.path)
	}
	if err != nil {
		return s.passOver(n.path, &n.item.Facts, err)
	}
	was := &n.item.Facts
	inDoubt := s.f.past.rules.Classify(n.path, was.Type) != watch.ClassMessage && s.unwritten.Has(info.Stamp.Change)
	if !inDoubt && !n.item.Missing && info.Facts.Type == was.Type && info.Facts.Size == was.Size && info.Facts.Attr.MTime == was.Attr.MTime &&
		(n.item.Stamp.Inode == 0 || info.Stamp.SameInode(n.item.Stamp)) {
		return nil
	}
	if n.item.Missing {
		err = s.salvaged(n.path, info.Facts.Type)
	}
	if err != nil {
		return err
	}
	return s.put(d, n.path, info)
}

// salvaged returns an error if a file that the catalog did not have is a message that
// came since the salvage.
func (s *stock) salvaged(p journal.Path, t journal.Type) error {
	if s.seen == nil || t != journal.TypeFile || s.f.past.rules.Classify(p, t) != watch.ClassMessage {
		return nil
	}
	was, err := s.seen.has(p)
	if err != nil || was {
		return err
	}
	return changing("%q came since it was looked at", string(p))
}

// learn takes a name in that the catalog does not have.
func (s *stock) learn(d *beneath.Dir, p journal.Path, t journal.Type) error {
	if t == 0 || s.f.past.rules.Classify(p, t) == watch.ClassIgnored {
		return nil
	}
	known, err := s.f.lookup(p)
	if err != nil || known != nil && known.Facts.Type == t {
		return err
	}
	info, err := d.Stat(p.Name())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := s.salvaged(p, t); err != nil {
		return err
	}
	if err != nil {
		return s.passOver(p, &journal.Facts{Type: t}, err)
	}
	return s.put(d, p, info)
}

// put puts a name into the catalog as it is on disk.
func (s *stock) put(d *beneath.Dir, p journal.Path, info beneath.Info) error {
	it := catalog.Item{Facts: info.Facts, Stamp: info.Stamp}
	var err error
	switch it.Facts.Type {
	case journal.TypeFile:
		it.Facts.Content, err = hashOf(d, p.Name())
	case journal.TypeSymlink:
		it.Facts.Target, err = d.Readlink(p.Name())
	case journal.TypeDirectory:
	default:
		return s.forget(p)
	}
	if err == nil && it.Facts.Type != journal.TypeSymlink {
		it.Facts.Attr.Xattrs, err = d.Xattrs(p.Name())
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s.forget(p)
	case err != nil && !errors.Is(err, beneath.ErrXattrs):
		return s.passOver(p, &info.Facts, err)
	}
	return s.f.catalog.Update(func(t *catalog.Tx) error { return t.Put(p, it) })
}

// passOver notes a name that cannot be read, with what is known of it. The catalog must
// not say more of it than that something is to be there.
func (s *stock) passOver(p journal.Path, f *journal.Facts, err error) error {
	short := errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
	switch err = fmt.Errorf("take stock of %q: %w", string(p), err); {
	case short:
		return err // it says nothing of the name
	case f.Type == journal.TypeDirectory:
		return unlisted(p, err)
	case len(s.unreadable) == maxUnreadable:
		return fmt.Errorf("%w: %w", errFails, err)
	}
	s.unreadable = append(s.unreadable, Unreadable{p, err})
	it := catalog.Item{Facts: *f}
	it.Missing = f.Type == journal.TypeFile
	it.Derived = s.f.past.rules.Classify(p, f.Type) == watch.ClassDerived
	it.Facts.Target = "" // of a link: a comparison makes it anew
	return s.f.catalog.Update(func(t *catalog.Tx) error { return t.Put(p, it) })
}

// hashOf reads a file.
func hashOf(d *beneath.Dir, name string) (id journal.ContentID, err error) {
	var f *os.File
	if f, err = d.Open(name); err != nil {
		return id, err
	}
	defer func() { _ = f.Close() }()
	hasher := blake3.New()
	if _, err := io.Copy(hasher, f); err != nil {
		return id, err
	}
	hasher.Sum(id[:0])
	return id, nil
}
