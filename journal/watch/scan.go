package watch

import (
	"errors"
	"slices"
	"sync"

	"github.com/mailtwin/mailtwin/journal"
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
	if err := w.visit(top); err != nil {
		return err
	}
	stack := []*level{{dir: top}}
	for len(stack) > 0 {
		l := stack[len(stack)-1]
		if len(l.subs) == 0 && !l.end {
			if err := w.moreSubs(l); err != nil {
				return err
			}
		}
		if len(l.subs) == 0 {
			stack = stack[:len(stack)-1]
			continue
		}
		p := l.subs[0]
		l.subs = l.subs[1:]
		if err := w.visit(p); err != nil {
			return err
		}
		stack = append(stack, &level{dir: p})
	}
	w.doubts.forget(top)
	if !within {
		w.agenda.release(w.now())
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

// moreSubs finds the next subdirectories of a directory in the catalog, and
// meanwhile looks at nothing else.
func (w *Watcher) moreSubs(l *level) error {
	if w.opaque(l.dir) {
		l.end = true
		return nil
	}
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

// visit compares one directory with the catalog as part of a walk.
func (w *Watcher) visit(p journal.Path) error {
	if err := w.serve(); err != nil {
		return err
	}
	w.progressed()
	done, err := w.leave(1)
	if err != nil {
		return err
	}
	ended := sync.OnceFunc(done)
	defer ended()
	opaque := w.opaque(p)
	if !opaque {
		w.watch(p)
	}
	d, it, err := w.openDir(p)
	if err != nil {
		return w.listFailed(p, err)
	}
	info, err := d.Info()
	if err := errors.Join(err, d.Close()); err != nil {
		return w.listFailed(p, err)
	}
	if opaque {
		return nil // that it is the directory which the catalog knows is all
	}
	ended()
	if it.Observed == 0 || it.Observed != info.DirMTime {
		return w.list(p, true)
	}
	return w.inPlaceFiles(p)
}

// inPlaceFiles looks at the files of a directory that may have changed though
// the directory did not.
func (w *Watcher) inPlaceFiles(p journal.Path) error {
	if messages, err := w.onlyMessages(p); messages || err != nil {
		return err
	}
	l := &listing{Watcher: w, path: p, scan: true}
	for from, end := "", false; !end; {
		var files []journal.Path
		err := w.cfg.Catalog.View(func(tx *catalog.Tx) error {
			return tx.List(p, from, func(name string, it catalog.Item) error {
				from = name + "\x00"
				file := p.Join(name)
				if it.Facts.Type == journal.TypeFile && inPlace(w.cfg.Rules.Classify(file, journal.TypeFile), journal.TypeFile) &&
					!(w.baseline && !it.Facts.Content.Known()) {
					files = append(files, file)
				}
				if len(files) >= w.cfg.Limits.Batch {
					return errEnough
				}
				return nil
			})
		})
		if err == nil {
			err = w.cfg.Catalog.View(func(tx *catalog.Tx) error {
				unknown, err := w.unknownMembers(tx, p)
				files = append(files, unknown...)
				return err
			})
		}
		end = !errors.Is(err, errEnough)
		if end && err != nil && !errors.Is(err, catalog.ErrNotFound) {
			return err
		}
		if err := l.batches(files); err != nil {
			return err
		}
	}
	return nil
}

// onlyMessages reports whether p is a directory of messages, in which nothing
// changes in place. One with directories in it is something else that has the
// name of one, such as the home of a user.
func (w *Watcher) onlyMessages(p journal.Path) (bool, error) {
	if !slices.Contains(w.cfg.Rules.MessageDirs(p.Dir().Join("any")), p) {
		return false, nil
	}
	var below catalog.Totals
	err := w.cfg.Catalog.View(func(tx *catalog.Tx) (err error) {
		below, err = tx.Below(p)
		return err
	})
	if errors.Is(err, catalog.ErrNotFound) {
		return false, nil
	}
	return err == nil && below.Directories == 0, err
}

// scan walks the whole store. After the first one, the baseline is complete.
func (w *Watcher) scan(reason string, n uint64) error {
	w.beginScan(reason)
	began := w.cfg.Clock.Now()
	w.uncovered, w.retryFull, w.free = 0, true, 0
	if err := w.walk(journal.Root); err != nil {
		return err
	}
	w.retryFull = false
	if err := w.scanned(); err != nil {
		return err
	}
	w.status.scan = n
	if began.After(w.status.Quiet) {
		w.status.Quiet = began
	}
	w.endScan()
	return nil
}
