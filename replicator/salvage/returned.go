package salvage

import (
	"context"
	"errors"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/journal/watch"
)

// cameBack reports whether a name that the catalog does not have was in the store
// before and gone from it: the journal says so, or it was there when the catalog had
// all. It is there again because somebody has put an older state of the store in its
// place, or because a power cut has taken its removal back. Copies of files are
// younger than what they are of, but not by their mtime; that counts only where the
// directory is a copy as well, for a client may set it as it likes.
func (s *salvager) cameBack(p journal.Path, base string, info beneath.Info) (bool, error) {
	known, copied := false, false
	err := s.cfg.Catalog.View(func(t *catalog.Tx) error {
		if _, err := t.Lookup(p); !errors.Is(err, catalog.ErrNotFound) {
			known = true
			return err
		}
		dir, err := t.Lookup(p.Dir())
		if err != nil {
			if errors.Is(err, catalog.ErrNotFound) {
				err = nil
			}
			return err
		}
		is, err := s.cfg.Root.Stat(p.Dir())
		copied = err == nil && !dir.Stamp.SameInode(is.Stamp)
		return err
	})
	switch {
	case err != nil || known:
		return false, err
	case s.left[lifeKey(mailboxOf(p), base)], s.left[string(p)]:
		return true, nil
	case s.whole.IsZero() || s.whole.After(s.cfg.Now()):
		return false, nil
	}
	before := s.whole.Add(-watch.HintDelay).UnixNano()
	return info.Stamp.Change < before || copied && info.Facts.Attr.MTime < before, nil
}

// maxLeft bounds what left returns.
const maxLeft = 128 << 10

// left reads all that a journal still holds, and returns the messages that are in
// a mailbox no more, by the mailbox and the base, and the names that they had before,
// by their paths: the youngest of them, if there are very many.
func (p *past) left(ctx context.Context, log *journal.Log) (map[string]bool, error) {
	gone := make(map[string]bool)
	r, err := log.Read(log.Start().Sequence)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	for ctx.Err() == nil {
		rec, more, err := r.TryNext()
		if err != nil || !more {
			return gone, err
		}
		e := &rec.Entry
		switch e.Kind {
		case journal.KindRemove:
			p.leaves(gone, e.Path)
		case journal.KindMove:
			p.leaves(gone, e.From)
			p.comes(gone, e.Path)
		case journal.KindPut, journal.KindLink:
			p.comes(gone, e.Path)
		default:
		}
	}
	return nil, context.Cause(ctx)
}

func (p *past) leaves(gone map[string]bool, path journal.Path) {
	base, message := p.base(path)
	if !message {
		return
	}
	if len(gone) >= maxLeft {
		clear(gone) // what is older is told by its age
	}
	gone[lifeKey(mailboxOf(path), base)], gone[string(path)] = true, true
}

func (p *past) comes(gone map[string]bool, path journal.Path) {
	if base, message := p.base(path); message {
		delete(gone, lifeKey(mailboxOf(path), base))
		delete(gone, string(path))
	}
}

// lifeKey names a message in a mailbox.
func lifeKey(mailbox journal.Path, base string) string { return string(mailbox) + "\x00" + base }
