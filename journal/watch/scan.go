package watch

import (
	"errors"
	"io/fs"
	"slices"
	"sync"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// metaBaseline is set in the catalog when the first scan was complete.
const metaBaseline = "watch.baseline"

// level is a directory whose subdirectories are being walked.
type level struct {
	dir  journal.Path
	subs []journal.Path // to be walked, in the order of their names
	from string         // where the next subs begin
	end  bool           // there are no more
}

// subsAtOnce is how many subdirectories of one directory are held at once.
const subsAtOnce = 256

// walk compares a directory and all beneath it with the catalog, top down.
// Directories whose mtime is that of their last complete observation are not
// listed. Hints are served between directories.
func (w *Watcher) walk(top journal.Path) error {
	within := w.walking // another walk, which is not over
	w.walking = true
	defer func() { w.walking = within }()
	if !within {
		w.together = together{round: w.together.round + 1} // of a walk that failed
	}
	first, err := w.visit(top)
	if err != nil {
		return err
	}
	levels := []*level{first}
	for {
		p, ok, err := w.nextSub(&levels)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if w.baseline && top == journal.Root {
			w.status.Reached = p
		}
		below, err := w.visit(p)
		if err != nil {
			return err
		}
		levels = append(levels, below)
	}
	if err := w.observeTogether(); err != nil {
		return err
	}
	if !within {
		w.agenda.release(w.now(), top == journal.Root)
	}
	return nil
}

// walkDirty walks a directory that was taken to be walked.
func (w *Watcher) walkDirty(p journal.Path) error {
	free := w.free
	w.free = freeLooks
	defer func() {
		w.free = free
		w.looked(1)
	}()
	if err := w.walk(p); err != nil {
		w.dirty.walk(p)
		return err
	}
	return nil
}

// nextSub returns the next directory to be walked, and false at the end of the
// walk. levels are those that the walk is in, of which it leaves those that have
// come to their end. It may be called by anyone.
func (w *Watcher) nextSub(levels *[]*level) (journal.Path, bool, error) {
	for len(*levels) > 0 {
		l := (*levels)[len(*levels)-1]
		if len(l.subs) == 0 && !l.end {
			if err := w.moreSubs(l); err != nil {
				return "", false, err
			}
		}
		if len(l.subs) == 0 {
			*levels = (*levels)[:len(*levels)-1]
			continue
		}
		p := l.subs[0]
		l.subs = l.subs[1:]
		return p, true, nil
	}
	return "", false, nil
}

// moreSubs finds the next subdirectories of a directory in the catalog, and
// meanwhile looks at nothing else.
func (w *Watcher) moreSubs(l *level) error {
	l.subs = l.subs[:0:0]
	err := w.cfg.Catalog.View(func(tx *catalog.Tx) error {
		if below, err := tx.Below(l.dir); err != nil || below.Directories == 0 {
			return err // among thousands of messages there is none
		}
		return tx.List(l.dir, l.from, func(name string, it catalog.Item) error {
			l.from = name + "\x00"
			if it.Facts.Type == journal.TypeDirectory {
				l.subs = append(l.subs, l.dir.Join(name))
				if len(l.subs) >= subsAtOnce {
					return errEnough
				}
			}
			return nil
		})
	})
	switch {
	case errors.Is(err, errEnough):
		return nil
	case err == nil, errors.Is(err, catalog.ErrNotFound):
		l.end = true
		return nil
	}
	return err
}

// visit compares one directory with the catalog as part of a walk, and returns the
// level of its subdirectories.
func (w *Watcher) visit(p journal.Path) (*level, error) {
	l := &level{dir: p}
	if err := w.serve(); err != nil {
		return nil, err
	}
	if err := w.observeDue(); err != nil {
		return nil, err
	}
	w.progressed()
	ahead, err := w.sighted(p)
	if err != nil {
		return nil, err
	}
	if ahead != nil && ahead.asKnown && !slices.ContainsFunc(ahead.files, w.stirred) {
		w.pass(ahead)
		l.end = ahead.opaque || ahead.messages
		return l, nil
	}
	sighted := ahead != nil && ahead.whole
	done := func() {}
	if !sighted {
		if done, err = w.leave(1); err != nil {
			return nil, err
		}
	}
	ended := sync.OnceFunc(done)
	defer ended()
	if l.end = w.opaque(p); !l.end {
		w.watch(p)
	}
	s, err := w.stand(p, !l.end)
	if err != nil {
		return l, err
	}
	if l.end || s.failed != nil {
		// Of an opaque one it is enough that it is the one which the catalog knows.
		return l, w.listFailed(p, s.failed)
	}
	ended()
	switch {
	case !s.unchanged:
		_, err := w.compare(&listing{Watcher: w, path: p, scan: true, read: ahead != nil && ahead.read})
		return l, err
	case s.messages:
		l.end = true
		return l, nil
	}
	return l, w.inPlaceFiles(p, sighted)
}

// standing is how a directory of the catalog is found in the store.
type standing struct {
	failed    error // it cannot be opened as the one that the catalog knows
	unchanged bool  // its mtime is that of its last complete observation
	messages  bool  // there are only messages in it
}

// stand finds out how a directory is; within says whether what is in it matters.
func (w *Watcher) stand(p journal.Path, within bool) (s standing, err error) {
	err = w.cfg.Catalog.View(func(tx *catalog.Tx) error {
		k, failed := w.openKnown(tx, p)
		if failed == nil {
			failed = k.Close()
		}
		if s.failed = failed; failed != nil || !within {
			return nil //nolint:nilerr // it is told by the standing: only the catalog's errors end a walk
		}
		if s.unchanged = AsObserved(p, &k.item, &k.info); s.unchanged {
			s.messages, err = w.onlyMessages(tx, p)
		}
		return err
	})
	return s, err
}

// AsObserved reports whether a directory has the names in it that it had when it was
// last observed completely. Its mtime alone does not tell: who puts something into it
// may set that back, as programs do that restore a copy. The root has no stamp.
func AsObserved(p journal.Path, it *catalog.Item, now *beneath.Info) bool {
	return it.Observed != 0 && it.Observed == now.DirMTime && (p == journal.Root || it.Stamp.Change == now.Stamp.Change)
}

// inPlaceFiles looks at the files of a directory that may have changed though
// the directory did not. ahead says that somebody has looked ahead of the walk.
func (w *Watcher) inPlaceFiles(p journal.Path, ahead bool) error {
	l := &listing{Watcher: w, path: p, scan: true, ahead: ahead}
	forgotten := w.forgotten
	for from, end := "", false; !end; {
		var files []inPlace
		err := w.cfg.Catalog.View(func(tx *catalog.Tx) (err error) {
			files, from, err = w.inPlaceIn(tx, p, from)
			return err
		})
		if err != nil && !errors.Is(err, catalog.ErrNotFound) {
			return err
		}
		end = from == ""
		paths := make([]journal.Path, len(files))
		for i, f := range files {
			paths[i] = f.path
		}
		if err := l.batches(paths); err != nil {
			return err
		}
		l.ahead = false
	}
	if w.forgotten != forgotten && w.inherited != (Moment{}) {
		return w.list(p) // some may be lost, which a listing decides of without the agenda
	}
	return nil
}

// inPlace is a file that may have changed though its directory did not.
type inPlace struct {
	path journal.Path
	item *catalog.Item // nil: the catalog does not know it, and it may be there all the same
}

// inPlaceIn returns files of a directory that may have changed though it did not,
// from a name on, and where the next ones begin; "" if there are none. It may be
// called by anyone.
func (w *Watcher) inPlaceIn(tx *catalog.Tx, p journal.Path, from string) (files []inPlace, next string, err error) {
	err = tx.List(p, from, func(name string, it catalog.Item) error {
		file := p.Join(name)
		if it.Facts.Type == journal.TypeFile && changesInPlace(w.cfg.Rules.Classify(file, journal.TypeFile), journal.TypeFile) &&
			!(w.baseline && !it.Facts.Content.Known()) {
			files = append(files, inPlace{file, &it})
		}
		if len(files) >= w.cfg.Limits.Batch {
			next = name + "\x00"
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return files, next, nil
	}
	if err != nil {
		return files, "", err
	}
	unknown, err := w.unknownMembers(tx, p)
	for _, p := range unknown {
		files = append(files, inPlace{path: p})
	}
	return files, "", err
}

// unchanged reports whether a file is as the catalog has it, beyond doubt, by what
// came of a look at it: to observe it would find nothing. It may be called by
// anyone.
func (w *Watcher) unchanged(f inPlace, info beneath.Info, err error) bool {
	if f.item == nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	was, is := &f.item.Facts, &info.Facts
	return err == nil && !f.item.Missing && is.Type == journal.TypeFile &&
		w.same(f.item.Stamp, info.Stamp) && f.item.Stamp.Change == info.Stamp.Change &&
		sameSize(*was, *is) && sameOwner(was.Attr, is.Attr) && !w.racy(is.Attr.MTime) &&
		!w.unwritten.Has(info.Stamp.Change)
}

// onlyMessages reports whether p is a directory of messages, in which nothing
// changes in place. One with directories in it is something else that has the
// name of one, such as the home of a user.
func (w *Watcher) onlyMessages(tx *catalog.Tx, p journal.Path) (bool, error) {
	if !slices.Contains(w.cfg.Rules.MessageDirs(p.Dir().Join("any")), p) {
		return false, nil
	}
	below, err := tx.Below(p)
	if errors.Is(err, catalog.ErrNotFound) {
		return false, nil
	}
	return err == nil && below.Directories == 0, err
}

// scan walks the whole store. After the first one, the baseline is complete.
func (w *Watcher) scan(reason string, n uint64) error {
	w.beginScan(reason)
	began, forgotten := w.cfg.Clock.Now(), w.forgotten
	w.uncovered, w.retryFull, w.free = 0, true, 0
	stop := func() {}
	if !w.baseline { // of which the catalog does not know yet
		stop = w.lookAhead()
	}
	err := w.walk(journal.Root)
	stop()
	if err != nil {
		return err
	}
	w.retryFull = false
	if err := w.scanned(); err != nil {
		return err
	}
	w.status.scan, w.found = n, forgotten
	w.sought = w.forgotten == forgotten
	if began.After(w.status.Quiet) {
		w.status.Quiet = began
	}
	w.endScan()
	return nil
}
