package mailboxes

import (
	"errors"
	"fmt"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// maxUnsureNames bounds the names that Unsure looks at.
const maxUnsureNames = 200_000

// Unsure counts, by mailbox, the files of a mirror's catalog whose content never
// came, and the messages that are taken to be the primary's and not proven. It
// looks only where there are any, and at no more than 200,000 names: what is beyond
// that is in Tx.Totals alone.
func Unsure(t *catalog.Tx) (missing, guessed Tally, err error) {
	u := unsure{tx: t}
	err = u.directory(journal.Root)
	if errors.Is(err, errEnough) {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("find the mailboxes that are not sure: %w", err)
	}
	return u.missing, u.guessed, err
}

type unsure struct {
	tx               *catalog.Tx
	names            int
	missing, guessed Tally
}

// directory counts what is in a directory that is no cur and no new.
func (u *unsure) directory(dir journal.Path) error {
	var subs []journal.Path
	err := u.tx.List(dir, "", func(name string, it catalog.Item) error {
		if u.names++; u.names > maxUnsureNames {
			return errEnough
		}
		switch {
		case it.Facts.Type == journal.TypeDirectory:
			subs = append(subs, dir.Join(name))
		case it.Missing && !it.Derived:
			u.missing.Add(dir, 1)
		case it.Guess.Known():
			u.guessed.Add(dir, 1)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, sub := range subs {
		below, err := u.tx.Below(sub)
		if err != nil {
			return err
		}
		if below.Missing == 0 && below.Guessed == 0 {
			continue
		}
		if box := Containing(sub); box == sub || below.Directories > 0 {
			if err := u.directory(sub); err != nil {
				return err
			}
		} else {
			u.add(box, below)
		}
	}
	return nil
}

func (u *unsure) add(box journal.Path, t catalog.Totals) {
	if t.Missing > 0 {
		u.missing.Add(box, t.Missing)
	}
	if t.Guessed > 0 {
		u.guessed.Add(box, t.Guessed)
	}
}
