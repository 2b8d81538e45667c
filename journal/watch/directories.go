package watch

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// directory observes a directory itself, not what is in it.
func (c *cycle) directory(l look, it catalog.Item, known bool) error {
	if known && c.same(it.Stamp, l.info.Stamp) {
		if c.doubts.drop(l.path) {
			c.after = append(c.after, func() { c.dirty.walk(l.path) })
		}
		if err := c.notMounted(l.path); err != nil {
			return err
		}
		if a := c.agenda.get(l.path); a != nil && a.why == reasonUnlisted {
			c.dirty.dir(l.path)
		}
		if !c.opaque(l.path) {
			c.after = append(c.after, func() { c.rewatch(l.path, it) })
		}
		return c.attributes(l, it, journal.ContentID{})
	}
	if known && it.Stamp.Inode != 0 {
		return c.replaced(l, it)
	}
	facts := l.info.Facts
	var err error
	if facts.Attr.Xattrs, err = c.xattrs(l); err != nil {
		return c.failed(l, err)
	}
	if !known {
		from, err := c.formerName(l)
		if err != nil {
			return err
		}
		if from != "" {
			c.resolved(from)
			c.resolved(l.path)
			c.after = append(c.after, func() { c.follow(from, l.path) })
			return c.moveDirectory(l, from, facts)
		}
	}
	c.resolved(l.path)
	c.after = append(c.after, func() { c.enter(l.path) })
	return c.emit(journal.Entry{Kind: journal.KindMakeDir, Path: l.path, Facts: facts, Stamp: l.info.Stamp})
}

// moveDirectory journals that a directory has another name, and then, if they
// have changed too, its attributes: the move itself changes nothing but names.
func (c *cycle) moveDirectory(l look, from journal.Path, facts journal.Facts) error {
	was, err := c.tx.Lookup(from)
	if err != nil {
		return err
	}
	if err := c.notMounted(from); err != nil {
		return err
	}
	e := journal.Entry{Kind: journal.KindMoveDir, Path: l.path, From: from, Facts: was.Facts, Stamp: l.info.Stamp}
	if err := c.emit(e); err != nil || sameAttributes(facts.Attr, was.Facts.Attr) {
		return err
	}
	return c.emit(journal.Entry{Kind: journal.KindSetAttributes, Path: l.path, Facts: facts, Stamp: l.info.Stamp})
}

// formerName finds the name that the catalog has for a directory which was
// renamed; it is empty if there is none.
func (c *cycle) formerName(l look) (journal.Path, error) {
	paths, err := c.findStamp(l.info.Stamp)
	if err != nil {
		return "", err
	}
	for _, p := range paths {
		if p == l.path || p == journal.Root || l.path.Within(p) {
			continue
		}
		it, err := c.tx.Lookup(p)
		if err != nil {
			return "", err
		}
		if it.Facts.Type != journal.TypeDirectory {
			continue
		}
		info, err := c.lstat(p)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !c.same(info.Stamp, l.info.Stamp) {
			return p, nil
		}
	}
	return "", nil
}

// replaced observes a directory that is not the one which the catalog knows by
// this name. If that is to be believed, the former one is gone as any other
// name; else nothing beneath it is touched.
func (c *cycle) replaced(l look, it catalog.Item) error {
	believed, why, err := c.believed(l, it)
	if err != nil {
		return c.failed(l, err)
	}
	if !believed {
		c.doubt(l.path, why)
		return nil
	}
	c.doubts.drop(l.path)
	c.gone(l) // the former one may have been renamed: its new name comes first
	return nil
}

// adopt takes a directory for the successor of the one that the catalog knows
// by the name: what differs in it is found by a walk.
func (c *cycle) adopt(l look, it catalog.Item) error {
	h := heir{was: it.Stamp.Device, is: l.info.Stamp.Device}
	if a := c.agenda.get(l.path); a != nil {
		h.accepted = a.accepted
	}
	c.resolved(l.path)
	facts := l.info.Facts
	err := c.notMounted(l.path)
	if err != nil {
		return err
	}
	if facts.Attr.Xattrs, err = c.xattrs(l); err != nil {
		return c.failed(l, err)
	}
	c.after = append(c.after, func() {
		c.hints.Remove(l.path)
		c.doubts.adopt(l.path, h)
		c.dirty.walk(l.path)
	})
	same := sameAttributes(facts.Attr, it.Facts.Attr)
	it.Facts, it.Stamp, it.Observed = facts, l.info.Stamp, 0
	c.changed = true
	if err := c.tx.Put(l.path, it); err != nil || same {
		return err
	}
	return c.emit(journal.Entry{Kind: journal.KindSetAttributes, Path: l.path, Facts: facts, Stamp: l.info.Stamp})
}

// enter begins to observe a directory that was just journaled: watched first,
// then listed, so that nothing appears between the two unseen.
func (w *Watcher) enter(p journal.Path) {
	if w.opaque(p) {
		return
	}
	w.hints.Remove(p) // of another directory that had the name
	w.watch(p)
	w.dirty.dir(p)
}

// rewatch watches a directory again that is still there: its watch has ended if it was
// elsewhere meanwhile, for so short a time that it was not missed. it is what the catalog
// had of it. What was not hinted since is found when it is listed.
func (w *Watcher) rewatch(p journal.Path, it catalog.Item) {
	w.watch(p)
	info, err := w.cfg.Root.Stat(p) // which may have changed before it was watched
	if err != nil || !AsObserved(p, &it, &info) {
		w.settler.touch(p, w.now())
	}
}

// follow lets the watches follow a directory that was renamed. What was
// hinted under the old names meanwhile is found by a walk.
func (w *Watcher) follow(from, to journal.Path) {
	err := w.eachDirectory(to, func(p journal.Path) error {
		old := from
		if p != to {
			old = from.Join(string(p[len(to)+1:]))
		}
		w.unwatch(old)
		if !w.opaque(p) {
			w.watch(p)
		}
		return nil
	})
	if err != nil {
		w.dirty.everything("watches could not follow a renamed directory")
		return
	}
	w.dirty.walk(to)
}

// eachDirectory calls f with a directory of the catalog and those beneath it,
// parents first. It must not be called within an update.
func (w *Watcher) eachDirectory(top journal.Path, f func(journal.Path) error) error {
	stack := []journal.Path{top}
	for len(stack) > 0 {
		p := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if err := f(p); err != nil {
			return err
		}
		if w.opaque(p) {
			continue
		}
		err := w.cfg.Catalog.View(func(tx *catalog.Tx) error {
			return tx.List(p, "", func(name string, it catalog.Item) error {
				if it.Facts.Type == journal.TypeDirectory {
					stack = append(stack, p.Join(name))
				}
				return w.ctx.Err()
			})
		})
		if err != nil && !errors.Is(err, catalog.ErrNotFound) {
			return err
		}
	}
	return nil
}

// watch watches a directory; if that is not to be had, changes in it are found
// by polling.
func (w *Watcher) watch(p journal.Path) {
	if _, ok := w.watched[w.hash(p)]; w.full && !w.retryFull && !ok {
		w.uncovered++
		return
	}
	err := w.hinted(p)
	switch {
	case err == nil:
		w.watched[w.hash(p)] = struct{}{}
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, beneath.ErrEscapes):
		w.dirty.name(p) // it vanished; that will be observed
	case errors.Is(err, syscall.ENAMETOOLONG):
		w.unlisted(p, err) // and so listed now and then
	default:
		w.uncovered++
		w.unwatched(err)
	}
}

// hinted asks for the hints of a directory, unless there is a link in its place, or in
// its path. The kernel would follow that, and has one watch of a directory, whatever name
// it was asked for by: the directory that the link leads to would be hinted by the name of
// the link, and no more once that is given up. It may be called concurrently.
func (w *Watcher) hinted(p journal.Path) error {
	info, err := w.cfg.Root.Stat(p)
	switch {
	case errors.Is(err, beneath.ErrEscapes):
		return err
	case err == nil && info.Facts.Type == journal.TypeSymlink:
		return fmt.Errorf("watch %q: %w", p, beneath.ErrEscapes)
	}
	return w.hints.Add(p) // which tells what else is wrong
}

func (w *Watcher) unwatch(p journal.Path) {
	w.hints.Remove(p)
	delete(w.watched, w.hash(p))
}

// opaque reports whether what is in a directory means nothing (tmp/), so that
// it need not be watched nor listed. The rules are asked for names as mail
// servers give them.
func (w *Watcher) opaque(p journal.Path) bool {
	if p == journal.Root {
		return false
	}
	for _, name := range []string{"1700000000.M1P1.host,S=1:2,S", "dovecot-uidlist", "x", ".x"} {
		for _, t := range []journal.Type{journal.TypeFile, journal.TypeDirectory, journal.TypeSymlink} {
			if w.cfg.Rules.Classify(p.Join(name), t) != ClassIgnored {
				return false
			}
		}
	}
	return true
}
