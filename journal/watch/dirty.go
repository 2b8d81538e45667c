package watch

import (
	"slices"
	"sync"

	"github.com/mailtwin/mailtwin/journal"
)

// dirty is what has to be looked at: names, else whole directories or trees, else
// everything. It never holds more than its limits: names beyond the limit
// become their directories, and directories beyond theirs become everything.
// It is filled by hints and by the observer, and emptied by the observer, who
// says of what it took when that was looked at: until then it counts.
type dirty struct {
	maxNames, maxDirs int
	wake              chan struct{} // has one element when there is something new

	mu     sync.Mutex
	names  queue
	dirs   queue
	walks  queue // directories to be walked
	all    bool
	lost   bool           // hints were lost: all is dirty because changes are not known
	losing bool           // the scan that is under way is to find those
	held   []journal.Path // taken, and not yet looked at, what was taken last at the end; the root: everything
	reason string         // why all
	scans  uint64         // how often everything was taken
}

func newDirty(maxNames, maxDirs int) *dirty {
	return &dirty{maxNames: maxNames, maxDirs: maxDirs, wake: make(chan struct{}, 1)}
}

// name makes one name dirty.
func (d *dirty) name(p journal.Path) {
	d.mu.Lock()
	if d.all && d.names.len() >= d.maxNames {
		d.lost = true // it is found by the scan
	} else {
		d.names.push(p)
		if d.names.len() > d.maxNames {
			for _, p := range d.names.take(d.names.len()) {
				d.pushDir(p.Dir())
			}
		}
	}
	d.mu.Unlock()
	d.signal()
}

// dir makes a directory dirty: it will be listed.
func (d *dirty) dir(p journal.Path) {
	d.mu.Lock()
	d.pushDir(p)
	d.mu.Unlock()
	d.signal()
}

// walk makes a directory dirty with all that is beneath it.
func (d *dirty) walk(p journal.Path) {
	d.mu.Lock()
	if d.walks.push(p); d.walks.len() > d.maxDirs {
		d.all, d.lost, d.reason = true, true, "many directories were renamed at once"
		d.walks = queue{}
	}
	d.mu.Unlock()
	d.signal()
}

// everything makes the whole store dirty, because changes may not be known. first
// says that it was not so before.
func (d *dirty) everything(reason string) (first bool) { return d.whole(reason, true) }

// whole makes the whole store dirty; lost says that there may be changes that were
// not hinted, or whose hints were lost.
func (d *dirty) whole(reason string, lost bool) (first bool) {
	d.mu.Lock()
	if first = !d.all; first {
		d.all, d.reason = true, reason
	}
	d.lost = d.lost || lost
	d.mu.Unlock()
	d.signal()
	return first
}

// calm reports whether every hint has been looked at.
func (d *dirty) calm() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.holding() && !d.lost && !d.losing && d.names.len()+d.dirs.len()+d.walks.len() == 0
}

func (d *dirty) pushDir(p journal.Path) {
	d.dirs.push(p)
	if d.dirs.len() > d.maxDirs {
		d.all, d.lost, d.reason = true, true, "too many changes at once to remember each"
		d.dirs = queue{}
	}
}

// takeNames removes the n names that have been dirty for longest.
func (d *dirty) takeNames(n int) []journal.Path {
	d.mu.Lock()
	defer d.mu.Unlock()
	names := d.names.take(n)
	d.held = append(d.held, names...)
	return names
}

// takeDir removes the directory that has been dirty for longest.
func (d *dirty) takeDir() (journal.Path, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.takeOne(&d.dirs)
}

// takeWalk removes the directory that has been waiting to be walked for longest.
func (d *dirty) takeWalk() (journal.Path, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.takeOne(&d.walks)
}

func (d *dirty) takeOne(q *queue) (journal.Path, bool) {
	p := q.take(1)
	if len(p) == 0 {
		return "", false
	}
	d.held = append(d.held, p[0])
	return p[0], true
}

// done says that the n that were taken last were looked at, or are dirty again.
func (d *dirty) done(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held = d.held[:len(d.held)-n]
	if len(d.held) == 0 {
		d.held = nil // a batch may have been large
	}
}

// scanned says that the scan for which everything was taken has ended. After an
// error everything is dirty as before.
func (d *dirty) scanned(reason string, err error) {
	d.mu.Lock()
	losing := d.losing
	d.losing = false
	d.lost = d.lost || losing && err != nil
	d.mu.Unlock()
	if err != nil {
		d.whole(reason, losing)
	}
}

// next makes the whole store dirty, and returns the number of the scan that will
// look at it: it begins after this call.
func (d *dirty) next(reason string) uint64 {
	d.whole(reason, false)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all {
		return d.scans + 1
	}
	return d.scans // it was taken since
}

// takeAll reports whether everything is dirty, and why, and ends that; then n is
// the number of the scan that is to follow, and scanned is to be called at its end.
func (d *dirty) takeAll() (reason string, n uint64, all bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if all, reason = d.all, d.reason; all {
		d.scans++
		d.losing, d.lost = d.lost, false
		d.held = append(d.held, journal.Root)
	}
	d.all, d.reason = false, ""
	return reason, d.scans, all
}

// waiting reports whether there is anything to be looked at first, but for a scan:
// names, or directories that have just been found, in which there may be any.
func (d *dirty) waiting() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.names.len()+d.dirs.len()+d.walks.len() > 0 || d.holding()
}

// holding reports whether something but the whole store was taken and not yet looked
// at.
func (d *dirty) holding() bool {
	return slices.ContainsFunc(d.held, func(p journal.Path) bool { return p != journal.Root })
}

// depth returns how much is dirty, with what is being looked at.
func (d *dirty) depth() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.names.len() + d.dirs.len() + d.walks.len() + len(d.held)
	if d.all {
		n++
	}
	return n
}

// has reports whether a name will be looked at, by itself or with others.
func (d *dirty) has(p journal.Path) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.all || d.names.has(p) || d.dirs.has(p.Dir())
}

// within returns the dirty names in some directories. It returns false if they
// are not known, because the directories as a whole are dirty.
func (d *dirty) within(dirs []journal.Path) (names []journal.Path, known bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all || slices.ContainsFunc(dirs, d.dirs.has) {
		return nil, false
	}
	for _, p := range d.names.order {
		if slices.Contains(dirs, p.Dir()) {
			names = append(names, p)
		}
	}
	return names, true
}

// left returns the names and the directories that are dirty, with what is being
// looked at.
func (d *dirty) left() (names, dirs []journal.Path) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Concat(d.names.order, d.held), slices.Concat(d.dirs.order, d.walks.order)
}

// onlyNames returns the dirty names. It returns false if anything else is dirty, or is
// being looked at.
func (d *dirty) onlyNames() ([]journal.Path, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all || d.dirs.len()+d.walks.len()+len(d.held) > 0 {
		return nil, false
	}
	return slices.Clone(d.names.order), true
}

func (d *dirty) signal() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// queue is a queue of paths that holds each once. The zero value is empty.
type queue struct {
	order []journal.Path
	set   map[journal.Path]struct{}
}

func (q *queue) len() int { return len(q.order) }

func (q *queue) has(p journal.Path) bool { _, ok := q.set[p]; return ok }

func (q *queue) push(p journal.Path) {
	if _, ok := q.set[p]; ok {
		return
	}
	if q.set == nil {
		q.set = make(map[journal.Path]struct{})
	}
	q.set[p] = struct{}{}
	q.order = append(q.order, p)
}

// take removes the first n paths, or all if there are fewer.
func (q *queue) take(n int) []journal.Path {
	if n >= len(q.order) {
		all := q.order
		*q = queue{} // also gives the memory of a burst back
		return all
	}
	taken := q.order[:n:n]
	q.order = q.order[n:]
	for _, p := range taken {
		delete(q.set, p)
	}
	return taken
}
