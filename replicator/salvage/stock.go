package salvage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/zeebo/blake3"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/journal/watch"
)

// TakeStock makes the catalog say what is in the store, durably, where nobody
// has observed it for a while: a mirror compares its catalog with its primary's,
// and what the catalog does not know, a comparison could not remove. It reads
// what is new, and what a power cut may have taken back, and lists what has
// changed. It can be done again.
//
// Behind a salvage, seen is what that has filled: a message that came since is on
// no other node, and ends it with an error, for a comparison would remove it. Without
// a salvage seen is nil.
func TakeStock(ctx context.Context, root *beneath.Root, cat *catalog.Catalog, rules Rules, unwritten watch.Unwritten, seen *Seen) error {
	s := &stock{f: finder{root: root, catalog: cat, past: &past{rules: rules}}, unwritten: unwritten, seen: seen}
	if err := s.dir(ctx, journal.Root); err != nil {
		return err
	}
	return cat.Sync()
}

// stock is one stocktaking.
type stock struct {
	f         finder
	unwritten watch.Unwritten
	seen      *Seen
}

// dir makes the catalog right about one directory and all beneath.
func (s *stock) dir(ctx context.Context, p journal.Path) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d, state, err := s.f.open(p)
	if err != nil {
		return err
	}
	if state == dirGone {
		_, err := s.gone(ctx, p)
		return err
	}
	defer func() { _ = d.Close() }()
	if state == dirDiffers {
		err = d.Each(func(names []beneath.Name) error {
			for _, n := range names {
				if err := s.learn(d, p.Join(n.Name), n.Type); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
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
		return err
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
	if err == nil {
		err = s.salvaged(p, info.Facts.Type)
	}
	if err != nil {
		return err
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
	if err != nil && !errors.Is(err, beneath.ErrXattrs) {
		return fmt.Errorf("take stock of %q: %w", string(p), err)
	}
	return s.f.catalog.Update(func(t *catalog.Tx) error { return t.Put(p, it) })
}

// hashOf reads a file. One that cannot be read has no content that is known.
func hashOf(d *beneath.Dir, name string) (id journal.ContentID, err error) {
	var f *os.File
	if f, err = d.Open(name); err != nil {
		return id, err
	}
	defer func() { _ = f.Close() }()
	hasher := blake3.New()
	if _, err := io.Copy(hasher, f); err != nil {
		return journal.ContentID{}, nil // the comparison fetches it
	}
	hasher.Sum(id[:0])
	return id, nil
}
