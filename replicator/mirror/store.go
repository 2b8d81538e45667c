package mirror

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// storeError is a failure of the mirror's own store or catalog: it acknowledges
// nothing until it is gone.
type storeError struct{ err error }

func (e *storeError) Error() string { return "the mirror's store: " + e.err.Error() }
func (e *storeError) Unwrap() error { return e.err }

// inStore marks an error as one of the mirror's own store.
func inStore(err error, doing string, p journal.Path) error {
	if err == nil {
		return nil
	}
	return &storeError{fmt.Errorf("%s %q: %w", doing, string(p), err)}
}

// errOtherStore says that the store is not the one that the catalog is of. What
// would be written into the directory that an unmounted file system leaves
// behind would be acknowledged, and hidden when it is mounted again.
var errOtherStore = errors.New("another directory or file system than the store is at its place; is it not mounted? " +
	"If it was replaced on purpose, stop the mirror and remove its catalog: the directory is read anew then")

const (
	metaStore = "mirror.store"
	metaWhole = "mirror.whole"
)

// openStore looks the store up anew, and makes sure that it is the one that
// the catalog is of.
func (m *Mirror) openStore() error {
	if err := m.cfg.Root.Reopen(); err != nil {
		return inStore(err, "open", journal.Root)
	}
	found, err := m.cfg.Root.Opened()
	if err != nil {
		return inStore(err, "identify", journal.Root)
	}
	var known beneath.Identity
	var some bool
	err = m.cfg.Catalog.View(func(t *catalog.Tx) error {
		v, err := t.Meta(metaStore)
		if errors.Is(err, catalog.ErrNotFound) {
			return nil
		}
		if err == nil {
			err = json.Unmarshal(v, &known)
		}
		totals := t.Totals()
		some = totals.Files+totals.Directories+totals.Symlinks > 0
		return err
	})
	if err != nil {
		return inCatalog(err)
	}
	if known == found {
		return nil
	}
	if some && !found.Same(known) {
		return &storeError{fmt.Errorf("%s: %w: found %v, expected %v", m.cfg.Root.Path(), errOtherStore, found, known)}
	}
	return inCatalog(m.cfg.Catalog.UpdateDurably(func(t *catalog.Tx) error { return t.SetMetaJSON(metaStore, found) }))
}

// readWhole reports whether the last comparison was finished.
func readWhole(t *catalog.Tx) (bool, error) {
	v, err := t.Meta(metaWhole)
	if errors.Is(err, catalog.ErrNotFound) {
		return false, nil
	}
	return err == nil && string(v) == "1", err
}

// writeWhole notes whether the last comparison was finished.
func writeWhole(t *catalog.Tx, whole bool) error {
	if whole {
		return t.SetMeta(metaWhole, []byte("1"))
	}
	return t.SetMeta(metaWhole, nil)
}
