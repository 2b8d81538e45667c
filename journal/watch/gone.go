package watch

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// gone puts a name that the catalog knows, and that is not in the store any
// more, on the agenda: it has to be confirmed.
func (c *cycle) gone(l look) {
	w := c.agenda.get(l.path)
	if w != nil && w.why == reasonGone {
		c.succeeded(w, l)
		if !w.scan && w.due == never {
			w.due = c.now() + w.delay
			c.agenda.next = min(c.agenda.next, w.due)
		}
		return
	}
	c.later(l.path, reasonGone, c.cfg.Timing.Confirm, c.cfg.Timing.Confirm)
	polling := c.status.Mode == ModePolling
	if w = c.agenda.get(l.path); w == nil {
		return
	}
	c.succeeded(w, l)
	if l.scan && c.walking || polling {
		w.scan, w.poll = true, polling
		w.due = never
	}
}

// succeeded notes of a directory that is gone which one was believed to have taken
// its place, and whether a person has said that it is so.
func (c *cycle) succeeded(w *waiting, l look) {
	w.heir = journal.Stamp{}
	if !l.gone && l.info.Facts.Type == journal.TypeDirectory {
		w.heir = l.info.Stamp
	}
	h, _ := c.doubts.heir(l.path)
	w.accepted = w.accepted || h.accepted
}

// confirm looks at names a second time that were gone, and journals the
// removal of those that are.
func (w *Watcher) confirm(names []journal.Path) error {
	slices.Sort(names)
	for len(names) > 0 {
		dir := names[0].Dir()
		n := slices.IndexFunc(names, func(p journal.Path) bool { return p.Dir() != dir })
		if n < 0 {
			n = len(names)
		}
		n = min(n, maxCycleEntries)
		if err := w.confirmIn(dir, names[:n]); err != nil {
			return err
		}
		names = names[n:]
	}
	return nil
}

// confirmIn is confirm for names in one directory.
func (w *Watcher) confirmIn(dir journal.Path, names []journal.Path) error {
	if w.notYet(dir, names) {
		return nil
	}
	started := w.now()
	err := w.cycle(names, func(c *cycle) error {
		d := c.dir(dir)
		if d.err != nil {
			c.undecided(dir, names, d.err)
			return nil //nolint:nilerr // it is the directory's, and no end of observing
		}
		gone, err := c.confirmed(d.Dir, dir, names)
		if err != nil || len(gone) == 0 {
			return err
		}
		if c.lostIn(d.Dir, dir) {
			former, err := c.formerOf(names)
			if err != nil {
				return err
			}
			c.agenda.lose(former)
		}
		if gone, err = c.loseAll(dir, gone); err != nil {
			return err
		}
		for _, g := range gone {
			if err := c.remove(g); err != nil {
				return err
			}
		}
		return nil
	})
	w.rest(dir, w.now()-started)
	return err
}

// confirmed returns those of the names in a directory that are gone for the second
// time, and makes sure that they are gone from the store.
func (c *cycle) confirmed(d *beneath.Dir, dir journal.Path, names []journal.Path) ([]goneName, error) {
	gone := c.stillGone(d, names)
	gone, err := c.notRenamed(dir, gone)
	if err != nil || len(gone) == 0 {
		return nil, err
	}
	if err := c.checkNow(); err != nil {
		return nil, err
	}
	if dir == journal.Root {
		if some, err := c.hasContent(d); err != nil {
			return nil, err
		} else if !some && !c.doubts.adopted(journal.Root) {
			c.emptied = true
			return nil, c.suspend("%s is empty now, but was not before", c.cfg.Root.Path())
		}
	}
	return gone, nil
}

// undecided says what becomes of gone names whose directory cannot be opened: they
// are found again with it, or after it. That they were lost would not be, so those
// wait for a directory that is the same and cannot be read now.
func (c *cycle) undecided(dir journal.Path, names []journal.Path, err error) {
	for _, p := range names {
		if a := c.agenda.get(p); a != nil && a.lost && !errors.Is(err, errObserveFirst) {
			c.later(p, reasonUnreadable, c.cfg.Timing.Unreadable, c.cfg.Timing.UnreadableLast)
			continue
		}
		c.agenda.drop(p)
	}
	c.settler.touch(dir, c.now())
}

// goneName is a name that is gone for the second time.
type goneName struct {
	path    journal.Path
	item    catalog.Item
	absent  bool          // nothing has the name now
	another bool          // something else has it
	heir    *beneath.Info // the directory that has taken its place
}

// stillGone returns those of the names that the catalog knows and that are
// still not what is in the directory.
func (c *cycle) stillGone(d *beneath.Dir, names []journal.Path) []goneName {
	var gone []goneName
	for _, p := range names {
		it, err := c.tx.Lookup(p)
		if err != nil {
			c.resolved(p)
			continue
		}
		info, err := d.Stat(p.Name())
		another := err == nil && (info.Facts.Type != it.Facts.Type || !c.same(it.Stamp, info.Stamp))
		meansNothing := err == nil && c.cfg.Rules.Classify(p, info.Facts.Type) == ClassIgnored
		isDir := it.Facts.Type == journal.TypeDirectory
		if c.stillComes(&it) && errors.Is(err, fs.ErrNotExist) {
			c.resolved(p) // it has not come yet
			continue
		}
		switch {
		case errors.Is(err, fs.ErrNotExist), meansNothing:
			gone = append(gone, goneName{path: p, item: it, absent: err != nil})
		case err != nil:
			c.unreadable(p, err)
		case another && isDir && info.Facts.Type == journal.TypeDirectory && !c.believedHeir(p, info):
			c.agenda.drop(p)
			c.dirty.name(p) // yet another one has come meanwhile
		case another && isDir && info.Facts.Type == journal.TypeDirectory:
			gone = append(gone, goneName{path: p, item: it, heir: &info})
		case another && (isDir || info.Facts.Type == journal.TypeDirectory):
			gone = append(gone, goneName{path: p, item: it, another: true})
		default:
			c.agenda.drop(p)
			c.dirty.name(p) // it is there
		}
	}
	return gone
}

// believedHeir reports whether a directory is the one that was believed to have
// taken the place of the one that is gone from there.
func (c *cycle) believedHeir(p journal.Path, info beneath.Info) bool {
	w := c.agenda.get(p)
	return w == nil || w.heir.SameFile(info.Stamp)
}

// notRenamed drops messages whose base name is found under other flags, in
// the directories of their mailbox. It needs a listing during which nothing
// changed, or several.
func (c *cycle) notRenamed(dir journal.Path, gone []goneName) ([]goneName, error) {
	bases := make(map[string]struct{})
	for _, g := range gone {
		if g.item.Facts.Type == journal.TypeFile && c.cfg.Rules.Classify(g.path, journal.TypeFile) == ClassMessage {
			bases[c.cfg.Rules.Base(g.path.Name())] = struct{}{}
		}
	}
	if len(bases) == 0 {
		return gone, nil
	}
	gone, err := c.notUnreadable(gone, bases)
	if err != nil {
		return nil, err
	}
	found, stable, err := c.findBases(c.cfg.Rules.MessageDirs(dir), bases)
	if err != nil {
		if c.ctx.Err() != nil {
			return nil, err
		}
		for _, g := range gone {
			c.unreadable(g.path, err)
		}
		return nil, nil
	}
	alive := make(map[string]struct{})
	for _, p := range found {
		back := slices.ContainsFunc(gone, func(g goneName) bool { return g.path == p })
		if it, err := c.tx.Lookup(p); err == nil && !back {
			if info, err := c.lstat(p); err == nil && c.same(it.Stamp, info.Stamp) {
				continue // another file of its own, known as such
			}
		}
		alive[c.cfg.Rules.Base(p.Name())] = struct{}{}
		c.dirty.name(p)
	}
	kept := gone[:0]
	for _, g := range gone {
		base := c.cfg.Rules.Base(g.path.Name())
		_, message := bases[base]
		if _, ok := alive[base]; ok && message {
			c.again(g.path) // its new name is dirty, and will be observed first
			continue
		}
		if message && !stable && !c.unstableEnough(g.path) {
			continue
		}
		kept = append(kept, g)
	}
	return kept, nil
}

// notUnreadable drops messages of which one that cannot be read, in whatever
// mailbox, has the base name: it may be what they have become. Nobody can tell
// before that can be read, so that they are with it among what cannot be. One of
// which the catalog has another name is not dropped: it is not lost with this one.
// Nor is one for a message that was changed in place: that can be read, and the
// catalog knows what it was.
func (c *cycle) notUnreadable(gone []goneName, bases map[string]struct{}) (kept []goneName, err error) {
	names, _ := c.broken.list(0)
	others := make(map[string]journal.Path)
	for _, u := range names {
		if u.Rewritten {
			continue
		}
		base := c.cfg.Rules.Base(u.Path.Name())
		if _, ok := bases[base]; ok && !isGone(gone, u.Path) && c.cfg.Rules.Classify(u.Path, journal.TypeFile) == ClassMessage {
			others[base] = u.Path
		}
	}
	if len(others) == 0 {
		return gone, nil
	}
	for _, g := range gone {
		other, unread := others[c.cfg.Rules.Base(g.path.Name())]
		named := false
		if unread && g.item.Stamp.Inode != 0 {
			paths, err := c.findStamp(g.item.Stamp)
			if err != nil {
				return nil, err
			}
			named = slices.ContainsFunc(paths, func(p journal.Path) bool { return !isGone(gone, p) })
		}
		if unread && !named {
			c.unreadable(g.path, fmt.Errorf("it is gone, and may have become %q, which cannot be read", other))
			continue
		}
		kept = append(kept, g)
	}
	return kept, nil
}

func isGone(gone []goneName, p journal.Path) bool {
	return slices.ContainsFunc(gone, func(g goneName) bool { return g.path == p })
}

// maxUnstable is how many confirmations in vain are needed where the directory
// changes during each, with maxListings listings each. One listing may well
// miss a message that is being renamed, but not all of them.
const maxUnstable = 10

// unstableEnough counts confirmations during which the directory changed, and
// reports whether there were enough of them. What is only kept as missing needs none:
// if it has another name after all, that takes its place.
func (c *cycle) unstableEnough(p journal.Path) bool {
	if c.losing {
		return true
	}
	w := c.agenda.get(p)
	if w == nil {
		return false
	}
	w.looks++
	if w.looks >= maxUnstable {
		return true
	}
	c.again(p)
	return false
}

// again lets a gone name be confirmed later.
func (c *cycle) again(p journal.Path) {
	c.later(p, reasonGone, c.cfg.Timing.Confirm, 50*c.cfg.Timing.Confirm)
}

// remove journals that a name is gone.
func (c *cycle) remove(g goneName) error {
	if g.heir != nil {
		return c.adopt(look{path: g.path, info: *g.heir}, g.item)
	}
	c.resolved(g.path)
	kind := journal.KindRemove
	if g.item.Facts.Type == journal.TypeDirectory {
		kind = journal.KindRemoveDir
		if err := c.leaveIn(g.path); err != nil {
			return err
		}
	}
	if g.another {
		c.dirty.name(g.path)
	}
	return c.emit(journal.Entry{Kind: kind, Path: g.path})
}

// leaveIn ends the watches of a directory that is being removed, and what is known of
// mounts in it. The catalog knows them only until then.
func (c *cycle) leaveIn(p journal.Path) error {
	stack := []journal.Path{p}
	for len(stack) > 0 {
		p := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		c.unwatch(p)
		c.settler.forget(p)
		c.snapshots.forget(p)
		delete(c.large, p)
		c.doubts.drop(p)
		if err := c.notMounted(p); err != nil {
			return err
		}
		if c.opaque(p) {
			continue
		}
		err := c.tx.List(p, "", func(name string, it catalog.Item) error {
			if it.Facts.Type == journal.TypeDirectory {
				stack = append(stack, p.Join(name))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// The removals in a directory wait until nine times as long has passed as the
// last confirmation there took, so that listings of large directories never
// take more than a tenth of the time.
const restFactor = 9

// maxResting bounds how many directories are remembered as resting.
const maxResting = 1024

func (w *Watcher) rest(dir journal.Path, took time.Duration) {
	if took < w.cfg.Timing.Confirm/restFactor {
		return
	}
	if len(w.resting) >= maxResting {
		clear(w.resting)
	}
	w.resting[dir] = w.now() + restFactor*took
}

// notYet postpones the confirmation of names in a directory that rests.
func (w *Watcher) notYet(dir journal.Path, names []journal.Path) bool {
	until, ok := w.resting[dir]
	now := w.now()
	if !ok || until <= now {
		delete(w.resting, dir)
		return false
	}
	for _, p := range names {
		if a := w.agenda.get(p); a != nil {
			a.due = until
			w.agenda.next = min(w.agenda.next, until)
		}
	}
	return true
}
