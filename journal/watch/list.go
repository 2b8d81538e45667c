package watch

import (
	"cmp"
	"errors"
	"hash/maphash"
	"io/fs"
	"slices"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// listing compares one directory with the catalog.
type listing struct {
	*Watcher
	dir    *beneath.Dir
	path   journal.Path
	scan   bool // part of a walk
	read   bool // all names in it were read ahead of the walk
	ahead  bool // what is observed first was looked at ahead of the walk
	heir   bool // of another one: the numbers of inodes prove nothing
	fresh  bool // the catalog has nothing in it yet
	seen   []uint64
	unsure bool // something in it is left to be looked at again

	messages  bool // it has only messages, and what differs can be observed together with others
	postponed bool // and some of it will be
	round     uint64
}

// list compares a directory with the catalog, name by name, and observes what
// differs. If nothing moved meanwhile, it records that the directory was
// completely observed. Hints are served between two pieces of it. A directory
// that is not there, or another one, is observed itself instead.
func (w *Watcher) list(p journal.Path) error {
	_, err := w.compare(&listing{Watcher: w, path: p})
	return err
}

// compare is list, of the directory that l is of, and reports whether that could
// be listed.
func (w *Watcher) compare(l *listing) (listed bool, err error) {
	p, holds := l.path, w.holds
	if w.opaque(p) {
		return false, nil
	}
	d, messages, err := w.openToList(p)
	if err != nil {
		return false, w.listFailed(p, err)
	}
	defer d.Close()
	before, err := d.Info()
	if err != nil {
		return false, w.listFailed(p, err)
	}
	w.listed++
	l.heir = w.doubts.adopted(p)
	l.dir, l.messages = d, messages && l.scan && w.walking && !w.baseline
	if w.baseline && l.scan {
		if l.fresh, err = w.nothingKnown(p); err != nil {
			return false, err
		}
	}
	var own error // as opposed to one of the store
	done, err := l.leaveToRead()
	if err != nil {
		return false, err
	}
	err = d.Each(func(names []beneath.Name) error {
		done()
		if own = l.piece(names); own == nil {
			done, own = l.leaveToRead()
		}
		return own
	})
	done()
	if own != nil {
		return false, own
	}
	if err != nil {
		return false, w.listFailed(p, err)
	}
	if err := l.missing(); err != nil {
		return false, err
	}
	after, err := d.Info()
	if err != nil {
		return false, w.listFailed(p, err)
	}
	if a := w.agenda.get(p); a != nil && a.why == reasonUnlisted {
		w.agenda.drop(p)
	}
	w.readable(p)
	complete := before.DirMTime == after.DirMTime && !l.unsure && !w.racy(after.DirMTime)
	if l.postponed {
		return true, w.listedWith(listedDir{p, before, complete, w.holds != holds}, l.round)
	}
	return true, w.concluded(listedDir{p, before, complete, w.holds != holds})
}

// concluded says that a directory was listed, and all in it that differed was
// observed; if that was complete, it is recorded. One in which a message may be held
// back is listed again at the next start, and not before.
func (w *Watcher) concluded(d listedDir) error {
	w.settler.listed(d.path, w.now(), d.complete)
	if !d.complete || d.holds {
		return nil
	}
	return w.observed(d.path, d.info)
}

// observed records a complete observation.
func (w *Watcher) observed(p journal.Path, info beneath.Info) error {
	err := w.cfg.Catalog.Update(func(tx *catalog.Tx) error {
		it, err := tx.Lookup(p)
		if err != nil {
			return err
		}
		if it.Observed == info.DirMTime && (p == journal.Root || it.Stamp == info.Stamp) {
			return errEnough
		}
		if p == journal.Root {
			return tx.Observed(p, info.DirMTime)
		}
		if !it.Stamp.SameInode(info.Stamp) {
			return errEnough // another one has got its name since it was listed
		}
		it.Observed, it.Stamp = info.DirMTime, info.Stamp
		return tx.Put(p, it)
	})
	if errors.Is(err, errEnough) || errors.Is(err, catalog.ErrNotFound) {
		return nil // nothing new, or replaced or removed meanwhile
	}
	return err
}

// openToList opens a directory if it is the one that the catalog knows, and
// reports whether there are only messages in it.
func (w *Watcher) openToList(p journal.Path) (d *beneath.Dir, messages bool, err error) {
	err = w.cfg.Catalog.View(func(tx *catalog.Tx) error {
		k, err := w.openKnown(tx, p)
		if err != nil {
			return err
		}
		d = k.Dir
		if messages, err = w.onlyMessages(tx, p); err != nil {
			return errors.Join(err, d.Close())
		}
		return nil
	})
	return d, messages, err
}

// listFailed says what becomes of a directory that could not be opened or
// listed.
func (w *Watcher) listFailed(p journal.Path, err error) error {
	switch {
	case err == nil:
	case errors.Is(err, errObserveFirst):
	case errors.Is(err, fs.ErrNotExist):
		w.observeFirst(p)
	default:
		w.unlisted(p, err)
	}
	return nil
}

// piece compares some names that were listed.
func (l *listing) piece(names []beneath.Name) error {
	if err := l.serve(); err != nil {
		return err
	}
	slices.SortFunc(names, func(a, b beneath.Name) int { return cmp.Compare(a.Inode, b.Inode) })
	var different, found []beneath.Name
	err := l.cfg.Catalog.View(func(tx *catalog.Tx) error {
		for _, n := range names {
			p := l.path.Join(n.Name)
			class := l.cfg.Rules.Classify(p, n.Type)
			if class == ClassIgnored {
				continue
			}
			l.seen = append(l.seen, maphash.String(l.seed, n.Name))
			if l.fresh {
				found = append(found, n) // it will be looked up when it is put
				continue
			}
			it, err := tx.Lookup(p)
			switch {
			case errors.Is(err, catalog.ErrNotFound):
				found = append(found, n)
			case err != nil:
				return err
			case l.heir, it.Facts.Type != n.Type || it.Stamp.Inode != n.Inode || changesInPlace(class, n.Type), heldBack(&it):
				different = append(different, n)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if l.baseline && l.scan {
		if err := l.putAll(found); err != nil {
			return err
		}
	} else {
		different = append(different, found...)
	}
	return l.differ(different)
}

// differ observes the names that were found to differ, now or together with those
// of other directories.
func (l *listing) differ(names []beneath.Name) error {
	if l.messages {
		if err := l.glance(names); err != nil {
			return err
		}
	}
	paths := make([]journal.Path, len(names))
	for i, n := range names {
		paths[i] = l.path.Join(n.Name)
	}
	if l.collect(paths) {
		return nil
	}
	return l.batches(paths)
}

// changesInPlace reports whether a file may change without its name changing.
func changesInPlace(class Class, t journal.Type) bool {
	return t == journal.TypeFile && class != ClassMessage
}

// batches observes names, a batch at a time, with hints served in between.
func (l *listing) batches(names []journal.Path) error {
	for batch := range slices.Chunk(names, l.cfg.Limits.Batch) {
		if err := l.serve(); err != nil {
			return err
		}
		done := func() {}
		if l.scan && !l.ahead {
			var err error
			if done, err = l.leave(len(batch)); err != nil {
				return err
			}
		}
		deferred := l.deferred
		err := l.observeAs(batch, l.scan)
		done()
		if err != nil {
			return err
		}
		l.unsure = l.unsure || l.deferred != deferred
		for _, p := range batch {
			l.unsure = l.unsure || l.agenda.unsure(p)
		}
	}
	return nil
}

// missing observes the names that the catalog has and the listing had not.
func (l *listing) missing() error {
	lost := l.lostIn(l.dir, l.path)
	slices.Sort(l.seen)
	for from := ""; ; {
		var gone, former []journal.Path // former: of those, the names that were known when lost was asked
		last := ""
		err := l.cfg.Catalog.View(func(tx *catalog.Tx) error {
			return tx.List(l.path, from, func(name string, it catalog.Item) error {
				if _, ok := slices.BinarySearch(l.seen, maphash.String(l.seed, name)); !ok && !l.stillComes(&it) {
					p := l.path.Join(name)
					gone = append(gone, p)
					if lost && l.former(p, &it) {
						former = append(former, p)
					}
				}
				last = name
				if len(gone) >= l.cfg.Limits.Batch {
					return errEnough
				}
				return nil
			})
		})
		if err != nil && !errors.Is(err, errEnough) {
			if errors.Is(err, catalog.ErrNotFound) {
				return nil
			}
			return err
		}
		end := err == nil
		if lost || !l.collect(gone) {
			if err := l.batches(gone); err != nil {
				return err
			}
		}
		l.agenda.lose(former)
		if err := l.loseNow(l.path, former); err != nil {
			return err
		}
		if end {
			return nil
		}
		from = last + "\x00"
	}
}

// nothingKnown reports whether the catalog has nothing in a directory.
func (w *Watcher) nothingKnown(p journal.Path) (bool, error) {
	err := w.cfg.Catalog.View(func(tx *catalog.Tx) error {
		return tx.List(p, "", func(string, catalog.Item) error { return errEnough })
	})
	if errors.Is(err, errEnough) || errors.Is(err, catalog.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// anyName reports whether there is anything in a directory.
func anyName(d *beneath.Dir) (bool, error) {
	err := d.Each(func([]beneath.Name) error { return errEnough })
	if errors.Is(err, errEnough) {
		return true, nil
	}
	return false, err
}

// namesAtOnce is how many names a scan puts into the catalog at once.
const namesAtOnce = 32

// putAll puts names into the catalog as a baseline, a batch at a time.
func (l *listing) putAll(names []beneath.Name) error {
	for few := range slices.Chunk(names, min(maxCycleEntries, namesAtOnce)) {
		deferred := l.deferred
		if err := l.glance(few); err != nil {
			return err
		}
		batch := make([]journal.Path, len(few))
		for i, n := range few {
			batch[i] = l.path.Join(n.Name)
		}
		err := l.cycle(nil, func(c *cycle) error {
			for _, p := range batch {
				if err := c.putUnread(p); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		l.unsure = l.unsure || l.deferred != deferred
		for _, p := range batch {
			l.unsure = l.unsure || l.agenda.unsure(p)
		}
	}
	return nil
}

// putUnread puts what is at p into the catalog as part of the baseline: its
// content is read later, by whoever sends it.
func (c *cycle) putUnread(p journal.Path) error {
	l, ok := c.look(p)
	if !ok || l.gone {
		return nil
	}
	if l.class == ClassDerived {
		c.derived(p) // it is journaled when all beside it is known
		return nil
	}
	if _, err := c.tx.Lookup(p); err == nil {
		return nil // a hint was faster
	}
	facts := l.info.Facts
	var err error
	if facts.Type == journal.TypeSymlink {
		facts.Target, err = c.dir(p.Dir()).Readlink(p.Name())
	} else {
		facts.Attr.Xattrs, err = c.xattrs(l)
	}
	if err != nil {
		return c.failed(l, err)
	}
	c.changed = true
	it := catalog.Item{Facts: facts, Stamp: l.info.Stamp}
	if facts.Type == journal.TypeFile && l.info.Links > 1 {
		it.Link = l.info.Stamp.Inode // as the catalog names the groups that links make
	}
	return c.tx.Put(p, it)
}
