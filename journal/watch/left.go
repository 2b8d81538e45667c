package watch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// HintDelay is how long, at most, a change of the store is taken to be on its way
// to the observer.
const HintDelay = time.Second

// Left is what a Watcher has noticed, or cannot look at, and has not journaled:
// whoever follows the journal knows nothing of it.
type Left struct {
	// Names are those that may have changed, by their bytes. There are no more of
	// them than two times Limits.Names and one batch.
	Names []journal.Path
	// Directories are those in which, or beneath which, any name may have.
	Directories []journal.Path
	// All says that there may be others that are not among them.
	All bool
	// Quiet is Status.Quiet: what happened before it, and is nothing of the
	// above, is in the journal.
	Quiet time.Time
}

// Left tells what is left to be journaled now. It may be called at any time from
// any goroutine, also while the observer waits for a store that does not answer,
// and after Run has ended.
func (w *Watcher) Left() Left {
	s := w.Status() // before the names: what is noticed meanwhile is after Quiet
	names, dirs := w.dirty.left()
	waiting, unlisted := w.agenda.left()
	l := Left{
		Names:       slices.DeleteFunc(append(names, waiting...), w.matterless),
		Directories: slices.Concat(dirs, unlisted),
		All:         w.broken.tooMany(),
		Quiet:       s.Quiet,
	}
	for _, d := range s.Doubtful {
		l.Directories = append(l.Directories, d.Path)
	}
	for _, all := range []*[]journal.Path{&l.Names, &l.Directories} {
		slices.Sort(*all)
		*all = slices.Compact(*all)
	}
	return l
}

// matterless reports whether with a name nothing is lost that anybody would miss:
// it means nothing, or what it means can be made anew.
func (w *Watcher) matterless(p journal.Path) bool {
	return p == journal.Root || w.meaningless(p) || w.cfg.Rules.Classify(p, journal.TypeFile) == ClassDerived
}

// metaWhole holds, in the catalog, when it last was known to have everything that
// was in the store: nanoseconds since 1970, in decimal.
const metaWhole = "watch.whole"

// noteWhole has the catalog remember when it had everything in the store.
func (w *Watcher) noteWhole() error {
	if w.whole.IsZero() {
		return nil
	}
	return w.cfg.Catalog.Update(func(tx *catalog.Tx) error { return SetWhole(tx, w.whole) })
}

// keepWhole makes that durable at the end of observing. Where the next that is seen of
// the store is an older state of it, as a backup has it, nothing else tells a message
// that came and went between two looks from one that is new.
func (w *Watcher) keepWhole() {
	err := w.noteWhole()
	if err == nil {
		err = w.cfg.Catalog.Sync()
	}
	if err != nil {
		w.cfg.Log.Warn("when the store was looked at last was not noted", "error", err)
	}
}

// SetWhole has a catalog remember when it had everything that was in its store.
func SetWhole(tx *catalog.Tx, at time.Time) error {
	if err := tx.SetMeta(metaWhole, strconv.AppendInt(nil, at.UnixNano(), 10)); err != nil {
		return fmt.Errorf("note when the store was looked at: %w", err)
	}
	return nil
}

// WholeAt returns when an observer last noted that everything in its store was in
// the catalog, with nothing left that it could not read: what is in the store, is not
// in the catalog, and has not changed since, was there before, was removed, and has
// come back. Zero: that is not known.
func WholeAt(tx *catalog.Tx) (time.Time, error) {
	value, err := tx.Meta(metaWhole)
	if errors.Is(err, catalog.ErrNotFound) {
		return time.Time{}, nil
	}
	var nanos int64
	if err == nil {
		nanos, err = strconv.ParseInt(string(value), 10, 64)
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("when the store was looked at last: %w", err)
	}
	return time.Unix(0, nanos), nil
}

// CatchUp returns when everything that was noticed has been looked at, whatever
// came of that, and nothing more was noticed for a moment: Left tells what could
// not be journaled. As opposed to Quiesce it asks for nothing to be looked at, and
// waits for nothing that cannot be read or decided; it returns at once where the
// observer is suspended. The error is that of ctx, or says that Run has ended.
func (w *Watcher) CatchUp(ctx context.Context) error {
	for {
		changed := w.Changed()
		idle := w.dirty.depth() == 0 && w.idle.Load()
		switch s := w.Status(); {
		case s.Phase == PhaseStopped:
			return fmt.Errorf("catch up: %w", errStopped)
		case s.Suspended != "":
			return nil
		case idle:
			if err := w.pauseFor(ctx, 2*w.cfg.Timing.Confirm, nil); err != nil {
				return fmt.Errorf("catch up: %w", err)
			}
			if w.dirty.depth() == 0 && w.idle.Load() && w.Status().Cycles == s.Cycles {
				return nil
			}
			continue
		}
		if err := w.pauseFor(ctx, quiescePoll, changed); err != nil {
			return fmt.Errorf("catch up: %w", err)
		}
	}
}
