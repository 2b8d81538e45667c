package modseq

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/mailboxes"
)

// pageNames is how many names are looked at in one view of the catalog, about.
const pageNames = 50_000

// eachMailbox calls f with each mailbox of the store, and with when the newest
// message in it came. It reads the catalog page by page, so that no view of it
// is old.
func eachMailbox(ctx context.Context, cat *catalog.Catalog, f func(p journal.Path, newest time.Time)) error {
	walk := mailboxes.Walk{Newest: true, Names: pageNames}
	var place mailboxes.Place
	for done := false; !done; {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := cat.View(func(t *catalog.Tx) (err error) {
			place, done, err = walk.Page(t, place, func(m mailboxes.Mailbox) (bool, error) {
				f(m.Path, time.Unix(0, m.Newest))
				return true, nil
			})
			return err
		})
		if err != nil {
			return fmt.Errorf("list the mailboxes: %w", err)
		}
	}
	return nil
}

// owners says whose mailbox is whose, by their homes.
type owners struct {
	store string
	home  map[journal.Path]string
}

// add notes the home of a user, if it lies in the store.
func (o *owners) add(user, home string) {
	rel, err := filepath.Rel(o.store, home)
	if err != nil {
		return
	}
	if p, err := journal.ParsePath(rel); err == nil && !strings.HasPrefix(rel, "..") {
		o.home[p] = user
	}
}

// of returns whose home a mailbox lies in.
func (o *owners) of(p journal.Path) (string, bool) {
	for ; p != journal.Root; p = p.Dir() {
		if user, ok := o.home[p]; ok {
			return user, true
		}
	}
	return "", false
}
