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
	split      split
	left       []journal.Path // names that could not be removed
	noted      int            // how many of them the catalog has
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
	default:
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
		if c.compared && a.split.Open {
			return a.putAside(c.Path)
		}
		return a.remove(c.Path, true)
	default:
		if c.assumed != nil && c.assumed.asIs {
			return a.look(c)
		}
		if c.reached {
			return nil // they are of what was there before
		}
		return a.setAttributes(c)
	}
}

// dir returns a handle of a directory.
func (a *applier) dir(p journal.Path) (*beneath.Dir, error) {
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

// touch notes that names in a directory were changed.
func (a *applier) touch(p journal.Path) { a.touched[p] = struct{}{} }

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
	if err := a.mkdirLike(up, p.Dir()); err != nil {
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
		return a.settle(c)
	}
	if c.missing {
		return nil // what is there stays, until the content comes or an entry removes it
	}
	if c.reached {
		return a.keep(c)
	}
	d, err := a.parent(c.Path)
	if err != nil {
		return err
	}
	c.file.source.place(c.Path)
	return a.replace(a.stage.dir, c.file.name, d, c.Path)
}

// settle gives a file, whose content is right, the attributes that it has to
// have. If there is no such file, then the catalog was wrong.
func (a *applier) settle(c *change) error {
	if err := a.setAttributes(c); err != nil {
		return err
	}
	if c.stamp.Inode == 0 {
		c.settle, c.missing = false, true
	}
	return nil
}

func (a *applier) symlink(c *change) error {
	if c.reached {
		return a.keep(c)
	}
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
	info, err := a.stage.dir.Stat(temp)
	if err != nil {
		return err
	}
	c.stamp = info.Stamp
	return a.replace(a.stage.dir, temp, d, c.Path)
}

func (a *applier) makeDir(c *change) error {
	d, err := a.parent(c.Path)
	if err != nil {
		return err
	}
	if err := a.mkdir(d, c.Path, c.Facts.Attr); err != nil {
		return err
	}
	return a.setAttributes(c)
}

// mkdirLike makes a directory of which nothing is known yet but where it is: it
// belongs to whom d belongs to.
func (a *applier) mkdirLike(d *beneath.Dir, p journal.Path) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	own := info.Facts.Attr
	return a.mkdir(d, p, journal.Attributes{Mode: 0o700, UID: own.UID, GID: own.GID})
}

// mkdir makes a directory in d, in place of what is there and is none. It comes
// in by rename, as a file does: nobody ever sees one that the owner of the mail
// cannot enter, nor does a crash leave it.
func (a *applier) mkdir(d *beneath.Dir, p journal.Path, attr journal.Attributes) error {
	info, err := d.Stat(p.Name())
	if err == nil && info.Facts.Type == journal.TypeDirectory {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	const temp = "directory"
	if err := a.stage.dir.RemoveTree(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := a.stage.dir.Mkdir(temp, 0o700); err != nil {
		return err
	}
	attr.Mode |= 0o700 // one that cannot be written to cannot be moved
	if err := a.tolerate(a.stage.dir.SetAttributes(temp, journal.TypeDirectory, attr)); err != nil {
		return err
	}
	a.inPlace = true
	return a.replace(a.stage.dir, temp, d, p)
}

// remove removes p, with all beneath it if tree is set.
func (a *applier) remove(p journal.Path, tree bool) error {
	d, err := a.dir(p.Dir())
	if absent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	a.touch(p.Dir())
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
	if err != nil && !tree {
		return a.leave(p, err)
	}
	return err
}

// setAttributes changes what is there already. If it is not, then entries that
// follow say what became of it.
func (a *applier) setAttributes(c *change) error {
	if c.Path == journal.Root {
		d, err := a.dir(journal.Root)
		if err == nil {
			err = a.tolerate(d.SetOwnAttributes(c.Facts.Attr))
		}
		a.inPlace = true
		return err
	}
	d, err := a.dir(c.Path.Dir())
	if err == nil {
		err = a.tolerate(d.SetAttributes(c.Path.Name(), c.Facts.Type, c.Facts.Attr))
	}
	if absent(err) || errors.Is(err, beneath.ErrNotRegular) || errors.Is(err, beneath.ErrNotSymlink) {
		return nil
	}
	if c.Kind == journal.KindSetAttributes && c.Facts.Type == journal.TypeFile && damaged(err) && a.m.broken(c.Path) {
		c.missing = true // it is lost until it can be looked at
		return nil
	}
	if err != nil {
		return err
	}
	a.inPlace = true
	info, err := d.Stat(c.Path.Name())
	c.stamp = info.Stamp
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
