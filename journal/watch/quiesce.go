package watch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mailtwin/mailtwin/journal"
)

// errStopped says that nobody observes any more.
var errStopped = errors.New("the observer has stopped")

// The rhythm of Quiesce.
const (
	quiescePoll = 100 * time.Millisecond // how often it looks, whatever it is told
	// snapshotStall is how long snapshots are waited for of which none gets into
	// the journal.
	snapshotStall = 3 * time.Second
)

// Quiesce returns the head of the journal when everything that happened in the
// store before the call is journaled, and nothing has happened for a moment. It
// is for when whoever writes to the store was stopped; it keeps nobody from
// writing. waits is told, in words, each time that there is another reason to
// wait. What cannot be read is not waited for (Status tells it), nor is a control
// file that its writer has left in the middle: the catalog has what it was before.
// Snapshots are taken at once, however busy their directories were a moment ago;
// one that cannot be had, because a lock was left beside it, is given up when for
// 3 seconds none has been. Nor is leave asked of the Pace: whom it would protect
// was stopped.
//
// It ends with ctx, whose error then comes with what was waited for. Run must be
// running.
func (w *Watcher) Quiesce(ctx context.Context, waits func(words string)) (journal.Position, error) {
	w.alone.Store(true)
	defer w.alone.Store(false)
	scan := w.dirty.next("everything has to be journaled")
	told := ""
	rush := rush{w: w}
	defer rush.end()
	for {
		changed := w.Changed()
		if w.Status().Phase == PhaseStopped {
			return journal.Position{}, fmt.Errorf("quiesce: %w", errStopped)
		}
		why := w.unquiet(scan)
		if why == "" {
			why = rush.waits()
		}
		if why == "" {
			// A hint may be on its way from the kernel.
			cycles := w.Status().Cycles
			if err := w.pauseFor(ctx, 2*w.cfg.Timing.Confirm, nil); err != nil {
				return journal.Position{}, fmt.Errorf("quiesce: %w", err)
			}
			if w.unquiet(scan) == "" && rush.waits() == "" && w.Status().Cycles == cycles {
				return w.cfg.Journal.Head(), nil
			}
			continue
		}
		if why != told {
			waits(why)
			told = why
		}
		if err := w.pauseFor(ctx, quiescePoll, changed); err != nil {
			return journal.Position{}, fmt.Errorf("quiesce: still waiting: %s: %w", why, err)
		}
	}
}

// rush has snapshots taken at once, and follows how they become fewer. It is for
// when nothing else is left to be journaled: then they are the last ones.
type rush struct {
	w     *Watcher
	begun bool
	least int       // of the snapshots that were left
	since time.Time // when there were no more than that
}

// waits says why to wait; it is empty if there are no snapshots, or none that can
// be had.
func (r *rush) waits() string {
	left, now := r.w.Status().Snapshots, r.w.cfg.Clock.Now()
	switch {
	case left == 0:
		return ""
	case !r.begun:
		r.begun, r.least, r.since = true, left, now
		r.w.hurry.Store(true)
		r.w.dirty.signal()
	case left < r.least:
		r.least, r.since = left, now
	case now.Sub(r.since) > snapshotStall:
		return ""
	}
	return "the last indexes are being journaled"
}

func (r *rush) end() {
	if r.begun {
		r.w.hurry.Store(false)
	}
}

// pauseFor waits for d, for what is closed, or until ctx ends, which is its
// error.
func (w *Watcher) pauseFor(ctx context.Context, d time.Duration, changed <-chan struct{}) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-changed:
	case <-w.cfg.Clock.After(d):
	}
	return nil
}

// Settled reports whether everything that was noticed so far is journaled, as far
// as it can be read, and the observer waits for more. What has just happened may
// not be noticed yet. It may be called at any time from any goroutine.
func (w *Watcher) Settled() bool {
	return w.unquiet(0) == "" && w.Status().Phase == PhaseWatching
}

// unquiet says why not everything is journaled that happened before a scan; it
// is empty if everything is. What is dirty is asked for first: names are taken
// from there by an observer that is not idle any more.
func (w *Watcher) unquiet(scan uint64) string {
	dirty := w.dirty.depth()
	idle := w.idle.Load()
	s := w.Status()
	switch {
	case s.Phase == PhaseStopped:
		return errStopped.Error()
	case s.Suspended != "":
		return "the store: " + s.Suspended
	case s.JournalError != "":
		return "the journal cannot be written: " + s.JournalError
	case s.scan < scan:
		return "everything is compared once more"
	case s.BeingWritten > 0:
		return "files are still being written"
	case s.undecided > 0:
		return "names are still to be confirmed"
	case dirty > 0 || !idle:
		return "changes are being journaled"
	}
	return ""
}
