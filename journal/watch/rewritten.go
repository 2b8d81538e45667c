package watch

import (
	"errors"
	"io/fs"
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
	if _, ok := c.rewrites[l.path]; ok {
		delete(c.rewrites, l.path)
		return false, nil
	}
	paths, err := c.findStamp(l.info.Stamp)
	if err != nil {
		return false, err
	}
	for _, p := range paths {
		it, err := c.tx.Lookup(p)
		if err != nil {
			return false, err
		}
		if it.Facts.Type != journal.TypeFile || it.Missing || !it.Facts.Content.Known() || it.Facts.Content == id || grown(l, it) {
			continue
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
		c.unreadable(l.path, errRewritten)
		return true, nil
	}
	return false, nil
}

// grown reports whether more was appended to a message that may not have been
// complete when it was seen.
func grown(l look, it catalog.Item) bool {
	made := l.info.Stamp.Birth
	if made == 0 {
		made = it.Facts.Attr.MTime
	}
	return l.info.Facts.Size > it.Facts.Size && l.info.Stamp.Change-made <= int64(grownWithin)
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

// acceptRewrites has the messages journaled as they are that were changed in place.
func (w *Watcher) acceptRewrites() {
	clear(w.rewrites)
	broken, _ := w.broken.list(0)
	for _, u := range broken {
		if u.Rewritten {
			w.rewrites[u.Path] = struct{}{}
			w.dirty.name(u.Path)
		}
	}
}
