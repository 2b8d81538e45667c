package primary

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/mailtwin/mailtwin/journal"
)

// maxDamaged bounds the files that are listed; what is beyond it is not
// counted either.
const maxDamaged = 1000

// damageList names the files that could not be read when they were to be
// sent. A file leaves it when it was read at last, or has gone from its name.
type damageList struct {
	mu    sync.Mutex
	paths map[journal.Path]string
}

func (d *damageList) add(p journal.Path, why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, known := d.paths[p]; known || len(d.paths) < maxDamaged {
		d.paths[p] = why
	}
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
	maps.DeleteFunc(d.paths, func(p journal.Path, _ string) bool { return p.Within(gone) })
}

func (d *damageList) list(limit int) ([]string, int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]string, 0, len(d.paths))
	for p, why := range d.paths {
		out = append(out, fmt.Sprintf("%q: %s", string(p), why))
	}
	slices.Sort(out)
	return out[:min(limit, len(out))], len(out)
}
