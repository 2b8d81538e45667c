package watch

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// Limits of looking ahead.
const (
	aheadLookers = 4                     // who look at directories at a time, as far as they get leave
	aheadAtMost  = 256                   // directories that the walk has not come to yet
	aheadPause   = 20 * time.Millisecond // between two looks at what else is due, while one of them is waited for
)

// ahead looks at the directories of the catalog, and at the files in them that
// may change in place, shortly before a walk comes to them, with leave, several at
// a time, where the walk would wait for the disk once for each. What is as the
// catalog has it, and watched since before that was found, is nothing that the walk
// has to look at again. Of the rest nothing is found out: it is in memory then, and
// the walk needs no leave for it.
type ahead struct {
	w    *Watcher
	jobs chan *sighting
	// turn is held over leave: by the walk alone, or by those ahead of it. So the
	// walk, which may have to look at something else, never waits because so many
	// of them are out.
	turn   sync.RWMutex
	asking sync.Mutex    // held by the one of them who waits for leave
	freed  chan struct{} // one of them has given leave back; capacity 1

	// The rest belongs to the goroutine of the walk.
	queue  []*sighting // that the walk has not come to, in its order
	levels []*level    // to which those after them belong
}

// sighting is a directory that is looked at ahead of a walk.
type sighting struct {
	path   journal.Path
	opaque bool
	done   chan struct{} // closed when it was looked at

	// The rest is to be read when done is closed.
	whole    bool      // nothing of it was left out
	read     bool      // all names in it were read, because it has changed
	asKnown  bool      // it is watched, unless it is opaque, and all is as the catalog has it
	messages bool      // there are only messages in it
	files    []inPlace // which may change in place
}

// lookAhead begins to look ahead of a walk of the whole store, until stop is
// called, which returns when nobody does any more.
func (w *Watcher) lookAhead() (stop func()) {
	ctx, cancel := context.WithCancel(w.ctx)
	a := &ahead{w: w, jobs: make(chan *sighting, aheadAtMost), freed: make(chan struct{}, 1), levels: []*level{{dir: journal.Root}}}
	var group sync.WaitGroup
	for range aheadLookers {
		group.Go(func() {
			for s := range a.jobs {
				a.look(ctx, s)
			}
		})
	}
	w.ahead = a
	return func() {
		w.ahead = nil
		close(a.jobs)
		cancel()
		group.Wait()
	}
}

// find has further directories looked at, in the order of a walk. Of an error of
// the catalog the walk is told by itself.
func (a *ahead) find() {
	for len(a.queue) < aheadAtMost && len(a.jobs) < cap(a.jobs) {
		p, ok, err := a.w.nextSub(&a.levels)
		if !ok || err != nil {
			a.levels = nil
			return
		}
		s := &sighting{path: p, opaque: a.w.opaque(p), done: make(chan struct{})}
		a.queue = append(a.queue, s)
		a.jobs <- s // there is room, and nobody else puts any in
		a.levels = append(a.levels, &level{dir: p, end: s.opaque})
	}
}

// take returns the sighting of a directory to which the walk has come; nil if
// there is none. The walk does not come to those before it any more.
func (a *ahead) take(p journal.Path) *sighting {
	i := slices.IndexFunc(a.queue, func(s *sighting) bool { return s.path == p })
	if i < 0 {
		return nil
	}
	s := a.queue[i]
	a.queue = slices.Delete(a.queue, 0, i+1)
	return s
}

// look looks at one directory. What cannot be looked at is found out by the walk.
func (a *ahead) look(ctx context.Context, s *sighting) {
	defer close(s.done)
	var d *beneath.Dir
	var info beneath.Info
	err := context.Canceled
	a.withLeave(ctx, 1, func() {
		watched := s.opaque || a.w.hinted(s.path) == nil // before anything is looked at
		if d, err = a.w.cfg.Root.Dir(s.path); err == nil {
			info, err = d.Info()
			s.asKnown = watched && err == nil
		}
	})
	if d == nil {
		return
	}
	defer d.Close()
	changed := false
	if err == nil {
		changed, err = a.compare(s, info)
	}
	if err != nil {
		s.asKnown = false // the walk is told as well
		return
	}
	if changed {
		a.withLeave(ctx, 1, func() { s.read = readAll(d) })
	}
	if s.whole = len(s.files) == 0; s.whole {
		return
	}
	a.withLeave(ctx, len(s.files), func() {
		for _, f := range s.files {
			info, err := d.Stat(f.path.Name())
			s.asKnown = s.asKnown && a.w.unchanged(f, info, err)
		}
		s.whole = true
	})
	s.asKnown = s.asKnown && s.whole
}

// readAll brings the names in a directory into memory, and reports whether that was
// all of them: of one with very many the walk reads them with a leave for each part.
func readAll(d *beneath.Dir) bool {
	parts := 0
	err := d.Each(func([]beneath.Name) error {
		if parts++; parts > 1 {
			return errEnough
		}
		return nil
	})
	return err == nil
}

// compare compares a directory with the catalog, and finds the files at which the
// walk will look if it is unchanged, as many as it looks at first. It reports
// whether the names in the directory may have changed.
func (a *ahead) compare(s *sighting, info beneath.Info) (changed bool, err error) {
	err = a.w.cfg.Catalog.View(func(tx *catalog.Tx) error {
		it, err := tx.Lookup(s.path)
		if err != nil {
			return err
		}
		if it.Facts.Type != journal.TypeDirectory || !a.w.same(it.Stamp, info.Stamp) {
			s.asKnown = false
		}
		if s.opaque {
			return nil
		}
		changed = !AsObserved(s.path, &it, &info)
		s.asKnown = s.asKnown && !changed
		if s.messages, err = a.w.onlyMessages(tx, s.path); s.messages || err != nil {
			return err
		}
		more := ""
		s.files, more, err = a.w.inPlaceIn(tx, s.path, "")
		s.asKnown = s.asKnown && more == ""
		return err
	})
	return changed, err
}

// withLeave calls f when so many names may be looked at, unless ctx ends before.
// Who waits for leave is served in turn, so that the walk never waits for one
// who has come too late.
func (a *ahead) withLeave(ctx context.Context, names int, f func()) {
	a.asking.Lock()
	done := a.leave(ctx, names)
	a.asking.Unlock()
	if done != nil {
		f()
		done()
	}
}

// leave waits until so many names may be looked at, and returns what to call when
// they have been; nil if ctx ended before.
func (a *ahead) leave(ctx context.Context, names int) (done func()) {
	for ctx.Err() == nil {
		a.turn.RLock()
		if a.w.alone.Load() {
			return a.turn.RUnlock
		}
		ended, wait := a.w.cfg.Pace.Look(names)
		if wait <= 0 {
			return func() {
				ended()
				a.turn.RUnlock()
				select {
				case a.freed <- struct{}{}:
				default:
				}
			}
		}
		a.turn.RUnlock()
		select {
		case <-ctx.Done():
		case <-a.freed: // there may have been too many out
		case <-a.w.cfg.Clock.After(wait):
		}
	}
	return nil
}

// sighted returns how a directory to which the walk has come was found ahead of it,
// and waits for that if somebody is about to look; nil if nobody was.
func (w *Watcher) sighted(p journal.Path) (*sighting, error) {
	if w.ahead == nil || w.within || p == journal.Root {
		return nil, nil
	}
	w.ahead.find()
	s := w.ahead.take(p)
	if s == nil {
		return nil, nil
	}
	for {
		select {
		case <-s.done:
			return s, nil
		default:
		}
		if err := w.meanwhile(s.done, aheadPause); err != nil {
			return nil, err
		}
	}
}

// stirred reports whether a file is to be looked at again, because of what was noticed
// since somebody did, perhaps.
func (w *Watcher) stirred(f inPlace) bool { return w.agenda.get(f.path) != nil || w.dirty.has(f.path) }

// pass passes over a directory in which all was found as the catalog has it, and
// nothing has been noticed since.
func (w *Watcher) pass(s *sighting) {
	if !s.opaque {
		w.watched[w.hash(s.path)] = struct{}{}
	}
	for _, f := range s.files {
		w.readable(f.path)
	}
}

// ask asks for leave for the walk, when those ahead of it have none.
func (w *Watcher) ask(names int) (done func(), wait time.Duration) {
	a := w.ahead
	if a == nil {
		return w.cfg.Pace.Look(names)
	}
	a.turn.Lock()
	ended, wait := w.cfg.Pace.Look(names)
	if wait > 0 {
		a.turn.Unlock()
		return nil, wait
	}
	return func() {
		ended()
		a.turn.Unlock()
	}, 0
}
