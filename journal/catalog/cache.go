package catalog

import (
	"sync"

	"github.com/mailtwin/mailtwin/journal"
)

// cachedPaths bounds each of the two generations of a pathCache.
const cachedPaths = 4096

// pathCache remembers the ids of directories that were walked to lately. It
// forgets by generations: what was not asked for while the young one filled
// up goes with the old one. Paths that lead nowhere are not remembered, so
// that making a directory invalidates nothing; moving or removing one gives
// the catalog a new cache.
type pathCache struct {
	mu         sync.Mutex
	young, old map[journal.Path]dirID
}

func newPathCache() *pathCache {
	return &pathCache{young: map[journal.Path]dirID{}}
}

func (c *pathCache) get(p journal.Path) (dirID, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id, ok := c.young[p]
	if ok {
		return id, true
	}
	if id, ok = c.old[p]; ok {
		c.put(p, id)
	}
	return id, ok
}

func (c *pathCache) set(p journal.Path, id dirID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put(p, id)
}

func (c *pathCache) put(p journal.Path, id dirID) {
	if len(c.young) >= cachedPaths {
		c.old, c.young = c.young, make(map[journal.Path]dirID, cachedPaths)
	}
	c.young[p] = id
}
