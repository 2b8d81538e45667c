package replicator

import (
	"fmt"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// metaBegun holds, in the catalog, which primary a rejoin of this node has begun with:
// JSON of begun. It is of no more use when the node has been primary since.
const metaBegun = "rejoin.begun"

// begun is the primary that a rejoin has begun with first. What that took over, another
// one does not know: it has neither its ledger nor its journal.
type begun struct {
	Leader journal.Epoch `json:"leader"` // its epoch
}

// since reports whether it is of the time since this node was primary last.
func (b begun) since(reign journal.Epoch) bool { return b.Leader > reign }

// rejoinBegun reports whether a rejoin has begun with another primary than that of epoch
// leader, since the last reign of this node.
func (n *node) rejoinBegun(reign, leader journal.Epoch) (bool, error) {
	var b begun
	if err := n.catalog.View(func(t *catalog.Tx) error { return t.MetaJSON(metaBegun, &b) }); err != nil {
		return false, fmt.Errorf("read whether a rejoin has begun: %w", err)
	}
	return b.since(reign) && b.Leader != leader, nil
}

// beginRejoin notes durably that a rejoin begins, unless one has begun before.
func (n *node) beginRejoin(reign, leader journal.Epoch) error {
	err := n.catalog.UpdateDurably(func(t *catalog.Tx) error {
		var b begun
		if err := t.MetaJSON(metaBegun, &b); err != nil || b.since(reign) {
			return err
		}
		return t.SetMetaJSON(metaBegun, begun{leader})
	})
	if err != nil {
		return fmt.Errorf("note that a rejoin begins: %w", err)
	}
	return nil
}
