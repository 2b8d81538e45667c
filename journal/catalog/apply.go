package catalog

import (
	"fmt"

	"github.com/mailtwin/mailtwin/journal"
)

// Apply makes the change that a journal entry stands for. What an entry takes
// for granted need not be there: directories above a path are made, what is
// in the way is replaced, and removing what is not there is nothing. The
// facts of the entry win over what the catalog had. Only an entry that can
// never be meant is refused, with ErrInvalid.
//
// The caller sets the position of the record that the entry came in.
func (t *Tx) Apply(e *journal.Entry) error {
	if t.b == nil {
		return ErrReadOnly
	}
	if err := t.apply(e); err != nil {
		return t.spoil(fmt.Errorf("apply to %q: %w", e.Path, err))
	}
	return nil
}

func (t *Tx) apply(e *journal.Entry) error {
	if e.Path == journal.Root && e.Kind != journal.KindMakeDir && e.Kind != journal.KindSetAttributes {
		return fmt.Errorf("%w: entry of kind %d for the root", ErrInvalid, e.Kind)
	}
	switch e.Kind {
	case journal.KindPut:
		return t.applyPut(e, journal.TypeFile)
	case journal.KindSymlink:
		return t.applyPut(e, journal.TypeSymlink)
	case journal.KindMove:
		return t.applyMove(e)
	case journal.KindLink:
		return t.applyLink(e)
	case journal.KindRemove:
		return t.applyRemove(e.Path, false)
	case journal.KindRemoveDir:
		return t.applyRemove(e.Path, true)
	case journal.KindMakeDir:
		return t.applyMakeDir(e)
	case journal.KindMoveDir:
		return t.applyMoveDir(e)
	case journal.KindSetAttributes:
		return t.applySetAttributes(e)
	}
	return fmt.Errorf("%w: entry of kind %d", ErrInvalid, e.Kind)
}

// applyPut keeps the link group of a file that was changed in place.
func (t *Tx) applyPut(e *journal.Entry, want journal.Type) error {
	if e.Facts.Type != want {
		return fmt.Errorf("%w: entry of kind %d with facts of type %d", ErrInvalid, e.Kind, e.Facts.Type)
	}
	it := Item{Facts: e.Facts, Stamp: e.Stamp}
	old, err := t.lookup(e.Path)
	if err != nil {
		return err
	}
	if old != nil && old.Stamp.SameFile(e.Stamp) {
		it.Link = old.Link
	}
	return t.putFile(e.Path, it)
}

// lookup returns the record at p that is no directory, or nil.
func (t *Tx) lookup(p journal.Path) (*record, error) {
	_, r, err := t.find(p)
	if isNotFound(err) || err == nil && r.isDir() {
		return nil, nil
	}
	return r, err
}

// carried is the item that an entry makes of what was under another or the
// same name: with the facts and the stamp of the entry as far as it has them.
func carried(e *journal.Entry, from *record) (Item, bool) {
	if from == nil {
		return Item{Facts: e.Facts, Stamp: e.Stamp}, fileOrLink(e.Facts.Type)
	}
	it := from.Item
	if fileOrLink(e.Facts.Type) {
		it.Facts = e.Facts
		if same := from.Facts; !e.Facts.Content.Known() && same.Type == e.Facts.Type && same.Size == e.Facts.Size {
			it.Facts.Content = same.Content
		}
		it.Missing = from.Missing && it.Facts.Content == from.Facts.Content
		if from.Facts.Size != e.Facts.Size {
			it.Guess = journal.ContentID{}
		}
	}
	if e.Stamp.Inode != 0 {
		it.Stamp = e.Stamp
	}
	return it, true
}

func fileOrLink(t journal.Type) bool { return t == journal.TypeFile || t == journal.TypeSymlink }

func (t *Tx) applyMove(e *journal.Entry) error {
	if e.From == journal.Root {
		return fmt.Errorf("%w: the root moved", ErrInvalid)
	}
	from, err := t.lookup(e.From)
	if err != nil {
		return err
	}
	it, ok := carried(e, from)
	if !ok {
		return nil
	}
	if e.From != e.Path {
		if err := t.applyRemove(e.From, false); err != nil {
			return err
		}
	}
	return t.putFile(e.Path, it)
}

// applyLink marks both names as one group, which is called after the inode
// that they share.
func (t *Tx) applyLink(e *journal.Entry) error {
	from, err := t.lookup(e.From)
	if err != nil {
		return err
	}
	it, ok := carried(e, from)
	if !ok {
		return nil
	}
	it.Link = it.Stamp.Inode
	if from != nil && it.Link != 0 && (from.Stamp.SameFile(it.Stamp) || e.Stamp.Inode == 0) {
		group := from.Item
		group.Link = it.Link
		if err := t.putFile(e.From, group); err != nil {
			return err
		}
	}
	return t.putFile(e.Path, it)
}

// applyRemove removes what is at p if it is of the kind that is meant.
func (t *Tx) applyRemove(p journal.Path, isDir bool) error {
	dir, r, err := t.find(p)
	switch {
	case isNotFound(err):
		return nil
	case err != nil:
		return err
	case r.isDir() != isDir:
		return nil
	case isDir:
		return t.removeDir(r.Dir)
	}
	return t.replace(dir, p.Name(), r, nil)
}

// applyMakeDir leaves what is in a directory that is there already, and when
// it was observed.
func (t *Tx) applyMakeDir(e *journal.Entry) error {
	dir, err := t.dirOf(e.Path)
	if err == nil {
		return t.changeDir(dir, func(r *record) { setDir(r, e) })
	}
	if !isNotFound(err) {
		return err
	}
	return t.putDir(e.Path, Item{Facts: dirFacts(e.Facts), Stamp: e.Stamp})
}

func (t *Tx) applyMoveDir(e *journal.Entry) error {
	if e.From == journal.Root || e.From != e.Path && e.Path.Within(e.From) {
		return fmt.Errorf("%w: directory %q moved into itself", ErrInvalid, e.From)
	}
	if e.From == e.Path {
		return t.applyMakeDir(e)
	}
	dir, err := t.dirOf(e.From)
	if isNotFound(err) {
		return t.applyMakeDir(e)
	}
	if err != nil {
		return err
	}
	return t.moveDir(dir, e.Path, func(r *record) { setDir(r, e) })
}

// setDir gives a directory what an entry knows of it.
func setDir(r *record, e *journal.Entry) {
	if e.Facts.Type == journal.TypeDirectory {
		r.Facts = newRecord(Item{Facts: e.Facts}).Facts
	}
	if e.Stamp.Inode != 0 {
		r.Stamp = e.Stamp
	}
}

// dirFacts are those of a directory, also when the entry has none.
func dirFacts(f journal.Facts) journal.Facts {
	return journal.Facts{Type: journal.TypeDirectory, Attr: f.Attr}
}

// applySetAttributes makes what is not there, for the entry has all facts.
func (t *Tx) applySetAttributes(e *journal.Entry) error {
	switch e.Facts.Type {
	case journal.TypeDirectory:
		return t.applyMakeDir(e)
	case journal.TypeFile, journal.TypeSymlink:
	default:
		return fmt.Errorf("%w: attributes of a thing of type %d", ErrInvalid, e.Facts.Type)
	}
	old, err := t.lookup(e.Path)
	if err != nil {
		return err
	}
	it, _ := carried(e, old)
	return t.putFile(e.Path, it)
}
