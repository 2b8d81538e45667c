package mailboxes

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// Mailbox is a directory that messages are in.
type Mailbox struct {
	Path  journal.Path
	Inbox bool // no mailbox is above it
	// Messages counts what is in its new and its cur.
	Messages catalog.Totals
	// Digests are those of its new and its cur; zero: there is none, or nothing
	// in it.
	Digests [2]catalog.Digest
	// Newest is the latest mtime of its messages, nanoseconds since 1970; only
	// if the walk was asked for it.
	Newest int64
}

// Walk is a walk through the mailboxes in a directory and beneath it.
type Walk struct {
	// Top is where it begins; the zero value is the whole store.
	Top journal.Path
	// Newest has it look at every message.
	Newest bool
	// Names is how many names it looks at, about, before a page ends; 0: it
	// does not end for that.
	Names int
	// Reached is how far the catalog has come with a store that it does not know
	// yet, see watch.Status: there a page ends, and before a mailbox that is not
	// known as a whole. "": the catalog knows all.
	Reached journal.Path
}

// Place is how far a walk has come: the directory that it was at last. The zero
// Place is its beginning. It stays right whatever changes in between.
type Place string

// errEnough ends a page.
var errEnough = errors.New("enough")

// Page calls f with the mailboxes after a place until f reports false, which it
// may do after it has taken the one that it was given, or the page ends. It
// returns where to go on, and whether the walk is over.
func (w Walk) Page(t *catalog.Tx, after Place, f func(Mailbox) (bool, error)) (next Place, done bool, err error) {
	if w.Top == "" {
		w.Top = journal.Root
	}
	p := &page{Walk: w, tx: t, f: f, place: after}
	if !p.known(w.Top) {
		return after, false, nil
	}
	err = p.directory(w.Top, journal.Path(after), false)
	switch {
	case errors.Is(err, errEnough):
		return p.place, false, nil
	case err != nil:
		return after, false, fmt.Errorf("walk through the mailboxes: %w", err)
	}
	return p.place, true, nil
}

// page is what a walk is doing now.
type page struct {
	Walk
	tx    *catalog.Tx
	f     func(Mailbox) (bool, error)
	place Place
	names int
}

// directory goes through dir and what is beneath. after, unless "", is the place
// in it that was come to before; inside says that a mailbox is above.
func (p *page) directory(dir, after journal.Path, inside bool) error {
	box, mailbox, err := p.look(dir)
	if err != nil {
		return err
	}
	box.Inbox = !inside
	from, resumed := "", after != ""
	if resumed && after != dir {
		from = firstBeneath(dir, after)
	}
	if !resumed {
		if mailbox && p.Reached != "" && p.Reached.Within(dir) {
			return errEnough
		}
		p.place = Place(dir)
		if mailbox {
			if err := p.give(box); err != nil {
				return err
			}
		}
		if p.spend(1) {
			return errEnough
		}
	}
	err = p.tx.List(dir, from, func(name string, it catalog.Item) error {
		p.names++
		if it.Facts.Type != journal.TypeDirectory {
			return nil
		}
		within := journal.Path("")
		if name == from {
			within = after
		}
		return p.beneath(dir.Join(name), within, inside || mailbox)
	})
	if errors.Is(err, catalog.ErrNotFound) {
		return nil // it is gone, or no directory any more
	}
	return err
}

// beneath goes through a directory, unless nothing in it can be a mailbox.
func (p *page) beneath(dir, after journal.Path, inside bool) error {
	if !p.known(dir) {
		return errEnough
	}
	totals, err := p.tx.Below(dir)
	if err != nil || totals.Directories == 0 {
		return err
	}
	return p.directory(dir, after, inside)
}

// known reports whether the catalog has come past the names in a directory.
func (p *page) known(dir journal.Path) bool {
	if p.Reached == "" || dir == journal.Root {
		return true
	}
	parts := func(p journal.Path) []string { return strings.Split(string(p), "/") }
	return slices.Compare(parts(dir), parts(p.Reached)) < 0 // also if it is above
}

// firstBeneath returns the name in dir that leads to p; "" if p is not beneath.
func firstBeneath(dir, p journal.Path) string {
	for ; p != journal.Root; p = p.Dir() {
		if p.Dir() == dir {
			return p.Name()
		}
	}
	return ""
}

// look finds out whether a directory is a mailbox.
func (p *page) look(dir journal.Path) (box Mailbox, mailbox bool, err error) {
	box.Path = dir
	for i, name := range []string{"new", "cur"} {
		sub := dir.Join(name)
		it, err := p.tx.Lookup(sub)
		if errors.Is(err, catalog.ErrNotFound) || err == nil && it.Facts.Type != journal.TypeDirectory {
			continue
		}
		totals, terr := p.tx.Below(sub)
		if err := errors.Join(err, terr); err != nil {
			return box, false, err
		}
		if totals.Directories > 0 {
			continue // that of a user with such a name
		}
		mailbox = true
		box.Digests[i] = it.Digest
		box.Messages = sum(box.Messages, totals)
	}
	return box, mailbox, nil
}

// give hands a mailbox over.
func (p *page) give(box Mailbox) error {
	if p.Newest {
		for _, name := range []string{"new", "cur"} {
			err := p.tx.List(box.Path.Join(name), "", func(_ string, it catalog.Item) error {
				p.names++
				if it.Facts.Type == journal.TypeFile {
					box.Newest = max(box.Newest, it.Facts.Attr.MTime)
				}
				return nil
			})
			if err != nil && !errors.Is(err, catalog.ErrNotFound) {
				return err
			}
		}
	}
	more, err := p.f(box)
	if err == nil && !more {
		err = errEnough
	}
	return err
}

// spend notes that names were looked at, and reports whether it is enough.
func (p *page) spend(names int) bool {
	p.names += names
	return p.Names > 0 && p.names >= p.Names
}

func sum(a, b catalog.Totals) catalog.Totals {
	return catalog.Totals{
		Files: a.Files + b.Files, Directories: a.Directories + b.Directories, Symlinks: a.Symlinks + b.Symlinks,
		Bytes: a.Bytes + b.Bytes, Unread: a.Unread + b.Unread, Missing: a.Missing + b.Missing,
	}
}
