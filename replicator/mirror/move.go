package mirror

import (
	"errors"
	"io/fs"
	"syscall"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// replace renames a file to p, in place of whatever is there.
func (a *applier) replace(from *beneath.Dir, name string, d *beneath.Dir, p journal.Path) error {
	a.touch(p.Dir())
	err := from.Rename(name, d, p.Name())
	if errors.Is(err, syscall.EISDIR) || errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EEXIST) || errors.Is(err, syscall.ENOTDIR) {
		if err := a.remove(p, true); err != nil {
			return err
		}
		err = from.Rename(name, d, p.Name())
	}
	return err
}

// source looks at what an older thing is to be moved or linked from. It
// reports false if there is no such thing, or a directory where a file is
// meant, or the other way round, or a file that cannot even be looked at.
func (a *applier) source(p journal.Path, isDir bool) (*beneath.Dir, beneath.Info, bool, error) {
	d, err := a.dir(p.Dir())
	var info beneath.Info
	if err == nil {
		info, err = d.Stat(p.Name())
	}
	if absent(err) || !isDir && err != nil && d != nil && damaged(err) {
		return nil, info, false, nil
	}
	right := info.Facts.Type != 0 && isDir == (info.Facts.Type == journal.TypeDirectory)
	return d, info, err == nil && right, err
}

// absent reports whether an error says that there is nothing of a name.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, beneath.ErrNotDirectory) || errors.Is(err, beneath.ErrEscapes)
}

// done looks whether a change was made before a crash: then the very thing that
// was to be moved or linked is at its place. Otherwise it is missing.
func (a *applier) done(c *change, d *beneath.Dir) error {
	info, err := d.Stat(c.Path.Name())
	if absent(err) {
		c.missing = true
		return nil
	}
	if err != nil {
		return err
	}
	var known catalog.Item
	err = a.m.cfg.Catalog.View(func(t *catalog.Tx) (err error) {
		known, err = t.Lookup(c.From) // nothing is like no file
		return err
	})
	if errors.Is(err, catalog.ErrNotFound) {
		err = nil
	}
	c.stamp, c.missing = info.Stamp, !known.Stamp.SameInode(info.Stamp)
	return inCatalog(err)
}

// move renames a file. If it was renamed already, before a crash, that shows
// in the store; if it is nowhere, its content has to be fetched.
func (a *applier) move(c *change) error {
	d, err := a.parent(c.Path)
	if err != nil {
		return err
	}
	from, info, found, err := a.source(c.From, false)
	if err != nil {
		return err
	}
	if !found {
		if a.m.broken(c.From) {
			err = a.remove(c.From, false)
		}
		if err != nil {
			return err
		}
		return a.done(c, d)
	}
	c.stamp = info.Stamp
	a.touch(c.From.Dir())
	if err := a.replace(from, c.From.Name(), d, c.Path); err != nil {
		return err
	}
	if info.Links > 1 {
		// rename(2) does nothing if both are names of one file already.
		if err := from.Remove(c.From.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// link gives a file a further name. Where there can be no more, the name gets a
// file of its own, with a content that is fetched.
func (a *applier) link(c *change) error {
	d, err := a.parent(c.Path)
	if err != nil {
		return err
	}
	from, info, found, err := a.source(c.From, false)
	if err != nil {
		return err
	}
	if !found {
		return a.done(c, d)
	}
	const temp = "link"
	if err := a.stage.dir.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err = from.Link(c.From.Name(), a.stage.dir, temp)
	if errors.Is(err, syscall.EMLINK) {
		c.missing = true
		return nil
	}
	if err != nil {
		return err
	}
	c.stamp = info.Stamp
	if err := a.replace(a.stage.dir, temp, d, c.Path); err != nil {
		return err
	}
	if err := a.stage.dir.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // it was a name of the same file already
	}
	return nil
}

// moveDir renames a directory with all that is in it. If it is not where it
// should come from, it was moved before a crash, or never was on this mirror.
func (a *applier) moveDir(c *change) error {
	d, err := a.parent(c.Path)
	if err != nil {
		return err
	}
	from, info, found, err := a.source(c.From, true)
	if err != nil {
		return err
	}
	if !found {
		if err := a.done(c, d); err != nil || !c.missing {
			return err
		}
		err := a.mkdirLike(d, c.Path)
		if err == nil {
			info, err = d.Stat(c.Path.Name())
		}
		c.stamp = info.Stamp
		return err
	}
	c.stamp = info.Stamp
	a.touch(c.From.Dir())
	if err := a.replace(from, c.From.Name(), d, c.Path); err != nil {
		return err
	}
	a.forget(c.From)
	a.forget(c.Path)
	for p := range a.touched {
		if p.Within(c.From) {
			delete(a.touched, p)
			a.touch(c.Path + p[len(c.From):])
		}
	}
	return nil
}
