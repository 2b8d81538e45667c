package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"

	"github.com/zeebo/blake3"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/journal/watch"
)

// metaAdopted says that the catalog knows what was in the store before mailtwin.
const metaAdopted = "mirror.adopted"

// adoptBatch is how many items are put into the catalog at one time.
const adoptBatch = 500

// adoption puts into the catalog what the store held before it became a
// mirror: an old backup that was restored there, or a disk that was carried
// over. Its contents are hashed here, so that the comparison asks the primary
// for nothing that is there already, and removes what the primary does not
// have. Without it, what the catalog does not know would stay for ever. A file that
// cannot be read is missing: its content is asked for, and replaces it.
type adoption struct {
	m       *Mirror
	pending []adopted
	files   uint64
	bytes   int64
	unread  uint64
}

// unreadTold is how many files that cannot be read are logged; all are counted.
const unreadTold = 20

type adopted struct {
	path journal.Path
	item catalog.Item
}

// adopt does it once; one that was interrupted begins anew, and reads no file again
// that the catalog has by then.
func (m *Mirror) adopt(ctx context.Context) error {
	done := false
	if err := m.cfg.Catalog.View(func(t *catalog.Tx) error {
		_, err := t.Meta(metaAdopted)
		if done = err == nil; errors.Is(err, catalog.ErrNotFound) {
			err = nil
		}
		return err
	}); err != nil || done {
		return err
	}
	a := &adoption{m: m}
	// What was read is kept when it is broken off, too.
	if err := errors.Join(a.directory(ctx, journal.Root), a.flush()); err != nil {
		return err
	}
	if a.files > 0 {
		m.cfg.Log.Info("adopted what the store held already", "files", a.files, "bytes", a.bytes, "unreadable", a.unread)
	}
	return m.cfg.Catalog.UpdateDurably(func(t *catalog.Tx) error { return t.SetMeta(metaAdopted, []byte("1")) })
}

// directory adopts what is in a directory, and all beneath it.
func (a *adoption) directory(ctx context.Context, p journal.Path) error {
	dir, err := a.m.cfg.Root.Dir(p)
	if err != nil {
		return inStore(err, "read", p)
	}
	var below []journal.Path
	err = dir.Each(func(names []beneath.Name) error {
		for _, n := range names {
			path := p.Join(n.Name)
			if a.m.cfg.Rules.Classify(path, n.Type) == watch.ClassIgnored {
				continue
			}
			if err := a.name(dir, path, n.Type); err != nil {
				return err
			}
			if n.Type == journal.TypeDirectory {
				below = append(below, path)
			}
		}
		return ctx.Err()
	})
	_ = dir.Close()
	if err != nil {
		return inStore(err, "read", p)
	}
	for _, sub := range below {
		if err := a.directory(ctx, sub); err != nil {
			return err
		}
	}
	return nil
}

// name adopts one name, of the type that it was listed with.
func (a *adoption) name(dir *beneath.Dir, p journal.Path, listed journal.Type) error {
	info, err := dir.Stat(p.Name())
	item := catalog.Item{Facts: info.Facts, Stamp: info.Stamp}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, syscall.EIO) && listed == journal.TypeFile:
		item.Facts.Type = listed
		a.unreadable(p, &item, err)
		return a.put(p, item)
	case err != nil:
		return err
	}
	switch info.Facts.Type {
	case journal.TypeSymlink:
		item.Facts.Target, err = dir.Readlink(p.Name())
	case journal.TypeFile:
		err = a.content(dir, p, &item)
		a.files++
		a.bytes += info.Facts.Size
	default:
	}
	if err == nil && info.Facts.Type != journal.TypeSymlink {
		item.Facts.Attr.Xattrs, err = dir.Xattrs(p.Name())
	}
	if err != nil {
		return err
	}
	return a.put(p, item)
}

// put puts an item into the catalog, at the latest with the next flush.
func (a *adoption) put(p journal.Path, item catalog.Item) error {
	a.pending = append(a.pending, adopted{p, item})
	if len(a.pending) < adoptBatch {
		return nil
	}
	return a.flush()
}

// content finds the content of a file. If it cannot be read, it is missing.
func (a *adoption) content(dir *beneath.Dir, p journal.Path, item *catalog.Item) error {
	var was catalog.Item
	err := a.m.cfg.Catalog.View(func(t *catalog.Tx) (err error) {
		was, err = t.Lookup(p)
		return err
	})
	if err == nil && was.Facts.Content.Known() && !was.Missing && was.Stamp == item.Stamp {
		item.Facts.Content = was.Facts.Content
		return nil
	}
	if err != nil && !errors.Is(err, catalog.ErrNotFound) {
		return err
	}
	item.Facts.Content, err = hashFile(dir, p.Name())
	if errors.Is(err, syscall.EIO) {
		a.unreadable(p, item, err)
		return nil
	}
	return err
}

// unreadable makes an item that of a file whose content never came.
func (a *adoption) unreadable(p journal.Path, item *catalog.Item, err error) {
	if a.unread++; a.unread <= unreadTold {
		a.m.cfg.Log.Warn("what was in the store before cannot be read, and is asked for", "path", string(p), "error", err)
	}
	item.Facts.Content, item.Missing = journal.ContentID{}, true
	item.Derived = a.m.isDerived(p)
}

// hashFile returns the content id of a file.
func hashFile(dir *beneath.Dir, name string) (id journal.ContentID, err error) {
	file, err := dir.Open(name)
	if err != nil {
		return id, err
	}
	defer func() { _ = file.Close() }()
	hasher := blake3.New()
	if _, err := io.Copy(hasher, file); err != nil {
		return id, err
	}
	hasher.Sum(id[:0])
	return id, nil
}

// flush puts what is pending into the catalog.
func (a *adoption) flush() error {
	pending := a.pending
	a.pending = nil
	a.m.update(func(s *Status) {
		s.LastError = fmt.Sprintf("first, what the store holds already is read: %d files so far", a.files)
	})
	return a.m.cfg.Catalog.Update(func(t *catalog.Tx) error {
		for i := range pending {
			if err := t.Put(pending[i].path, pending[i].item); err != nil {
				return err
			}
		}
		return nil
	})
}
