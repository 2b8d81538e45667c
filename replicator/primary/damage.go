package primary

import (
	"fmt"
	"slices"
	"sync"

	"github.com/mailtwin/mailtwin/journal"
)

// maxDamaged bounds the files that are listed by name; beyond it they are
// only counted as "at least".
const maxDamaged = 1000

// damageList names the files that could not be read when they were to be
// sent. A file leaves it when it was read at last, or is gone.
type damageList struct {
	mu    sync.Mutex
	paths map[journal.Path]string
}

func (d *damageList) add(p journal.Path, why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.paths) < maxDamaged {
		d.paths[p] = why
	}
}

func (d *damageList) remove(p journal.Path) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.paths, p)
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
