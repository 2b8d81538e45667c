package mirror

import (
	"time"

	"github.com/mailtwin/mailtwin/journal/catalog"
)

// resyncPause is the least time between two comparisons of the whole store,
// if the one before did not make the digests equal. It doubles with each that
// does not, up to maxPauseShift times: where the primary cannot read a
// directory, nothing makes them equal.
const (
	resyncPause   = 10 * time.Second
	maxPauseShift = 5
)

// finish ends a comparison: what the mirror holds is told by its position from
// now on, and proven by the next mark.
func (r *resync) finish() error {
	r.running = false
	r.ended = r.k.m.cfg.Now()
	if err := inCatalog(r.k.m.cfg.Catalog.UpdateDurably(func(t *catalog.Tx) error {
		return writeWhole(t, true)
	})); err != nil {
		return err
	}
	r.round.again = r.round.running // it has passed over what is derived
	r.askMissing()
	r.k.m.cfg.Log.Info("comparison finished", "files", r.progress.FilesDone, "bytes", r.progress.BytesDone,
		"other changes", r.progress.ChangesDone)
	r.k.m.update(func(s *Status) { s.Whole, s.Resync = true, "" })
	return nil
}

func (r *resync) setNotWhole() error {
	return inCatalog(r.k.m.cfg.Catalog.UpdateDurably(func(t *catalog.Tx) error { return writeWhole(t, false) }))
}

// checkMark compares the digest of the whole store with the one that the
// primary named last, once the mirror is at the place that it is of and has
// nothing else to do. If entries went beyond that place, a newer mark comes.
func (r *resync) checkMark() error {
	mark := r.mark
	if mark == nil || r.running || !r.idle() || mark.Sequence > r.k.applied {
		return nil
	}
	r.mark = nil
	if mark.Sequence < r.k.applied {
		return nil
	}
	var ours catalog.Digest
	var totals catalog.Totals
	if err := r.k.m.cfg.Catalog.View(func(t *catalog.Tx) error {
		ours, totals = t.Digest(), t.Totals()
		return nil
	}); err != nil {
		return inCatalog(err)
	}
	now := r.k.m.cfg.Now()
	if ours == catalog.Digest(mark.Digest) {
		if err := r.closeSplit(); err != nil {
			return err
		}
		r.failures = 0
		r.k.m.tidy = true // whatever was not finished before the last start was done again
		r.k.m.update(func(s *Status) {
			// The digest says which contents there ought to be.
			proven := mark.Unread == 0 && totals.Missing == 0 && totals.Guessed == 0
			if proven && !s.Proven {
				r.k.c.reportSoon()
			}
			s.Proven = proven
			s.ProvenAt, s.Attention = mark.Sequence, ""
		})
		return nil
	}
	r.k.m.update(func(s *Status) { s.Proven = false })
	// What is assumed can become known at the primary by what another mirror asks
	// for, again and again.
	often := r.failures > 0 || totals.Guessed > 0
	if pause := resyncPause << min(max(r.failures-1, 0), maxPauseShift); often && now.Sub(r.ended) < pause {
		r.mark = mark // later
		return nil
	}
	r.failures++
	const why = "the digests of the stores differ"
	r.k.m.cfg.Log.Warn("comparing with the primary", "reason", why, "sequence", mark.Sequence, "unread", mark.Unread)
	if err := r.setNotWhole(); err != nil {
		return err
	}
	r.k.m.update(func(s *Status) { s.Whole, s.Resync = false, why })
	r.begin()
	return r.ask()
}
