package watch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// Inherit makes a catalog that somebody else has kept, a mirror, one that a
// Watcher goes on with: what differs from it is journaled, and nothing is taken
// for a baseline. What the catalog calls missing stays so until it is there.
// store is the store that the catalog is of; what a mirror has in its catalog is
// on the disk, whatever happened before the machine's present boot.
//
// at is the present moment if the catalog said what was in the store when the mirror
// had ended. Then what is not there was lost, unless its directory has changed since:
// nobody has removed it, so that is not journaled. It stays known as what never came.
// at is zero if a crash may have come between the two. Then the catalog may name what
// the mirror itself had removed, so that what is not there is journaled as removed.
func Inherit(tx *catalog.Tx, store beneath.Identity, boot string, at Moment) error {
	err := tx.SetMetaJSON(metaStore, storeIdentity{Identity: store, Devices: []uint64{store.Device}})
	if err == nil {
		err = errors.Join(tx.SetMeta(metaBaseline, []byte{1}), tx.SetMetaJSON(metaBoot, lastBoot{Boot: boot}))
	}
	if err == nil && at != (Moment{}) {
		err = errors.Join(tx.SetMeta(metaInherited, at.before(tick).text()), tx.SetMeta(metaTroubled, nil))
	}
	if err != nil {
		return fmt.Errorf("take over a catalog: %w", err)
	}
	return nil
}

// Kept reports whether a catalog is that of a store which was scanned to the end.
func Kept(tx *catalog.Tx) (bool, error) {
	_, err := tx.Meta(metaBaseline)
	if errors.Is(err, catalog.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Leave makes a catalog forget that it was observed, when no Watcher will go on
// with it, and returns which store it is of. It reports false if its first scan
// was never complete, and changes nothing then.
func Leave(tx *catalog.Tx) (store beneath.Identity, complete bool, err error) {
	if _, err = tx.Meta(metaBaseline); errors.Is(err, catalog.ErrNotFound) {
		return store, false, nil
	}
	var known storeIdentity
	var value []byte
	if err == nil {
		value, err = tx.Meta(metaStore)
	}
	if err == nil {
		err = json.Unmarshal(value, &known)
	}
	for _, key := range []string{metaStore, metaBaseline, metaBoot, metaWhole, metaInherited, metaTroubled} {
		if err == nil {
			err = tx.SetMeta(key, nil)
		}
	}
	if err != nil {
		return store, false, fmt.Errorf("leave a catalog: %w", err)
	}
	return known.Identity, true, nil
}

// Replay applies the records of a journal to a catalog that it missed in a
// crash. A Watcher does that itself when it begins. It is journal.ErrDiverged
// or journal.ErrTrimmed if the catalog is of another history.
func Replay(ctx context.Context, cat *catalog.Catalog, log *journal.Log) error {
	var at journal.Position
	err := cat.View(func(tx *catalog.Tx) error { at = tx.Position(); return nil })
	if err != nil {
		return err
	}
	switch start := log.Start(); {
	case at.Sequence > 0:
		if err := log.Contains(at); err != nil {
			return fmt.Errorf("bring the catalog up to the journal: %w", err)
		}
	case start.Sequence == 0 && at != start:
		// Nothing is journaled of what the first scan finds: without this a catalog
		// would never be said to be where a journal without entries is.
		if err := cat.Update(func(tx *catalog.Tx) error { tx.SetPosition(start); return nil }); err != nil {
			return fmt.Errorf("bring the catalog up to the journal: %w", err)
		}
	}
	r, err := log.Read(at.Sequence)
	if err != nil {
		return fmt.Errorf("bring the catalog up to the journal: %w", err)
	}
	defer r.Close()
	for more := true; more; {
		err := cat.Update(func(tx *catalog.Tx) error {
			for range maxCycleEntries {
				record, ok, err := r.TryNext()
				if more = ok; err != nil || !ok {
					return err
				}
				if err := tx.Apply(&record.Entry); err != nil {
					return err
				}
				tx.SetPosition(record.Position)
			}
			return ctx.Err()
		})
		if err != nil {
			return fmt.Errorf("bring the catalog up to the journal: %w", err)
		}
	}
	return nil
}
