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

const (
	// quiescePoll is how often Quiesce looks, whatever it is told.
	quiescePoll = 100 * time.Millisecond
	// maxHurry is how long Quiesce waits for snapshots alone. What they tell is
	// not lost without them, and somebody waits for the end.
	maxHurry = 10 * time.Second
)

// Quiesce returns the head of the journal when everything that happened in the
// store before the call is journaled, and nothing has happened for a moment. It
// is for when whoever writes to the store was stopped; it keeps nobody from
// writing. waits is told, in words, each time that there is another reason to
// wait. What cannot be read is not waited for (Status tells it), nor is a control
// file that its writer has left in the middle: the catalog has what it was before.
// Snapshots are taken at once, so that files of ClassDerived tell as much as what
// is beside them; those that take too long are left out.
//
// It ends with ctx, whose error then comes with what was waited for. Run must be
// running.
func (w *Watcher) Quiesce(ctx context.Context, waits func(words string)) (journal.Position, error) {
	w.hurry.Store(true)
	defer w.hurry.Store(false)
	scan := w.dirty.next("everything has to be journaled")
	told := ""
	var enough <-chan time.Time // when snapshots are waited for no more
	for {
		changed := w.Changed()
		if w.Status().Phase == PhaseStopped {
			return journal.Position{}, fmt.Errorf("quiesce: %w", errStopped)
		}
		why := w.unquiet(scan)
		if why == "" && w.Status().Snapshots > 0 {
			if enough == nil {
				enough = w.cfg.Clock.After(maxHurry)
			}
			select {
			case <-enough:
				w.hurry.Store(false)
			default:
				if w.hurry.Load() {
					why = "the indexes of mailboxes are journaled"
				}
			}
		}
		if why == "" {
			// A hint may be on its way from the kernel.
			cycles := w.Status().Cycles
			if err := w.pauseFor(ctx, 2*w.cfg.Timing.Confirm, nil); err != nil {
				return journal.Position{}, fmt.Errorf("quiesce: %w", err)
			}
			if s := w.Status(); w.unquiet(scan) == "" && s.Cycles == cycles && (s.Snapshots == 0 || !w.hurry.Load()) {
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

// unquiet says why not everything is journaled that happened before a scan; it
// is empty if everything is. What is dirty is asked for first: names are taken
// from there by an observer that is not idle any more.
func (w *Watcher) unquiet(scan uint64) string {
	names, dirs, all := w.dirty.depth()
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
	case names+dirs > 0 || all || s.walks > 0 || !idle:
		return "changes are being journaled"
	}
	return ""
}
