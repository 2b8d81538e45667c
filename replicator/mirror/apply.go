package mirror

import (
	"errors"
	"io/fs"
	"syscall"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
)

// maxHandles bounds the directories that are kept open.
const maxHandles = 128

// applier makes changes in the store, one after the other. Every change can
// be made a second time: after a crash a group is applied again from its
// beginning.
type applier struct {
	m          *Mirror
	stage      *stage
	handles    map[journal.Path]*beneath.Dir
	touched    map[journal.Path]struct{} // directories to be made durable
	inPlace    bool                      // attributes were set in place, which no directory makes durable
	ownersLost bool
}

func newApplier(m *Mirror, stage *stage) *applier {
	return &applier{
		m: m, stage: stage,
		handles: make(map[journal.Path]*beneath.Dir),
		touched: make(map[journal.Path]struct{}),
	}
}

func (a *applier) close() { a.forget(journal.Root) }

// forget closes the handles of top and all beneath it: after a directory was
// moved or removed they mean another one than their path does.
func (a *applier) forget(top journal.Path) {
	for p, d := range a.handles {
		if p.Within(top) {
			_ = d.Close()
			delete(a.handles, p)
		}
	}
}

// apply makes the changes, in their order, and makes them durable.
func (a *applier) apply(changes []*change) error {
	clear(a.touched)
	a.inPlace = false
	for _, c := range changes {
		if err := a.one(c); err != nil {
			return inStore(err, c.verb(), c.Path)
		}
	}
	return a.syncTouched()
}

// verb says what a change does.
func (c *change) verb() string {
	switch c.Kind {
	case journal.KindMove, journal.KindMoveDir:
		return "move"
	case journal.KindRemove, journal.KindRemoveDir:
		return "remove"
	case journal.KindSetAttributes:
		return "set the attributes of"
	}
	return "make"
}

func (a *applier) one(c *change) error {
	if len(a.handles) > maxHandles {
		a.forget(journal.Root)
	}
	switch c.Kind {
	case journal.KindPut:
		return a.put(c)
	case journal.KindMove:
		return a.move(c)
	case journal.KindLink:
		return a.link(c)
	case journal.KindSymlink:
		return a.symlink(c)
	case journal.KindMakeDir:
		return a.makeDir(c)
	case journal.KindMoveDir:
		return a.moveDir(c)
	case journal.KindRemove:
		return a.remove(c.Path, false)
	case journal.KindRemoveDir:
		return a.remove(c.Path, true)
	default:
		return a.setAttributes(c)
	}
}

// dir returns a handle of a directory, for a change in it.
func (a *applier) dir(p journal.Path) (*beneath.Dir, error) {
	a.touched[p] = struct{}{}
	if d := a.handles[p]; d != nil {
		return d, nil
	}
	d, err := a.m.cfg.Root.Dir(p)
	if err != nil {
		return nil, err
	}
	a.handles[p] = d
	return d, nil
}

// parent returns the directory of p, and makes it if need be: an entry may
// come before the comparison has come to its directory.
func (a *applier) parent(p journal.Path) (*beneath.Dir, error) {
	d, err := a.dir(p.Dir())
	if err == nil || p.Dir() == journal.Root {
		return d, err
	}
	if errors.Is(err, beneath.ErrNotDirectory) || errors.Is(err, beneath.ErrEscapes) {
		// What is in the way is older than this entry.
		if err := a.clearWay(p.Dir()); err != nil {
			return nil, err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	up, err := a.parent(p.Dir())
	if err != nil {
		return nil, err
	}
	if err := up.Mkdir(p.Dir().Name(), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return a.dir(p.Dir())
}

// clearWay removes whatever is at p or above it and is no directory.
func (a *applier) clearWay(p journal.Path) error {
	if p == journal.Root {
		return nil
	}
	if err := a.clearWay(p.Dir()); err != nil {
		return err
	}
	info, err := a.m.cfg.Root.Stat(p)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Facts.Type == journal.TypeDirectory {
		return nil
	}
	if err != nil {
		return err
	}
	return a.remove(p, false)
}

func (a *applier) put(c *change) error {
	if c.settle {
		return a.setAttributes(c)
	}
	if c.missing {
		return nil // what is there stays, until the content comes or an entry removes it
	}
	d, err := a.parent(c.Path)
	if err != nil {
		return err
	}
	return a.replace(a.stage.dir, c.file.name, d, c.Path)
}

// replace renames a file to p, in place of whatever is there.
func (a *applier) replace(from *beneath.Dir, name string, d *beneath.Dir, p journal.Path) error {
	err := from.Rename(name, d, p.Name())
	if errors.Is(err, syscall.EISDIR) || errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EEXIST) || errors.Is(err, syscall.ENOTDIR) {
		if err := a.remove(p, true); err != nil {
			return err
		}
		err = from.Rename(name, d, p.Name())
	}
	return err
}

// move renames a file. If it was renamed already, before a crash, that shows
// in the store; if it is nowhere, its content has to be fetched.
func (a *applier) move(c *change) error {
	d, err := a.parent(c.Path)
	if err != nil {
		return err
	}
	from, err := a.dir(c.From.Dir())
	var info beneath.Info
	if err == nil {
		info, err = from.Stat(c.From.Name())
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, beneath.ErrNotDirectory) {
		delete(a.touched, c.From.Dir())
		info, err := d.Stat(c.Path.Name())
		c.stamp, c.found, c.missing = info.Stamp, err == nil, errors.Is(err, fs.ErrNotExist)
		if c.missing {
			return nil
		}
		return err
	}
	if err != nil {
		return err
	}
	c.stamp = info.Stamp
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

func (a *applier) link(c *change) error {
	d, err := a.parent(c.Path)
	if err != nil {
		return err
	}
	from, err := a.dir(c.From.Dir())
	temp := "link-" + c.Path.Name()
	temp = temp[:min(len(temp), journal.MaxName)]
	if err == nil {
		err = from.Link(c.From.Name(), a.stage.dir, temp)
		if errors.Is(err, fs.ErrExist) {
			if err = a.stage.dir.Remove(temp); err == nil {
				err = from.Link(c.From.Name(), a.stage.dir, temp)
			}
		}
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, beneath.ErrNotDirectory) {
		return a.linkedBefore(c, d)
	}
	if err != nil {
		return err
	}
	if err := a.replace(a.stage.dir, temp, d, c.Path); err != nil {
		return err
	}
	info, err := d.Stat(c.Path.Name())
	c.stamp = info.Stamp
	if rerr := a.stage.dir.Remove(temp); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
		return rerr // it was a name of the same file already
	}
	return err
}

// linkedBefore handles a file that is not where it should be linked from: it
// was linked and then renamed before a crash, or its content never came.
func (a *applier) linkedBefore(c *change, d *beneath.Dir) error {
	delete(a.touched, c.From.Dir())
	info, err := d.Stat(c.Path.Name())
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Links < 2 {
		c.missing = true
		return nil
	}
	c.stamp, c.found = info.Stamp, true
	return err
}

func (a *applier) symlink(c *change) error {
	d, err := a.parent(c.Path)
	if err != nil {
		return err
	}
	const temp = "symlink"
	if err := a.stage.dir.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := a.stage.dir.Symlink(c.Facts.Target, temp); err != nil {
		return err
	}
	if err := a.tolerate(a.stage.dir.SetAttributes(temp, journal.TypeSymlink, c.Facts.Attr)); err != nil {
		return err
	}
	if err := a.replace(a.stage.dir, temp, d, c.Path); err != nil {
		return err
	}
	info, err := d.Stat(c.Path.Name())
	c.stamp = info.Stamp
	return err
}

func (a *applier) makeDir(c *change) error {
	d, err := a.parent(c.Path)
	if err != nil {
		return err
	}
	err = d.Mkdir(c.Path.Name(), 0o700)
	if errors.Is(err, fs.ErrExist) {
		var info beneath.Info
		if info, err = d.Stat(c.Path.Name()); err == nil && info.Facts.Type != journal.TypeDirectory {
			if err = d.Remove(c.Path.Name()); err == nil {
				err = d.Mkdir(c.Path.Name(), 0o700)
			}
		}
	}
	if err != nil {
		return err
	}
	return a.setAttributes(c)
}

// moveDir renames a directory with all that is in it.
func (a *applier) moveDir(c *change) error {
	d, err := a.parent(c.Path)
	if err != nil {
		return err
	}
	from, err := a.dir(c.From.Dir())
	var info beneath.Info
	if err == nil {
		info, err = from.Stat(c.From.Name())
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, beneath.ErrNotDirectory) {
		delete(a.touched, c.From.Dir())
		return a.movedBefore(c, d)
	}
	if err != nil {
		return err
	}
	c.stamp = info.Stamp
	if err := a.replace(from, c.From.Name(), d, c.Path); err != nil {
		return err
	}
	a.forget(c.From)
	a.forget(c.Path)
	for p := range a.touched {
		if p.Within(c.From) {
			delete(a.touched, p)
			a.touched[c.Path+p[len(c.From):]] = struct{}{}
		}
	}
	return nil
}

// movedBefore handles a directory that is not where it should come from: it
// was moved before a crash, or never was on this mirror.
func (a *applier) movedBefore(c *change, d *beneath.Dir) error {
	err := d.Mkdir(c.Path.Name(), 0o700)
	if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	if err != nil {
		return err
	}
	info, err := d.Stat(c.Path.Name())
	c.stamp = info.Stamp
	return err
}

// remove removes p, with all beneath it if tree is set.
func (a *applier) remove(p journal.Path, tree bool) error {
	d, err := a.dir(p.Dir())
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, beneath.ErrNotDirectory) {
		delete(a.touched, p.Dir())
		return nil
	}
	if err != nil {
		return err
	}
	if !tree {
		err = d.Remove(p.Name())
		tree = errors.Is(err, syscall.EISDIR)
	}
	if tree {
		err = d.RemoveTree(p.Name())
		a.forget(p)
		for t := range a.touched {
			if t.Within(p) {
				delete(a.touched, t)
			}
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (a *applier) setAttributes(c *change) error {
	a.inPlace = true
	if c.Path == journal.Root {
		d, err := a.dir(journal.Root)
		if err != nil {
			return err
		}
		return a.tolerate(d.SetOwnAttributes(c.Facts.Attr))
	}
	d, err := a.dir(c.Path.Dir())
	if err == nil {
		err = a.tolerate(d.SetAttributes(c.Path.Name(), c.Facts.Type, c.Facts.Attr))
	}
	if err == nil {
		var info beneath.Info
		info, err = d.Stat(c.Path.Name())
		c.stamp = info.Stamp
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, beneath.ErrNotDirectory):
		// Entries that follow say what became of it; if none does, the digests
		// differ and it is found.
		delete(a.touched, c.Path.Dir())
		return nil
	case errors.Is(err, beneath.ErrNotRegular), errors.Is(err, beneath.ErrNotSymlink):
		return nil
	}
	return err
}

// syncTouched makes the names in all directories that were changed durable,
// and the attributes that were set in place.
func (a *applier) syncTouched() error {
	if len(a.touched) > fewFiles || a.inPlace {
		return inStore(a.m.cfg.Root.SyncFS(), "make durable", journal.Root)
	}
	for p := range a.touched {
		d, err := a.dir(p)
		if err == nil {
			err = d.Sync()
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return inStore(err, "make durable", p)
		}
	}
	return nil
}
