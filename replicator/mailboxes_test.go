package replicator

import (
	"testing"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/journal/watch"
)

// TestMailboxesSayThatTheFirstScanGoesOn: both nodes say so, and count nothing that is
// not known as a whole; of a mirror's own catalog nobody takes that to be so.
func TestMailboxesSayThatTheFirstScanGoesOn(t *testing.T) {
	c := newCluster(t, "mx1", "mx2")
	mx1, mx2 := c.nodes["mx1"], c.nodes["mx2"]
	mx1.write("u/Maildir/new/1.M1P1.host", "Subject: one\n\nbody\n")
	mx1.inSync()
	for _, goesOn := range []bool{false, true} {
		if goesOn { // as long as the catalog does not say that it is over
			c.must(mx1.n.catalog.Update(func(tx *catalog.Tx) error {
				_, _, err := watch.Leave(tx)
				return err
			}))
		}
		for _, n := range []*testNode{mx1, mx2} {
			doc, err := n.n.Mailboxes(t.Context(), journal.Root, 10)
			c.must(err)
			if doc.FirstScan != goesOn || (doc.Total.Mailboxes == 0) != goesOn {
				t.Errorf("%s says: %+v", n.n.id.Name(), doc)
			}
		}
	}
}
