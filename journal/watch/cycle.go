package watch

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// look is one name as it was found in the store.
type look struct {
	path  journal.Path
	info  beneath.Info
	class Class
	gone  bool
	order int // within a cycle
	scan  bool
}

// The order within a cycle. Directories that the catalog knows come after
// those that it does not: what looks replaced may have been renamed.
const (
	orderNewDir = iota
	orderMessage
	orderKeywords
	orderUIDList
	orderControl
	orderKnownDir
	orderGone
)

// cycle is one round of observing: an update of the catalog, with the append
// of the entries at its end.
type cycle struct {
	*Watcher
	tx      *catalog.Tx
	dirs    map[journal.Path]*openDir
	entries []journal.Entry
	held    int64    // bytes of content in entries
	read    int64    // bytes that were read
	changed bool     // the catalog, beside what the entries change
	hurried bool     // few names: each entry is told of as soon as it is known
	losing  bool     // it decides of what was lost, and is not on the agenda
	spent   bool     // there is more that was lost than may be noted in one cycle
	after   []func() // to be done when the entries are in the journal and the catalog
}

// openDir is a directory of the store that a cycle works in, or why it cannot.
type openDir struct {
	*beneath.Dir
	err error
}

// errNothing says that a cycle has changed nothing, so that the catalog need
// not be written.
var errNothing = errors.New("nothing has changed")

// errJournal says that an append failed. The catalog was not changed.
var errJournal = errors.New("journal cannot be written")

// observe looks at names and journals what differs from the catalog.
func (w *Watcher) observe(names []journal.Path) error { return w.observeAs(names, false) }

// observeAs is observe; scan says that the names come from a scan, so that what
// is gone may still be found elsewhere by it.
func (w *Watcher) observeAs(names []journal.Path, scan bool) error {
	names = slices.DeleteFunc(names, w.meaningless)
	if len(names) == 0 {
		return nil
	}
	return w.cycle(names, func(c *cycle) error {
		looks := make([]look, 0, len(names))
		for _, p := range names {
			if l, ok := c.look(p); ok {
				l.scan = scan
				looks = append(looks, l)
			}
		}
		c.hurried = len(looks) <= hurriedLooks
		slices.SortFunc(looks, func(a, b look) int {
			return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.path, b.path))
		})
		for i, l := range looks {
			if c.full() {
				for _, l := range looks[i:] {
					w.putBack(l.path)
				}
				return nil
			}
			if err := c.name(l); err != nil {
				return err
			}
		}
		return nil
	})
}

// cycle calls f in an update of the catalog, and journals what it emitted. If
// the append fails, nothing has happened, and the names are dirty again.
func (w *Watcher) cycle(names []journal.Path, f func(*cycle) error) error {
	c := &cycle{Watcher: w, dirs: make(map[journal.Path]*openDir)}
	defer c.close()
	defer func() { w.cfg.Pace.Live(c.read) }()
	err := w.cfg.Catalog.Update(func(tx *catalog.Tx) error {
		c.tx = tx
		if err := f(c); err != nil {
			return err
		}
		if len(c.entries) == 0 && !c.changed {
			return errNothing
		}
		return c.append()
	})
	if errors.Is(err, errNothing) {
		err = nil
	}
	if errors.Is(err, errJournal) && !errors.Is(err, journal.ErrClosed) {
		for _, p := range names {
			w.putBack(p)
		}
		return w.journalFailed(err)
	}
	if err != nil {
		return err
	}
	for _, f := range c.after {
		f()
	}
	w.counted(len(c.entries))
	return nil
}

// hurriedLooks is up to how many names are a delivery or two: the name of it, and
// the one that it had in tmp.
const hurriedLooks = 4

// append makes the entries durable in the journal, before the update that
// applies them to the catalog ends.
func (c *cycle) append() error {
	if len(c.entries) == 0 {
		return nil
	}
	if c.cfg.Ahead != nil && !c.hurried {
		c.cfg.Ahead(c.entries)
	}
	records, err := c.cfg.Journal.Append(c.entries...)
	if err != nil {
		return fmt.Errorf("%w: %w", errJournal, err)
	}
	c.tx.SetPosition(records[len(records)-1].Position)
	return nil
}

// emit applies an entry to the catalog, and leaves it to be appended.
func (c *cycle) emit(e journal.Entry) error {
	if err := e.Check(); err != nil {
		c.unreadable(e.Path, err) // no journal can say it
		return nil
	}
	if c.hurried && c.cfg.Ahead != nil {
		c.cfg.Ahead([]journal.Entry{e})
	}
	if err := c.tx.Apply(&e); err != nil {
		return fmt.Errorf("apply an entry of kind %d: %w", e.Kind, err)
	}
	c.entries = append(c.entries, e)
	if e.Held != nil {
		c.held += int64(len(e.Held.Data))
	}
	return nil
}

// The most that one cycle appends.
const (
	maxCycleEntries = 1000
	maxCycleHeld    = 2 * journal.MaxHeld
)

// full reports whether the cycle has done enough, so that nobody waits for it
// for too long.
func (c *cycle) full() bool {
	return c.read >= c.cfg.Limits.BatchBytes || c.held >= maxCycleHeld || len(c.entries) >= maxCycleEntries
}

func (c *cycle) close() {
	for _, d := range c.dirs {
		if d.Dir != nil {
			_ = d.Dir.Close()
		}
	}
}

// look looks at a name. It returns false if there is nothing to be observed:
// the name means nothing, cannot be read, or its directory has to be observed
// first.
func (c *cycle) look(p journal.Path) (look, bool) {
	if p == journal.Root {
		c.checkSoon()
		return look{}, false
	}
	if len(p) > journal.MaxPath {
		c.unreadable(p, journal.ErrPath)
		return look{}, false
	}
	d := c.dir(p.Dir())
	if d.err != nil {
		if errors.Is(d.err, errObserveFirst) {
			c.resolved(p) // by its directory
		} else {
			c.unreadable(p, d.err)
		}
		return look{}, false
	}
	info, err := d.Stat(p.Name())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return look{path: p, gone: true, order: orderGone}, true
	case err != nil:
		c.unreadable(p, err)
		return look{}, false
	}
	class := c.cfg.Rules.Classify(p, info.Facts.Type)
	if info.Facts.Type == 0 || class == ClassIgnored {
		// Something that means nothing may have taken the place of a file.
		return look{path: p, gone: true, order: orderGone}, true
	}
	c.agenda.saw(p)
	l := look{path: p, info: info, class: class}
	l.order = c.orderOf(l)
	return l, true
}

// meaningless reports whether a name means nothing, whatever has it.
func (w *Watcher) meaningless(p journal.Path) bool {
	return p != journal.Root &&
		w.cfg.Rules.Classify(p, journal.TypeFile) == ClassIgnored &&
		w.cfg.Rules.Classify(p, journal.TypeDirectory) == ClassIgnored &&
		w.cfg.Rules.Classify(p, journal.TypeSymlink) == ClassIgnored
}

func (c *cycle) orderOf(l look) int {
	if l.info.Facts.Type == journal.TypeDirectory {
		if _, err := c.tx.Lookup(l.path); err == nil {
			return orderKnownDir
		}
		return orderNewDir
	}
	switch l.class {
	case ClassMessage:
		return orderMessage
	case ClassKeywords:
		return orderKeywords
	case ClassUIDList:
		return orderUIDList
	default:
		return orderControl
	}
}

// errObserveFirst says that a directory is not the one that the catalog knows.
// It has been made dirty itself.
var errObserveFirst = errors.New("the directory itself has to be observed first")

// maxOpenDirs bounds the handles of one cycle.
const maxOpenDirs = 128

// dir opens a directory for the rest of the cycle, if it is the one that the
// catalog knows.
func (c *cycle) dir(p journal.Path) *openDir {
	if d, ok := c.dirs[p]; ok {
		return d
	}
	if len(c.dirs) >= maxOpenDirs {
		c.close()
		clear(c.dirs)
	}
	d := &openDir{}
	c.dirs[p] = d
	k, err := c.openKnown(c.tx, p)
	d.Dir, d.err = k.Dir, err
	return d
}

// known is an open directory that is the one which the catalog knows.
type known struct {
	*beneath.Dir
	info beneath.Info
	item catalog.Item
}

// openKnown opens a directory if it is the one that the catalog knows. If it
// is not, or gone, the name of the directory becomes dirty, and the error is
// errObserveFirst.
func (w *Watcher) openKnown(tx *catalog.Tx, p journal.Path) (k known, err error) {
	k.Dir, err = w.cfg.Root.Dir(p)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, beneath.ErrNotDirectory), errors.Is(err, beneath.ErrEscapes):
		w.observeFirst(p)
		return known{}, errObserveFirst
	case err != nil:
		return known{}, err
	}
	if k.info, err = k.Info(); err != nil {
		return known{}, errors.Join(err, k.Close())
	}
	k.item, err = tx.Lookup(p)
	switch {
	case errors.Is(err, catalog.ErrNotFound):
		w.observeFirst(p)
		return known{}, errors.Join(errObserveFirst, k.Close())
	case err != nil:
		return known{}, errors.Join(err, k.Close())
	case p == journal.Root:
		return k, nil // see health.go
	case k.item.Facts.Type != journal.TypeDirectory || !w.same(k.item.Stamp, k.info.Stamp):
		if !w.doubts.has(p) {
			w.observeFirst(p)
		}
		return known{}, errors.Join(errObserveFirst, k.Close())
	}
	return k, nil
}

// observeFirst makes the name of a directory dirty, unless what is in it
// means nothing.
func (w *Watcher) observeFirst(p journal.Path) {
	if p != journal.Root && w.cfg.Rules.Classify(p, journal.TypeDirectory) != ClassIgnored {
		w.dirty.name(p)
	}
}

// name observes one name.
func (c *cycle) name(l look) error {
	it, err := c.tx.Lookup(l.path)
	known := err == nil
	if err != nil && !errors.Is(err, catalog.ErrNotFound) {
		return err
	}
	if l.gone {
		// What never came is not gone: it is as the catalog says.
		if !known || c.stillComes(&it) {
			c.doubts.drop(l.path) // it has another name, by now
			c.resolved(l.path)
			return nil
		}
		return c.missed(l, it)
	}
	if known && it.Facts.Type != l.info.Facts.Type {
		if it.Facts.Type == journal.TypeDirectory || l.info.Facts.Type == journal.TypeDirectory {
			return c.missed(l, it) // the old one first; it is confirmed as any other
		}
	}
	if l.class == ClassDerived {
		c.derivedFile(l, it, known)
		return nil
	}
	switch l.info.Facts.Type {
	case journal.TypeDirectory:
		return c.directory(l, it, known)
	case journal.TypeSymlink:
		return c.symlink(l, it, known)
	default:
		return c.file(l, it, known)
	}
}

// missed observes that what the catalog knows by a name is not there.
func (c *cycle) missed(l look, it catalog.Item) error {
	may, err := c.mayBeGone(l, it)
	if err != nil || !may {
		return err
	}
	c.doubts.drop(l.path)
	c.gone(l)
	return nil
}

// putBack makes a name dirty again that could not be observed now.
func (w *Watcher) putBack(p journal.Path) {
	w.deferred++
	w.dirty.name(p)
}

// resolved forgets that a name was to be looked at again.
func (w *Watcher) resolved(p journal.Path) {
	w.agenda.drop(p)
	w.readable(p)
}
