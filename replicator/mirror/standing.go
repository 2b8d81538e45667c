package mirror

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// Standing is what a mirror has, durable, and what it last knew of its primary.
type Standing struct {
	// Position is the last place in the primary's history that the mirror can
	// name: what is journaled by a mirror that is promoted follows it.
	Position journal.Position
	// Exact says that the store is what that history makes of it up to Position,
	// and nothing else: another node at that place has the same.
	Exact bool
	// Whole says that the last comparison was finished: only then all that the
	// primary had when it began is here.
	Whole   bool
	Applied journal.Sequence // the last entry that was applied; may be beyond Position
	// Followed is the epoch of the primary that it has followed last, also if it had
	// nothing of it yet.
	Followed journal.Epoch
	Digest   catalog.Digest // of the whole store
	Totals   catalog.Totals

	Primary   string // "" until one was reached
	Epoch     journal.Epoch
	Connected bool
	LastHeard time.Time
	Said      time.Time // as in Status
	Beat      wire.Heartbeat
	// Proven says that the digest of the primary's store at ProvenAt was ours.
	Proven   bool
	ProvenAt journal.Sequence
}

// Standing tells where the mirror stands. It may change as long as Run runs.
func (m *Mirror) Standing() (Standing, error) {
	st := m.Status()
	s := Standing{
		Primary: st.Primary, Epoch: st.Epoch, Connected: st.Connected, LastHeard: st.LastHeard, Said: st.Said, Beat: st.Beat,
		Proven: st.Proven, ProvenAt: st.ProvenAt,
	}
	err := m.cfg.Catalog.View(func(t *catalog.Tx) error {
		p, err := readProgress(t)
		if err != nil {
			return err
		}
		if s.Whole, err = readWhole(t); err != nil {
			return err
		}
		s.Position, s.Digest, s.Totals = t.Position(), t.Digest(), t.Totals()
		s.Applied, s.Followed = max(p.Applied, s.Position.Sequence), p.Epoch
		s.Exact = s.Whole && s.Applied == s.Position.Sequence
		return nil
	})
	if err != nil {
		return s, fmt.Errorf("tell where the mirror stands: %w", err)
	}
	return s, nil
}

// Kept reports whether a catalog is a mirror's.
func Kept(t *catalog.Tx) (bool, error) {
	_, err := t.Meta(metaStore)
	if errors.Is(err, catalog.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Tidy reports whether a mirror's catalog says all that the mirror has made in its
// store. It may not behind a crash, until all was done again.
func Tidy(t *catalog.Tx) (bool, error) {
	p, err := readProgress(t)
	return err == nil && !p.Open, err
}

// Leave makes a catalog forget that it was a mirror's, when the node is one no
// longer, and returns which store the catalog is of. It reports false if it was
// none, and changes nothing then.
func Leave(t *catalog.Tx) (store beneath.Identity, was bool, err error) {
	v, err := t.Meta(metaStore)
	if errors.Is(err, catalog.ErrNotFound) {
		return store, false, nil
	}
	if err == nil {
		err = json.Unmarshal(v, &store)
	}
	for _, key := range []string{metaStore, metaWhole, metaAdopted, metaProgress, metaSplit, metaMoves, metaVersions, metaLeft} {
		if err == nil {
			err = t.SetMeta(key, nil)
		}
	}
	if err != nil {
		return store, false, fmt.Errorf("forget that the node was a mirror: %w", err)
	}
	return store, true, nil
}

// Enter makes a catalog a mirror's that knows all that is in the store, as that
// of a primary does which has just observed it. exact says that the catalog's
// position is one of the history that the mirror will follow; else it compares.
func Enter(t *catalog.Tx, store beneath.Identity, epoch journal.Epoch, exact bool) error {
	err := t.SetMetaJSON(metaStore, store)
	if err == nil {
		err = t.SetMeta(metaAdopted, []byte("1"))
	}
	if err == nil {
		err = writeWhole(t, exact)
	}
	if err == nil {
		err = writeProgress(t, progressMeta{Epoch: epoch})
	}
	if err != nil {
		return fmt.Errorf("make the catalog a mirror's: %w", err)
	}
	return nil
}
