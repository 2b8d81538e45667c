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
	"If it was replaced on purpose, and the mail is there, stop this daemon, move the directory catalog out of its state directory, " +
	"and start it: the store is read anew then, and counts as not copied until it is compared")

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
	known, err := m.knownStore(found)
	if err != nil || known == found {
		return err
	}
	return inCatalog(m.cfg.Catalog.UpdateDurably(func(t *catalog.Tx) error { return t.SetMetaJSON(metaStore, found) }))
}

// CheckStore reports what is wrong with what is at the store's path now: it is not
// there, or it is not what the catalog is of, as where the file system is not mounted.
// It may be called at any time, and changes nothing but that a store which was mounted
// since is found at once.
func (m *Mirror) CheckStore() error {
	found, err := m.cfg.Root.Identity()
	if err != nil {
		return inStore(err, "find", journal.Root)
	}
	if _, err := m.knownStore(found); err != nil {
		return err
	}
	if opened, err := m.cfg.Root.Opened(); err == nil && opened == found {
		return nil
	}
	return inStore(m.cfg.Root.Reopen(), "open", journal.Root)
}

// knownStore returns the store that the catalog is of, and errOtherStore if one that
// was found is another.
func (m *Mirror) knownStore(found beneath.Identity) (known beneath.Identity, err error) {
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
		return known, inCatalog(err)
	}
	if some && !found.Same(known) {
		return known, &storeError{fmt.Errorf("%s: %w: found %v, expected %v", m.cfg.Root.Path(), errOtherStore, found, known)}
	}
	return known, nil
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
