package watch

import (
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// file observes a regular file.
func (c *cycle) file(l look, it catalog.Item, known bool) error {
	known = known && it.Facts.Type == journal.TypeFile && !it.Missing // else its content has come
	if known && c.same(it.Stamp, l.info.Stamp) && sameSize(it.Facts, l.info.Facts) && !heldBack(&it) {
		if it.Stamp.Change != l.info.Stamp.Change || !sameOwner(it.Facts.Attr, l.info.Facts.Attr) {
			return c.attributes(l, it, it.Facts.Content)
		}
		if l.class == ClassMessage || !c.racy(l.info.Facts.Attr.MTime) && !c.inDoubt(l, it) {
			c.resolved(l.path)
			return nil
		}
		// It may have been changed again within one tick of the clock, or a
		// power cut has taken its bytes back and not its time.
		return c.capture(l, it, known)
	}
	if known && l.class == ClassMessage && renumbered(it.Stamp, l.info.Stamp) && it.Stamp.Change == l.info.Stamp.Change && sameSize(it.Facts, l.info.Facts) {
		return c.attributes(l, it, it.Facts.Content)
	}
	if !known || !c.same(it.Stamp, l.info.Stamp) {
		if done, err := c.renamed(l); done || err != nil {
			return err
		}
	}
	if l.class == ClassMessage {
		return c.message(l, it, known)
	}
	return c.capture(l, it, known)
}

// inDoubt reports whether a power cut may have taken back the bytes of a file and
// not its stamp. What was never read is believed of no file.
func (c *cycle) inDoubt(l look, it catalog.Item) bool {
	return it.Facts.Content.Known() && c.unwritten.Has(l.info.Stamp.Change)
}

// renamed journals that the file is one which the catalog knows under another
// name, if that is so. It returns false if there is no such name.
func (c *cycle) renamed(l look) (bool, error) {
	from, was, moved, err := c.otherName(l)
	switch {
	case errors.Is(err, errChanged):
		c.putBack(l.path)
		return true, nil
	case errors.Is(err, errRead):
		return true, c.failed(l, err)
	case err != nil, from == "":
		return false, err
	}
	facts := l.info.Facts
	facts.Content, facts.Target = was.Facts.Content, was.Facts.Target
	if facts.Attr.Xattrs, err = c.xattrs(l); err != nil {
		return true, c.failed(l, err)
	}
	// A move or a link changes nothing but names: who follows the journal has
	// the facts under the other name. What else has changed is told by itself.
	e := journal.Entry{Kind: journal.KindLink, Path: l.path, From: from, Facts: was.Facts, Stamp: l.info.Stamp}
	if moved {
		e.Kind = journal.KindMove
		c.resolved(from)
	}
	c.resolved(l.path)
	if err := c.emit(e); err != nil || sameAttributes(facts.Attr, was.Facts.Attr) {
		return true, err
	}
	return true, c.emit(journal.Entry{Kind: journal.KindSetAttributes, Path: l.path, Facts: facts, Stamp: l.info.Stamp})
}

// otherName finds a name that the catalog has for this very file; moved says
// that the name is gone, so that the file was renamed.
func (c *cycle) otherName(l look) (from journal.Path, was catalog.Item, moved bool, err error) {
	paths, err := c.findStamp(l.info.Stamp)
	if err != nil {
		return "", was, false, err
	}
	var hashed journal.ContentID
	for _, p := range paths {
		it, err := c.tx.Lookup(p)
		if err != nil {
			return "", was, false, err
		}
		if p == l.path || it.Facts.Type != l.info.Facts.Type || !sameSize(it.Facts, l.info.Facts) {
			continue
		}
		if c.mayBeAnother(l, it) {
			if !hashed.Known() {
				if hashed, err = c.hashNow(l, l.info.Facts.Size); err != nil {
					return "", was, false, err
				}
			}
			if hashed != it.Facts.Content {
				continue
			}
		}
		info, err := c.lstat(p)
		switch {
		case errors.Is(err, fs.ErrNotExist), err == nil && !c.same(info.Stamp, l.info.Stamp):
			return p, it, true, nil
		case err == nil && l.info.Facts.Type == journal.TypeFile && l.info.Links > 1 && info.Links > 1:
			if from == "" {
				from, was = p, it
			}
		case err == nil && info.Links == 1:
			return "", was, false, errChanged // it has got that name back since
		}
	}
	return from, was, false, nil
}

// mayBeAnother reports whether a file with the stamp of one that the catalog
// knows may be another one: its inode was used again within the tick of the
// clock in which both were born.
func (c *cycle) mayBeAnother(l look, it catalog.Item) bool {
	return it.Facts.Type == journal.TypeFile && it.Facts.Content.Known() &&
		l.info.Facts.Size <= c.cfg.Limits.LargeFile &&
		(l.info.Stamp.Birth == 0 || c.racy(l.info.Stamp.Birth))
}

// message observes a message that is new or has another content.
func (c *cycle) message(l look, it catalog.Item, known bool) error {
	if known && c.stillHeldBack(l, &it) {
		return c.holdBack(l)
	}
	id, info, ok, err := c.content(l)
	if err != nil {
		return c.failed(l, err)
	}
	if !ok {
		return nil // it was put on the agenda
	}
	l.info = info
	if known && it.Facts.Content == id {
		return c.attributes(l, it, id)
	}
	held, err := c.rewritten(l, id)
	switch {
	case errors.Is(err, errChanged):
		c.busy(l.path)
		return nil
	case errors.Is(err, errRead):
		return c.failed(l, err)
	case held || err != nil:
		return err
	}
	facts := info.Facts
	facts.Content = id
	if facts.Attr.Xattrs, err = c.xattrs(l); err != nil {
		return c.failed(l, err)
	}
	if err := c.supersede(l, known); err != nil {
		return err
	}
	c.resolved(l.path)
	return c.emit(journal.Entry{Kind: journal.KindPut, Path: l.path, Facts: facts, Stamp: info.Stamp})
}

// supersede takes away other names of the same message which are gone, so that no
// two names of it are ever seen. Where the message is not known by this name, it is
// renamed first, with the content that it had: whoever follows the journal has it at
// every moment, though the new content may be a long time on its way.
func (c *cycle) supersede(l look, known bool) error {
	old, err := c.formerNames(l.path)
	if err != nil {
		return err
	}
	for _, q := range old {
		it, err := c.tx.Lookup(q)
		if err != nil {
			return err
		}
		c.resolved(q)
		e := journal.Entry{Kind: journal.KindRemove, Path: q}
		if !known && !it.Missing {
			e = journal.Entry{Kind: journal.KindMove, Path: l.path, From: q, Facts: it.Facts, Stamp: it.Stamp}
			known = true
		}
		if err := c.emit(e); err != nil {
			return err
		}
	}
	return nil
}

// maxFormer bounds how many names of one message are superseded at one time.
const maxFormer = 8

// formerNames returns names that the catalog has for the message at p, but p itself,
// and that are gone.
func (c *cycle) formerNames(p journal.Path) (gone []journal.Path, err error) {
	base := c.cfg.Rules.Base(p.Name())
	for _, dir := range c.cfg.Rules.MessageDirs(p.Dir()) {
		var old []journal.Path
		err := c.tx.ListPrefix(dir, base, func(name string, it catalog.Item) error {
			q := dir.Join(name)
			if q != p && it.Facts.Type == journal.TypeFile && c.cfg.Rules.Base(name) == base && len(old) < maxFormer {
				old = append(old, q)
			}
			return nil
		})
		if err != nil && !errors.Is(err, catalog.ErrNotFound) {
			return nil, err
		}
		for _, q := range old {
			if _, err := c.lstat(q); errors.Is(err, fs.ErrNotExist) {
				gone = append(gone, q)
			}
		}
	}
	return gone, nil
}

// symlink observes a symbolic link.
func (c *cycle) symlink(l look, it catalog.Item, known bool) error {
	known = known && it.Facts.Type == journal.TypeSymlink
	if known && it.Stamp == l.info.Stamp {
		c.resolved(l.path)
		return nil
	}
	target, err := c.dir(l.path.Dir()).Readlink(l.path.Name())
	if err != nil {
		return c.failed(l, err)
	}
	if known && target == it.Facts.Target {
		return c.attributes(l, it, journal.ContentID{})
	}
	if !known {
		if done, err := c.renamed(l); done || err != nil {
			return err
		}
	}
	facts := l.info.Facts
	facts.Target = target
	c.resolved(l.path)
	return c.emit(journal.Entry{Kind: journal.KindSymlink, Path: l.path, Facts: facts, Stamp: l.info.Stamp})
}

// attributes journals attributes that differ from the catalog's, of a thing
// whose content is known to be id. If only the stamp differs, the catalog
// alone is told.
func (c *cycle) attributes(l look, it catalog.Item, id journal.ContentID) error {
	facts := l.info.Facts
	facts.Content, facts.Target, facts.Size = id, it.Facts.Target, it.Facts.Size
	var err error
	if facts.Attr.Xattrs, err = c.xattrs(l); err != nil {
		return c.failed(l, err)
	}
	c.resolved(l.path)
	if it.Observed != 0 && it.Observed == l.info.DirMTime && it.Stamp.Change != l.info.Stamp.Change {
		it.Observed = 0 // the time may have been set back, see AsObserved
		if err := c.tx.Put(l.path, it); err != nil {
			return err
		}
	}
	if sameAttributes(facts.Attr, it.Facts.Attr) {
		if it.Stamp == l.info.Stamp {
			return nil
		}
		it.Stamp = l.info.Stamp
		c.changed = true
		return c.tx.Put(l.path, it)
	}
	if it.Link != 0 {
		// Its other names have the same attributes, and no hint for them.
		others, err := c.tx.FindLink(it.Link)
		if err != nil {
			return err
		}
		for _, p := range others {
			if p != l.path {
				c.dirty.name(p)
			}
		}
	}
	return c.emit(journal.Entry{Kind: journal.KindSetAttributes, Path: l.path, Facts: facts, Stamp: l.info.Stamp})
}

// xattrs reads the extended attributes of a name. More than an entry can hold
// are cut.
func (c *cycle) xattrs(l look) ([]journal.Xattr, error) {
	if l.info.Facts.Type == journal.TypeSymlink {
		return nil, nil
	}
	x, err := c.dir(l.path.Dir()).Xattrs(l.path.Name())
	if errors.Is(err, beneath.ErrXattrs) {
		c.cfg.Log.Warn("not all extended attributes are replicated", "path", string(l.path), "error", err)
		err = nil
	}
	return x, err
}

// failed says what becomes of a name at which a read failed: gone means
// another look, everything else that it is unreadable. Only errors of the
// observer itself end the cycle.
func (c *cycle) failed(l look, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, beneath.ErrNotRegular), errors.Is(err, beneath.ErrNotSymlink):
		c.putBack(l.path) // something else happened to the name since
	case errors.Is(err, errObserveFirst):
	default:
		c.unreadable(l.path, err)
	}
	return nil
}

// lstat looks at any path. A path through a directory that is gone does not
// exist; neither does one through a directory that was replaced.
func (c *cycle) lstat(p journal.Path) (beneath.Info, error) {
	info, err := c.cfg.Root.Stat(p)
	if errors.Is(err, beneath.ErrNotDirectory) || errors.Is(err, beneath.ErrEscapes) {
		err = fs.ErrNotExist
	}
	return info, err
}

// later puts a name on the agenda again, with a delay that grows.
func (w *Watcher) later(p journal.Path, why reason, first, last time.Duration) {
	if w.agenda.put(p, why, w.now(), first, last) == nil {
		w.deferred++
		w.forgotten++
		w.settler.touch(p.Dir(), w.now()) // it will be found by a listing
	}
}

// findStamp returns the names that the catalog has for a file, also from
// before its file system was given another device number.
func (c *cycle) findStamp(s journal.Stamp) ([]journal.Path, error) {
	var all []journal.Path
	for _, s := range c.aliases(s) {
		paths, err := c.tx.FindStamp(s)
		if err != nil {
			return nil, err
		}
		all = append(all, paths...)
	}
	return all, nil
}

func sameSize(a, b journal.Facts) bool { return a.Size == b.Size && a.Attr.MTime == b.Attr.MTime }

func sameOwner(a, b journal.Attributes) bool {
	return a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID
}

func sameAttributes(a, b journal.Attributes) bool {
	return sameOwner(a, b) && a.MTime == b.MTime && slices.EqualFunc(a.Xattrs, b.Xattrs, func(x, y journal.Xattr) bool {
		return x.Name == y.Name && slices.Equal(x.Value, y.Value)
	})
}
