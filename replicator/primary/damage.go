package primary

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mailtwin/mailtwin/journal"
)

// maxDamaged bounds the files that are listed; what is beyond it is not
// counted either.
const maxDamaged = 4096

// Damage is a file whose content could not be read when it was to be sent, or
// is not what it was.
type Damage struct {
	Path  journal.Path
	Err   string    // of the last attempt
	Since time.Time // of the first attempt that failed
	tries int
}

// damageList names the files that could not be read when they were to be
// sent. A file leaves it when it was read at last, or has gone from its name.
type damageList struct {
	mu    sync.Mutex
	paths map[journal.Path]Damage
}

func (d *damageList) add(p journal.Path, why string, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	was, known := d.paths[p]
	switch {
	case !known && len(d.paths) >= maxDamaged:
		return
	case !known:
		was.Path, was.Since = p, now
	}
	was.Err = why
	was.tries++
	d.paths[p] = was
}

// tries returns how often a file could not be read.
func (d *damageList) tries(p journal.Path) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.paths[p].tries
}

func (d *damageList) remove(p journal.Path) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.paths, p)
}

// journaled forgets the files that an entry removes or renames: if a mirror
// lacks one under its new name, it is read again.
func (d *damageList) journaled(e *journal.Entry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	gone := e.Path
	switch e.Kind {
	case journal.KindRemove, journal.KindRemoveDir:
	case journal.KindMove, journal.KindMoveDir:
		gone = e.From
	default:
		return
	}
	maps.DeleteFunc(d.paths, func(p journal.Path, _ Damage) bool { return p.Within(gone) })
}

func (d *damageList) len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.paths)
}

// list returns the files by path.
func (d *damageList) list() []Damage {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.SortedFunc(maps.Values(d.paths), func(a, b Damage) int {
		return strings.Compare(string(a.Path), string(b.Path))
	})
}
