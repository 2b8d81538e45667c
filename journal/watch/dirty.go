package watch

import (
	"sync"

	"github.com/mailtwin/mailtwin/journal"
)

// dirty is what has to be looked at: names, else whole directories, else
// everything. It never holds more than its limits: names beyond the limit
// become their directories, and directories beyond theirs become everything.
// It is filled by hints and by the observer, and emptied by the observer.
type dirty struct {
	maxNames, maxDirs int
	wake              chan struct{} // has one element when there is something new

	mu     sync.Mutex
	names  queue
	dirs   queue
	all    bool
	reason string // why all
	scans  uint64 // how often everything was taken
}

func newDirty(maxNames, maxDirs int) *dirty {
	return &dirty{maxNames: maxNames, maxDirs: maxDirs, wake: make(chan struct{}, 1)}
}

// name makes one name dirty.
func (d *dirty) name(p journal.Path) {
	d.mu.Lock()
	if !d.all || d.names.len() < d.maxNames {
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
	if !d.all {
		d.pushDir(p)
	}
	d.mu.Unlock()
	d.signal()
}

// everything makes the whole store dirty. first says that it was not so before.
func (d *dirty) everything(reason string) (first bool) {
	d.mu.Lock()
	if first = !d.all; first {
		d.all, d.reason = true, reason
	}
	d.mu.Unlock()
	d.signal()
	return first
}

func (d *dirty) pushDir(p journal.Path) {
	d.dirs.push(p)
	if d.dirs.len() > d.maxDirs {
		d.all, d.reason = true, "too many changes at once to remember each"
		d.dirs = queue{}
	}
}

// takeNames removes the n names that have been dirty for longest.
func (d *dirty) takeNames(n int) []journal.Path {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.names.take(n)
}

// takeDir removes the directory that has been dirty for longest.
func (d *dirty) takeDir() (journal.Path, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.dirs.take(1); len(p) > 0 {
		return p[0], true
	}
	return "", false
}

// next makes the whole store dirty, and returns the number of the scan that will
// look at it: it begins after this call.
func (d *dirty) next(reason string) uint64 {
	d.everything(reason)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all {
		return d.scans + 1
	}
	return d.scans // it was taken since
}

// takeAll reports whether everything is dirty, and why, and ends that; then n is
// the number of the scan that is to follow.
func (d *dirty) takeAll() (reason string, n uint64, all bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if all, reason = d.all, d.reason; all {
		d.scans++
	}
	d.all, d.reason = false, ""
	return reason, d.scans, all
}

// depth returns how many names and directories are dirty.
func (d *dirty) depth() (names, dirs int, all bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.names.len(), d.dirs.len(), d.all
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
