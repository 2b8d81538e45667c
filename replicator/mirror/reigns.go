package mirror

import (
	"fmt"
	"slices"

	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// metaReigns holds, in the catalog, the promotions that the primary's store has behind
// it, as the primary followed last has told them: JSON of wire.Reign, oldest first. It
// stays when the mirror is promoted.
const metaReigns = "mirror.reigns"

// writeReigns notes what the primary has told of them when it begins to be followed. It
// belongs into one update with its epoch: of a primary that was never followed, nothing
// is behind the store.
func writeReigns(t *catalog.Tx, told []wire.Reign) error {
	if len(told) == 0 {
		return t.SetMeta(metaReigns, nil)
	}
	return t.SetMetaJSON(metaReigns, told)
}

// Reigns returns the promotions that a mirror's store has behind it, oldest first, and
// those that the store of a node had when it was a mirror last.
func Reigns(t *catalog.Tx) (reigns []wire.Reign, err error) {
	if err := t.MetaJSON(metaReigns, &reigns); err != nil {
		return nil, fmt.Errorf("read the promotions before: %w", err)
	}
	return reigns, nil
}

// noteReigns notes what the primary has told of them, durably, in place of whatever is
// there. One that tells of none does not know any: then nobody does here.
func (m *Mirror) noteReigns(told []wire.Reign) error {
	var known []wire.Reign
	err := m.cfg.Catalog.View(func(t *catalog.Tx) (err error) {
		known, err = Reigns(t)
		return err
	})
	if err == nil && slices.Equal(known, told) {
		return nil
	}
	// What cannot be read there is replaced.
	return inCatalog(m.cfg.Catalog.UpdateDurably(func(t *catalog.Tx) error { return writeReigns(t, told) }))
}
