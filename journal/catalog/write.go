package catalog

import (
	"errors"
	"fmt"

	"github.com/mailtwin/mailtwin/journal"
)

func isNotFound(err error) bool { return errors.Is(err, ErrNotFound) }

// Put sets the item at p, and makes its parents if need be, with attributes
// that are all zero. A directory keeps what is in it; its Digest and that of
// it.Digest is not looked at. Whatever else was at p is replaced. At the root
// there can only be a directory.
func (t *Tx) Put(p journal.Path, it Item) error {
	if t.b == nil {
		return ErrReadOnly
	}
	var err error
	switch it.Facts.Type {
	case journal.TypeDirectory:
		err = t.putDir(p, it)
	case journal.TypeFile, journal.TypeSymlink:
		err = t.putFile(p, it)
	default:
		err = fmt.Errorf("%w: type %d", ErrInvalid, it.Facts.Type)
	}
	if err != nil {
		return t.spoil(fmt.Errorf("put %q: %w", p, err))
	}
	return nil
}

func (t *Tx) putFile(p journal.Path, it Item) error {
	if p == journal.Root {
		return fmt.Errorf("%w: a file at the root", ErrInvalid)
	}
	dir, err := t.mkdirs(p.Dir())
	if err != nil {
		return err
	}
	old, err := t.child(dir, p.Name())
	if err != nil && !isNotFound(err) {
		return err
	}
	if old != nil && old.isDir() {
		if err := t.removeDir(old.Dir); err != nil {
			return err
		}
		old = nil
	}
	return t.replace(dir, p.Name(), old, newRecord(it))
}

// replace changes what a directory has under a name; old and r are nil or no
// directories.
func (t *Tx) replace(dir dirID, name string, old, r *record) error {
	n, err := t.touch(dir)
	if err != nil {
		return err
	}
	t.changes++
	if old == nil || r == nil || old.Stamp.Inode != r.Stamp.Inode {
		n.Observed = 0
	}
	if old != nil {
		t.unaccount(n, name, old)
	}
	if err := t.index(dir, name, old.marks(), r.marks()); err != nil {
		return err
	}
	if r == nil {
		return t.unset(dir, name)
	}
	t.account(n, name, r)
	return t.set(dir, name, r)
}

func (t *Tx) putDir(p journal.Path, it Item) error {
	dir, err := t.dirOf(p)
	if isNotFound(err) {
		up, err := t.mkdirs(p.Dir())
		if err != nil {
			return err
		}
		_, err = t.makeDir(up, p, it)
		return err
	}
	if err != nil {
		return err
	}
	return t.changeDir(dir, func(r *record) {
		is := newRecord(it)
		r.Facts, r.Stamp, r.Observed = is.Facts, is.Stamp, is.Observed
	})
}

// changeDir changes what is known of a directory itself.
func (t *Tx) changeDir(dir dirID, change func(r *record)) error {
	n, err := t.touch(dir)
	if err != nil {
		return err
	}
	t.changes++
	was := n.marks()
	change(&n.record)
	if err := t.index(n.up, n.name, was, n.marks()); err != nil {
		return err
	}
	return t.set(n.up, n.name, &n.record)
}

// Remove forgets what is at p, with all beneath; if there is nothing, it does
// nothing. The root cannot be removed.
func (t *Tx) Remove(p journal.Path) error {
	if t.b == nil {
		return ErrReadOnly
	}
	if p == journal.Root {
		return fmt.Errorf("remove %q: %w", p, ErrInvalid)
	}
	dir, err := t.dirOf(p.Dir())
	if err == nil {
		err = t.clear(dir, p.Name())
	}
	if err != nil && !isNotFound(err) {
		return t.spoil(fmt.Errorf("remove %q: %w", p, err))
	}
	return nil
}

// clear removes whatever a directory has under a name.
func (t *Tx) clear(dir dirID, name string) error {
	old, err := t.child(dir, name)
	switch {
	case isNotFound(err):
		return nil
	case err != nil:
		return err
	case old.isDir():
		return t.removeDir(old.Dir)
	}
	return t.replace(dir, name, old, nil)
}

// removeDir takes a directory out of the tree at once, whatever is in it, and
// leaves its items to be swept by this update and later ones.
func (t *Tx) removeDir(dir dirID) error {
	if err := t.detach(dir); err != nil {
		return err
	}
	return t.discard(dir)
}

// detach takes a directory out of its parent.
func (t *Tx) detach(dir dirID) error {
	n, err := t.touch(dir)
	if err != nil {
		return err
	}
	t.changes++
	t.nodes[n.up].Observed = 0 // it was touched with what is in it
	t.relocated()
	if err := t.index(n.up, n.name, n.marks(), marks{}); err != nil {
		return err
	}
	return t.unset(n.up, n.name)
}

// moveDir gives the directory from the path to, where it replaces what is there.
func (t *Tx) moveDir(dir dirID, to journal.Path, change func(r *record)) error {
	if err := t.detach(dir); err != nil {
		return err
	}
	n := t.nodes[dir]
	n.up = noDir
	up, err := t.mkdirs(to.Dir())
	if err != nil {
		return err
	}
	if err := t.clear(up, to.Name()); err != nil {
		return err
	}
	into, err := t.touch(up)
	if err != nil {
		return err
	}
	into.Observed = 0
	n.up, n.name = up, to.Name()
	change(&n.record)
	t.relocated()
	if err := t.place(dir, n.up, n.name); err != nil {
		return err
	}
	if err := t.index(n.up, n.name, marks{}, n.marks()); err != nil {
		return err
	}
	return t.set(n.up, n.name, &n.record)
}

// Identify records the content of the file at p, if its stamp is still s;
// otherwise it changes nothing and returns false.
func (t *Tx) Identify(p journal.Path, s journal.Stamp, id journal.ContentID) (bool, error) {
	if t.b == nil {
		return false, ErrReadOnly
	}
	dir, r, err := t.find(p)
	if isNotFound(err) || err == nil && (r.Facts.Type != journal.TypeFile || r.Stamp != s) {
		return false, nil
	}
	if err == nil {
		is := *r
		is.Facts.Content, is.Guess = id, journal.ContentID{}
		err = t.replace(dir, p.Name(), r, &is)
	}
	if err != nil {
		return false, t.spoil(fmt.Errorf("identify %q: %w", p, err))
	}
	return true, nil
}

// find returns the record of p and the directory that it is in.
func (t *Tx) find(p journal.Path) (dirID, *record, error) {
	dir, err := t.dirOf(parent(p))
	if err != nil {
		return 0, nil, err
	}
	r, err := t.child(dir, name(p))
	return dir, r, err
}

// Observed records that the directory dir was completely observed when its
// mtime was mtime (nanoseconds since 1970); 0 means that it must be listed
// again. It returns ErrNotFound if there is no such directory.
func (t *Tx) Observed(dir journal.Path, mtime int64) error {
	if t.b == nil {
		return ErrReadOnly
	}
	id, err := t.dirOf(dir)
	if err == nil {
		err = t.changeDir(id, func(r *record) { r.Observed = mtime })
	}
	if err != nil {
		return t.spoil(fmt.Errorf("observed %q: %w", dir, err))
	}
	return nil
}
