package watch

import (
	"errors"
	"io/fs"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// Doubt is a directory that is not what the catalog knows by its name, in a way
// that looks like a mount which came or went. Nothing in it is journaled.
type Doubt struct {
	Path   journal.Path
	Reason string // for people
}

// The reasons for a doubt.
const (
	doubtUnmounted = "what was mounted there is not, and something else is in its place"
	doubtVanished  = "what was mounted there is gone, and the directory with it"
	doubtForeign   = "it is on another file system than before, and what was in it is not there"
	doubtEmpty     = "another directory, older and empty, is in its place"
)

// doubts are directories that were replaced in a way which is not believed,
// and those of which it is. Only the observer uses it.
type doubts struct {
	dirs  map[journal.Path]string // why
	heirs map[journal.Path]heir
}

// heir is a directory that has taken the place of another one.
type heir struct {
	was, is  uint64 // the devices of both
	accepted bool   // a person has said so: all in it is as it should be
}

// maxDoubts bounds both.
const maxDoubts = 1024

func newDoubts() doubts {
	return doubts{dirs: make(map[journal.Path]string), heirs: make(map[journal.Path]heir)}
}

func (d *doubts) has(p journal.Path) bool { _, ok := d.dirs[p]; return ok }

// drop ends the doubts about a directory and reports whether there were any.
func (d *doubts) drop(p journal.Path) bool {
	had := d.has(p)
	delete(d.dirs, p)
	return had
}

// accept says on behalf of the operator that all is as it should be.
func (d *doubts) accept() {
	clear(d.heirs)
	d.adopt(journal.Root, heir{accepted: true})
	clear(d.dirs)
}

// adopt says that a directory has taken the place of another, until all that follows
// from it is observed. That holds of what is in it too, so that a tree needs one heir.
func (d *doubts) adopt(p journal.Path, h heir) {
	if above, ok := d.heir(p); ok && (above.accepted || above == h) {
		return
	}
	if len(d.heirs) < maxDoubts {
		d.heirs[p] = h
	}
}

// adopted reports whether a directory or one above it was adopted.
func (d *doubts) adopted(p journal.Path) bool { _, ok := d.heir(p); return ok }

// heir returns how a directory, or the nearest above it, was adopted. What is in
// one that a person has accepted is accepted.
func (d *doubts) heir(p journal.Path) (nearest heir, ok bool) {
	for ; ; p = p.Dir() {
		if h, found := d.heirs[p]; found && (!ok || h.accepted) {
			nearest, ok = h, true
		}
		if p == journal.Root {
			return nearest, ok
		}
	}
}

// endHeirs forgets which directories were adopted when all in them is observed: one
// that is replaced later is doubted as any other. Messages that come and go all the
// time do not put that off.
func (w *Watcher) endHeirs() error {
	if len(w.doubts.heirs) == 0 || w.agenda.replaced() {
		return nil
	}
	names, ok := w.dirty.onlyNames()
	if !ok {
		return nil
	}
	directory := false
	err := w.cfg.Catalog.View(func(tx *catalog.Tx) error {
		for _, p := range names {
			if w.cfg.Rules.Classify(p, journal.TypeFile) == ClassMessage {
				continue
			}
			it, err := tx.Lookup(p)
			if err != nil && !errors.Is(err, catalog.ErrNotFound) {
				return err
			}
			if directory = err == nil && it.Facts.Type == journal.TypeDirectory; directory {
				return nil
			}
		}
		return nil
	})
	if err == nil && !directory {
		clear(w.doubts.heirs)
	}
	return err
}

// doubt says that nothing beneath a directory is journaled for now.
func (w *Watcher) doubt(p journal.Path, why string) {
	w.agenda.drop(p)
	if !w.doubts.has(p) {
		if len(w.doubts.dirs) >= maxDoubts {
			return // it stays unobserved all the same: its stamp is not the catalog's
		}
		w.cfg.Log.Warn("a directory was replaced; what is in it is not replicated until it is as before, or accepted by a person",
			"path", string(p), "reason", why)
	}
	w.doubts.dirs[p] = why
	w.publish()
}

// lookAgain makes everything dirty that is in doubt.
func (w *Watcher) lookAgain() {
	for p := range w.doubts.dirs {
		w.dirty.name(p)
	}
}

// mayBeGone reports whether a name that is not there any more may be taken for
// one that somebody has removed. A directory at or below which something was mounted
// may not: the mount point may have gone with the mount, and what it was in too.
func (c *cycle) mayBeGone(l look, it catalog.Item) (bool, error) {
	if it.Facts.Type != journal.TypeDirectory || l.path == journal.Root {
		return true, nil
	}
	if a := c.agenda.get(l.path); a != nil && a.why == reasonGone {
		return true, nil // that was decided, and is only to be confirmed
	}
	if h, _ := c.doubts.heir(l.path); h.accepted {
		return true, nil
	}
	if c.doubts.dirs[l.path] == doubtVanished {
		return false, nil // nothing that the catalog has below it has changed since
	}
	mounted, err := c.mountWithin(l.path, it)
	if mounted {
		c.doubt(l.path, doubtVanished)
	}
	return !mounted, err
}

// mountWithin reports whether the catalog knows of anything in a mount at or below a
// directory.
func (c *cycle) mountWithin(top journal.Path, it catalog.Item) (bool, error) {
	type directory struct {
		path   journal.Path
		device uint64 // 0: nobody has seen it
	}
	around, err := c.deviceAround(top)
	if err != nil {
		return false, err
	}
	if own, err := c.wasMount(top, it.Stamp, around); own || err != nil {
		return own, err
	}
	for stack := []directory{{top, it.Stamp.Device}}; len(stack) > 0; {
		d := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if below, err := c.tx.Below(d.path); err != nil || below.Directories == 0 {
			if err != nil {
				return false, err
			}
			continue // among thousands of messages there is none
		}
		own := false
		err := c.tx.List(d.path, "", func(name string, it catalog.Item) (err error) {
			if it.Facts.Type != journal.TypeDirectory {
				return c.ctx.Err()
			}
			p := d.path.Join(name)
			if own, err = c.wasMount(p, it.Stamp, d.device); err == nil && own {
				return errEnough
			}
			stack = append(stack, directory{p, it.Stamp.Device})
			return err
		})
		if own {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
	return false, nil
}

// wasMount reports whether the catalog knows of anything in a directory, and the
// directory as one at which something was mounted, or another file system began than
// that of the device around it.
func (c *cycle) wasMount(p journal.Path, s journal.Stamp, around uint64) (bool, error) {
	own, err := isMount(c.tx, p)
	if err != nil {
		return false, err
	}
	if h, adopted := c.doubts.heir(p); !own && !(adopted && h.was == s.Device) {
		own = s.Inode != 0 && around != 0 && !c.sameDevice(s, journal.Stamp{Device: around})
	}
	if !own {
		return false, nil
	}
	known, err := c.namesIn(p)
	return len(known) > 0, err
}

// believed applies the rule of the package comment on directories that were
// replaced.
func (c *cycle) believed(l look, it catalog.Item) (bool, string, error) {
	if a := c.agenda.get(l.path); a != nil && a.why == reasonGone && a.heir.SameFile(l.info.Stamp) {
		return true, "", nil // that was decided, and is only to be confirmed
	}
	h, adopted := c.doubts.heir(l.path)
	if h.accepted {
		return true, "", nil
	}
	known, err := c.namesIn(l.path)
	if err != nil || len(known) == 0 {
		return err == nil, "", err
	}
	mount, err := isMount(c.tx, l.path)
	if err != nil {
		return false, "", err
	}
	same := c.sameDevice(it.Stamp, l.info.Stamp)
	if adopted && !mount && (same || h.was == it.Stamp.Device && h.is == l.info.Stamp.Device) {
		return true, "", nil
	}
	d, err := c.cfg.Root.Dir(l.path)
	if err != nil {
		return false, "", err
	}
	defer d.Close()
	switch {
	case !same || mount:
		why := doubtForeign
		if mount {
			why = doubtUnmounted
		}
		if renumbered(it.Stamp, l.info.Stamp) {
			return true, "", nil
		}
		familiar, err := c.familiarNames(d, l.path, known)
		return familiar, why, err
	case l.info.Stamp.Birth > it.Stamp.Change:
		return true, "", nil
	}
	some, err := anyName(d)
	return some, doubtEmpty, err
}

// renumbered reports whether two stamps are of one file whose file system has
// another number since.
func renumbered(a, b journal.Stamp) bool { return a.Birth != 0 && a.SameInode(b) }

// familiarNames reports whether at least half of the names that the catalog knows
// in a directory are there, and are of the very files that they were of: names alone
// prove nothing, for a mail server makes anew what it misses, and a copy that was
// left beneath a mount may be old.
func (c *cycle) familiarNames(d *beneath.Dir, dir journal.Path, known []string) (bool, error) {
	familiar := 0
	for _, name := range known {
		info, err := d.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		it, err := c.tx.Lookup(dir.Join(name))
		if err != nil {
			return false, err
		}
		if it.Facts.Type == info.Facts.Type && it.Stamp.SameInode(info.Stamp) {
			familiar++
		}
	}
	return 2*familiar >= len(known), nil
}

// maxCompared bounds how many names are compared of a directory that was
// replaced.
const maxCompared = 100

// namesIn returns the first names that the catalog has in a directory.
func (c *cycle) namesIn(p journal.Path) (names []string, err error) {
	err = c.tx.List(p, "", func(name string, _ catalog.Item) error {
		names = append(names, name)
		if len(names) >= maxCompared {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return names, err
}

// errEnough ends a listing of the catalog.
var errEnough = errors.New("enough")
