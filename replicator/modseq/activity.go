package modseq

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// eachMailbox calls f with each mailbox of the store, and with when the newest
// message in it came. It reads the catalog directory by directory, so that no
// view of it is old.
func eachMailbox(ctx context.Context, cat *catalog.Catalog, f func(p journal.Path, newest time.Time)) error {
	stack := []journal.Path{journal.Root}
	for len(stack) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		dir := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		newest, mailbox := int64(0), false
		below := func(d journal.Path) { stack = append(stack, d) }
		err := cat.View(func(t *catalog.Tx) error {
			return t.List(dir, "", func(name string, it catalog.Item) error {
				switch {
				case it.Facts.Type != journal.TypeDirectory:
				case name == "cur" || name == "new":
					mailbox = true
					return newestFile(t, dir.Join(name), &newest, below)
				default:
					below(dir.Join(name))
				}
				return nil
			})
		})
		if err != nil && !errors.Is(err, catalog.ErrNotFound) {
			return fmt.Errorf("list the mailboxes: %w", err)
		}
		if mailbox {
			f(dir, time.Unix(0, newest))
		}
	}
	return nil
}

// newestFile raises newest to the latest mtime of the files in a directory.
// A directory in it says that it is not one of messages after all, but that of
// a user with such a name.
func newestFile(t *catalog.Tx, dir journal.Path, newest *int64, below func(journal.Path)) error {
	return t.List(dir, "", func(name string, it catalog.Item) error {
		switch it.Facts.Type {
		case journal.TypeFile:
			*newest = max(*newest, it.Facts.Attr.MTime)
		case journal.TypeDirectory:
			below(dir.Join(name))
		default:
		}
		return nil
	})
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
