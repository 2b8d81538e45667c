package replicator

import (
	"context"
	"sync"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/journal/watch"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
	"github.com/mailtwin/mailtwin/replicator/salvage"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// damaged is what could not be read in this node's own store when stock was taken. Why
// it could not is known until the next start; that it is missing, in the catalog.
type damaged struct {
	mu    sync.Mutex
	found []status.Unreadable
}

// takeStock makes the catalog say what is in the store; seen is as in salvage.TakeStock.
func (n *node) takeStock(ctx context.Context, root *beneath.Root, unwritten watch.Unwritten, seen *salvage.Seen) error {
	unreadable, err := salvage.TakeStock(ctx, root, n.catalog, mailstore.Maildir{}, unwritten, seen)
	n.damaged.set(unreadable, n.opt.Clock.Now())
	for _, u := range unreadable {
		n.opt.Log.Warn("a name of this store cannot be read: its content is asked of the primary", "path", string(u.Path), "error", u.Err)
	}
	return err
}

func (d *damaged) set(unreadable []salvage.Unreadable, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	since := make(map[string]time.Time)
	for _, f := range d.found {
		since[f.Path] = f.Since
	}
	d.found = nil
	for _, u := range unreadable {
		f := status.Unreadable{Path: string(u.Path), Error: u.Err.Error(), Since: now}
		if was, known := since[f.Path]; known {
			f.Since = was
		}
		d.found = append(d.found, f)
	}
}

// names returns those whose content has not come since.
func (d *damaged) names(c *catalog.Catalog) []status.Unreadable {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.found) == 0 {
		return nil
	}
	var left []status.Unreadable
	err := c.View(func(t *catalog.Tx) error {
		for _, f := range d.found {
			if it, err := t.Lookup(journal.Path(f.Path)); err == nil && it.Missing {
				left = append(left, f)
			}
		}
		return nil
	})
	if err == nil {
		d.found = left
	}
	return left
}
