package salvage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/journal/watch"
)

// Rules tell which names are messages, and which names are one message.
type Rules interface {
	// Classify returns the class of the thing of type t at p.
	Classify(p journal.Path, t journal.Type) watch.Class
	// Base returns the part of a message's name that stays when its flags
	// change.
	Base(name string) string
}

// pageItems is how many names of the catalog are looked at together.
const pageItems = 512

// finder compares the store with the catalog, and takes what differs into the
// past: what happened while nobody observed the store.
type finder struct {
	root    *beneath.Root
	catalog *catalog.Catalog
	past    *past
	head    journal.Sequence
	seen    *Seen // gets the messages that the catalog does not have; nil: nobody is interested
}

// dirState says how a directory compares with the catalog.
type dirState int

const (
	dirSame    dirState = iota // it has the names that the catalog has
	dirDiffers                 // it may have others
	dirGone                    // it is not there
)

// named is an item of the catalog.
type named struct {
	path journal.Path
	item catalog.Item
}

// walk compares a directory and all beneath.
func (f *finder) walk(ctx context.Context, p journal.Path) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d, state, err := f.open(p)
	if err != nil {
		return fmt.Errorf("look for mail in %q: %w", string(p), err)
	}
	if d != nil {
		defer func() { _ = d.Close() }()
	}
	if state == dirDiffers {
		sub, err := f.list(p, d)
		if err != nil {
			return fmt.Errorf("look for mail in %q: %w", string(p), err)
		}
		for _, dir := range sub {
			if err := f.walk(ctx, dir); err != nil {
				return err
			}
		}
	}
	for from, more := "", true; more; {
		var page []named
		if page, more, err = f.page(p, from); err != nil {
			return err
		}
		for _, n := range page {
			from = n.path.Name() + "\x00"
			if err := f.known(ctx, d, state, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// open opens a directory, and says how it compares. A directory whose times are
// those of its last complete observation has the names that it had then.
func (f *finder) open(p journal.Path) (*beneath.Dir, dirState, error) {
	known, err := f.lookup(p)
	if err != nil {
		return nil, 0, err
	}
	d, err := f.root.Dir(p)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, beneath.ErrNotDirectory), errors.Is(err, beneath.ErrEscapes):
		return nil, dirGone, nil
	case err != nil:
		return nil, 0, err
	}
	info, err := d.Info()
	if err != nil {
		_ = d.Close()
		return nil, 0, err
	}
	if known != nil && known.Stamp.SameInode(info.Stamp) && watch.AsObserved(p, known, &info) {
		return d, dirSame, nil
	}
	return d, dirDiffers, nil
}

// lookup returns what the catalog has; nil for nothing.
func (f *finder) lookup(p journal.Path) (found *catalog.Item, err error) {
	err = f.catalog.View(func(t *catalog.Tx) error {
		it, err := t.Lookup(p)
		if errors.Is(err, catalog.ErrNotFound) {
			return nil
		}
		found = &it
		return err
	})
	return found, err
}

// list takes what is in a directory and not in the catalog, and returns the
// directories among it.
func (f *finder) list(p journal.Path, d *beneath.Dir) (sub []journal.Path, err error) {
	err = d.Each(func(names []beneath.Name) error {
		for _, n := range names {
			known, err := f.lookup(p.Join(n.Name))
			if err != nil {
				return err
			}
			if known != nil && known.Facts.Type == n.Type && !known.Missing {
				continue // it is looked at with the catalog's names
			}
			if n.Type == journal.TypeDirectory {
				if f.past.rules.Classify(p.Join(n.Name), n.Type) != watch.ClassIgnored {
					sub = append(sub, p.Join(n.Name))
				}
				continue
			}
			if err := f.unknown(p.Join(n.Name), n.Type); err != nil {
				return err
			}
		}
		return nil
	})
	return sub, err
}

// unknown takes a file that the catalog does not have.
func (f *finder) unknown(p journal.Path, t journal.Type) error {
	switch f.past.rules.Classify(p, t) {
	case watch.ClassMessage:
		if t != journal.TypeFile {
			return nil
		}
		if err := f.seen.add(p); err != nil {
			return err
		}
		return f.past.addEvent(event{kind: eventSeen, sequence: f.head + 1, path: p})
	case watch.ClassControl:
		return f.past.addControl(p)
	default:
		return nil
	}
}

// page returns some of what the catalog has in a directory, and whether there
// is more.
func (f *finder) page(p journal.Path, from string) (page []named, more bool, err error) {
	err = f.catalog.View(func(t *catalog.Tx) error {
		return t.List(p, from, func(name string, it catalog.Item) error {
			if len(page) == pageItems {
				more = true
				return errPageFull
			}
			page = append(page, named{p.Join(name), it})
			return nil
		})
	})
	if errors.Is(err, errPageFull) || errors.Is(err, catalog.ErrNotFound) {
		err = nil
	}
	return page, more, err
}

var errPageFull = errors.New("page full")

// known compares what the catalog has under a name with the disk.
func (f *finder) known(ctx context.Context, d *beneath.Dir, state dirState, n named) error {
	if n.item.Facts.Type == journal.TypeDirectory {
		return f.walk(ctx, n.path)
	}
	if n.item.Missing {
		return nil
	}
	switch f.past.rules.Classify(n.path, n.item.Facts.Type) {
	case watch.ClassMessage:
		return f.knownMessage(d, state, n)
	case watch.ClassControl:
		if state == dirGone {
			return nil
		}
		info, err := d.Stat(n.path.Name())
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && info.Facts.Size == n.item.Facts.Size && info.Facts.Attr.MTime == n.item.Facts.Attr.MTime {
			return nil
		}
		return f.past.addControl(n.path)
	default:
		return nil
	}
}

// knownMessage takes a message that is missing, and all others if all are
// wanted.
func (f *finder) knownMessage(d *beneath.Dir, state dirState, n named) error {
	gone := state == dirGone
	if state == dirDiffers {
		_, err := d.Stat(n.path.Name())
		switch {
		case errors.Is(err, fs.ErrNotExist):
			gone = true
		case err != nil:
			return fmt.Errorf("look at %q: %w", string(n.path), err)
		}
	}
	switch {
	case gone:
		return f.past.addEvent(event{kind: eventMissing, sequence: f.head + 1, path: n.path})
	case f.past.all && n.item.Facts.Type == journal.TypeFile:
		return f.past.addEvent(event{kind: eventPresent, sequence: f.head + 1, path: n.path})
	}
	return nil
}
