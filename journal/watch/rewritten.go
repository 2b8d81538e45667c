package watch

import (
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// errRewritten says that a message has another content than it had, and is the same
// file. Mail servers, and what compresses mail, put another file in its place.
var errRewritten = errors.New("its content was changed in place, as no mail server does: what was replicated of it before is kept")

// grownWithin is how long after a message was made more may be appended to it: it
// may not have been delivered through another directory, and was not complete when
// it was seen first.
const grownWithin = time.Minute

// rewritten reports whether a message, whose content is id now, was changed in
// place since it was journaled, under this name or one with other flags. That is not
// journaled: an array that corrupts what it holds, or a program that encrypts it, is
// not to destroy the last good copy. Only what has become of its name is. It counts
// among what cannot be read until another file is in its place, the content is as it
// was, or a person has accepted it.
func (c *cycle) rewritten(l look, id journal.ContentID) (bool, error) {
	paths, err := c.findStamp(l.info.Stamp)
	if err != nil {
		return false, err
	}
	if it, err := c.tx.Lookup(l.path); err == nil && heldBack(&it) && it.Stamp.SameInode(l.info.Stamp) && !slices.Contains(paths, l.path) {
		paths = append(paths, l.path) // its file system has another number
	}
	for _, p := range paths {
		it, err := c.tx.Lookup(p)
		if err != nil {
			return false, err
		}
		if it.Facts.Type != journal.TypeFile || it.Missing || !it.Facts.Content.Known() || it.Facts.Content == id {
			continue
		}
		if grown, err := c.grown(l, it); grown || err != nil {
			return false, err
		}
		if c.agreed(&it) {
			return false, nil
		}
		if p != l.path {
			moved, err := c.renamedToo(l, p, it)
			if err != nil {
				return false, err
			}
			if !moved {
				continue
			}
		}
		return true, c.holdBack(l)
	}
	return false, nil
}

// grown reports whether more was appended to a message that may not have been
// complete when it was seen: what it was is what it begins with.
func (c *cycle) grown(l look, it catalog.Item) (bool, error) {
	made := l.info.Stamp.Birth
	if made == 0 {
		made = it.Facts.Attr.MTime
	}
	if l.info.Facts.Size <= it.Facts.Size || l.info.Stamp.Change-made > int64(grownWithin) {
		return false, nil
	}
	id, err := c.hashNow(l, it.Facts.Size)
	return err == nil && id == it.Facts.Content, err
}

// renamedToo journals that a message which was changed in place has another name
// too. It returns false if it is another message, or has its former name as well.
func (c *cycle) renamedToo(l look, from journal.Path, it catalog.Item) (bool, error) {
	if c.cfg.Rules.Base(from.Name()) != c.cfg.Rules.Base(l.path.Name()) {
		return false, nil // one that was delivered got the inode of one that was expunged
	}
	if _, err := c.lstat(from); !errors.Is(err, fs.ErrNotExist) {
		return false, nil // it is not gone, as far as is known
	}
	if _, err := c.tx.Lookup(l.path); !errors.Is(err, catalog.ErrNotFound) {
		return false, err
	}
	c.resolved(from)
	e := journal.Entry{Kind: journal.KindMove, Path: l.path, From: from, Facts: it.Facts, Stamp: it.Stamp}
	return true, c.emit(e)
}

// holdBack keeps what the catalog has of a message that was changed in place, and
// marks it: the time of its last change there is that at which it was held back first,
// negated, which no file has. Its directory counts as not observed. So it is found
// again after a restart, and by the scan after a person has accepted it, however many
// there are. The mark is durable within Timing.Sync: no journal has it.
func (c *cycle) holdBack(l look) error {
	c.unreadable(l.path, errRewritten)
	c.holds++
	if a := c.agenda.get(l.path); a != nil {
		a.held, a.seen = true, l.info.Stamp.Change
		if c.racy(a.seen) {
			a.seen = 0
		}
	}
	it, err := c.tx.Lookup(l.path)
	if errors.Is(err, catalog.ErrNotFound) {
		return nil // no journal can say that it has this name
	}
	now := max(1, c.cfg.Clock.Now().UnixNano())
	if err != nil || heldBack(&it) && -it.Stamp.Change <= now { // else the clock was set back
		return err
	}
	it.Stamp.Change = -now
	c.changed = true
	c.after = append(c.after, func() { c.unsynced++ })
	return errors.Join(c.tx.Put(l.path, it), c.tx.Observed(l.path.Dir(), 0))
}

// heldBack reports whether what the catalog has of a message is marked by holdBack.
func heldBack(it *catalog.Item) bool { return it.Stamp.Change < 0 && it.Facts.Content.Known() }

// stillHeldBack reports whether a message that is held back has not changed since its
// content was compared, so that it need not be read again.
func (c *cycle) stillHeldBack(l look, it *catalog.Item) bool {
	a := c.agenda.get(l.path)
	return a != nil && a.held && a.seen == l.info.Stamp.Change && heldBack(it) && !c.agreed(it)
}

// agreed reports whether a person has accepted messages since this one was held back.
func (w *Watcher) agreed(it *catalog.Item) bool {
	return heldBack(it) && -it.Stamp.Change <= w.rewrites
}
