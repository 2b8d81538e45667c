package replicator

import (
	"context"
	"errors"
	"os"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
)

// apartMailboxes is how many mailboxes without a uidlist are enough.
const apartMailboxes = 20

// ApartWords says for people what UIDsApart has found.
const ApartWords = "of the mailboxes that were looked at none has a dovecot-uidlist beside its messages: if Dovecot keeps its control files " +
	"elsewhere (CONTROL= of mail_location), outside of the store, they are not replicated, and all messages get new UIDs after a failover; " +
	"keep them in the store"

// UIDsApart reports whether the mailboxes of a store have their UIDs in another
// place, as far as a look at a few hundred directories tells: there are messages
// that a client has seen, and no mailbox that has any has the file that numbers
// them. A store that cannot be looked at is not reported.
func UIDsApart(store string) bool {
	root, err := beneath.Open(store)
	if err != nil {
		return false
	}
	defer func() { _ = root.Close() }()
	apart := 0
	_ = look(root, func(p journal.Path, dir *beneath.Dir, most int) ([]journal.Path, error) {
		box := lookAt(dir, p, most)
		switch {
		case box.numbered:
			apart = 0
			return nil, errFound
		case box.messages && some(root, p.Join("cur")):
			apart++
		}
		if apart == apartMailboxes {
			return nil, errFound
		}
		return box.below, nil
	}) // it has no other error
	return apart > 0
}

// mailbox is what a directory shows of being one.
type mailbox struct {
	messages bool // there is a place for messages that a client has seen
	numbered bool // there is the file that numbers them
	below    []journal.Path
}

func lookAt(dir *beneath.Dir, p journal.Path, most int) (box mailbox) {
	_ = dir.Each(func(names []beneath.Name) error {
		for _, n := range names {
			switch {
			case n.Name == "dovecot-uidlist" || n.Name == "courierimapuiddb":
				box.numbered = true
			case n.Type != journal.TypeDirectory || n.Name == "new" || n.Name == "tmp":
			case n.Name == "cur":
				box.messages = true
			case len(box.below) < most:
				box.below = append(box.below, p.Join(n.Name))
			}
		}
		return nil
	})
	return box
}

// some reports whether a directory has a file.
func some(root *beneath.Root, p journal.Path) bool {
	dir, err := root.Dir(p)
	if err != nil {
		return false
	}
	defer func() { _ = dir.Close() }()
	err = dir.Each(func(names []beneath.Name) error {
		for _, n := range names {
			if n.Type == journal.TypeFile && n.Name[0] != '.' {
				return os.ErrExist
			}
		}
		return nil
	})
	return errors.Is(err, os.ErrExist)
}

// lookForUIDs finds out whether the UIDs of the mail are replicated.
func (p *primaryPart) lookForUIDs(ctx context.Context) {
	if UIDsApart(p.n.cfg.Store.Path) && ctx.Err() == nil {
		p.apart.Store(true)
		p.n.opt.Log.Warn(ApartWords)
		p.n.server.Changed()
	}
}
