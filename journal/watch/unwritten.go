package watch

import (
	"errors"
	"fmt"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// metaBoot is set in the catalog to what is known of the boots of the machine.
const metaBoot = "watch.boot"

// lastBoot is the value of metaBoot: in which boot the store was observed, or kept
// by a mirror, last.
type lastBoot struct {
	Boot string `json:"boot"`
	// From is when the doubt begins while the store was not yet scanned to its
	// end in that boot, in ns since 1970; 0 afterwards.
	From int64 `json:"from,omitempty"`
}

// writtenBack is how long a kernel may keep in memory what was written to a file,
// at most: half a minute by its settings, and longer where an array is slow.
const writtenBack = 10 * time.Minute

// Unwritten is the time whose changes of files may not have reached the disk
// when the machine went down. File systems order what they write by names and
// sizes: of a file that was overwritten in place the time of the change may be
// on the disk and the bytes not (ext4's data=ordered speaks of new blocks only).
// So what tells a change otherwise, the stamp, does not tell that one.
type Unwritten struct{ from, until int64 } // times of changes, in ns since 1970

// Has reports whether a file that was changed at that time may not be as the
// catalog says, though its stamp is.
func (u Unwritten) Has(change int64) bool { return u.from <= change && change < u.until }

// FindUnwritten returns what may be unwritten in the store of a catalog: nothing
// if the machine has not gone down since the store was scanned. boot is the name
// of its present boot; "" is not known, and nor is then what was written. Without
// a journal, nil, all that was changed before is in doubt.
func FindUnwritten(cat *catalog.Catalog, log *journal.Log, boot string, now time.Time) (Unwritten, error) {
	var last lastBoot
	err := cat.View(func(tx *catalog.Tx) error { return tx.MetaJSON(metaBoot, &last) })
	u := Unwritten{from: allOfIt, until: now.UnixNano()}
	switch {
	case err != nil:
		return Unwritten{}, err
	case boot != "" && last.Boot == boot && last.From == 0:
		return Unwritten{}, nil
	case last.From != 0:
		u.from = last.From // an earlier boot's doubt was not resolved
		return u, nil
	case log == nil || log.Head().Sequence <= log.Start().Sequence:
		return u, nil
	}
	// What was seen to change is in the journal; what came after was not seen.
	r, err := log.Read(log.Head().Sequence - 1)
	if err != nil {
		return Unwritten{}, fmt.Errorf("when the store changed last: %w", err)
	}
	record, ok, err := r.TryNext()
	if err := errors.Join(err, r.Close()); err != nil {
		return Unwritten{}, fmt.Errorf("when the store changed last: %w", err)
	}
	if ok {
		u.from = max(allOfIt, record.Time.Add(-writtenBack).UnixNano())
	}
	return u, nil
}

// allOfIt is the beginning of a doubt about all that there is.
const allOfIt = 1

// findUnwritten finds what may be unwritten, and notes it until the store was scanned: a
// second start in the same boot must not take the first one's entries for all
// that there was.
func (w *Watcher) findUnwritten() (err error) {
	if w.unwritten, err = FindUnwritten(w.cfg.Catalog, w.cfg.Journal, w.cfg.Boot, w.cfg.Clock.Now()); err != nil || w.unwritten == (Unwritten{}) {
		return err
	}
	return w.cfg.Catalog.UpdateDurably(func(tx *catalog.Tx) error {
		return tx.SetMetaJSON(metaBoot, lastBoot{Boot: w.cfg.Boot, From: w.unwritten.from})
	})
}

// scanned notes durably that the store was scanned to its end.
func (w *Watcher) scanned() error {
	var last lastBoot
	if err := w.cfg.Catalog.View(func(tx *catalog.Tx) error { return tx.MetaJSON(metaBoot, &last) }); err != nil || !w.baseline && last.From == 0 {
		return err
	}
	err := w.cfg.Catalog.UpdateDurably(func(tx *catalog.Tx) error {
		return errors.Join(tx.SetMeta(metaBaseline, []byte{1}), tx.SetMetaJSON(metaBoot, lastBoot{Boot: w.cfg.Boot}))
	})
	w.baseline = w.baseline && err != nil
	return err
}
