package watch

import (
	"slices"
	"strings"
	"sync"

	"github.com/mailtwin/mailtwin/journal"
)

// maxUnreadable bounds what is known by name of what cannot be read.
const maxUnreadable = 1024

// broken is what cannot be read. The observer changes it; whether a directory
// was seen as a whole may be asked by anyone.
type broken struct {
	mu     sync.Mutex
	names  map[journal.Path]Unreadable
	dirs   map[journal.Path]int // how many of the names are of, or in, a directory
	more   bool                 // there are some that are not among the names
	sorted []Unreadable         // the names by path; nil: to be made again
}

func newBroken() broken {
	return broken{names: make(map[journal.Path]Unreadable), dirs: make(map[journal.Path]int)}
}

// add notes that something cannot be read, and reports whether that is news.
func (b *broken) add(u Unreadable) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	was, known := b.names[u.Path]
	switch {
	case known:
		if u.Since = was.Since; u == was {
			return false
		}
	case len(b.names) >= maxUnreadable:
		b.more = true
		return false
	default:
		b.count(u.Path, 1)
	}
	b.names[u.Path], b.sorted = u, nil
	return !known
}

func (b *broken) remove(p journal.Path) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, known := b.names[p]; !known {
		return
	}
	delete(b.names, p)
	b.count(p, -1)
	b.sorted = nil
}

// count counts a name for the directory that it is in, and for itself: it may
// be one that could not be listed.
func (b *broken) count(p journal.Path, n int) {
	dirs := []journal.Path{p}
	if p != journal.Root {
		dirs = append(dirs, p.Dir())
	}
	for _, d := range dirs {
		if b.dirs[d] += n; b.dirs[d] <= 0 {
			delete(b.dirs, d)
		}
	}
}

// list returns the names by path, which nobody changes, and how many there are
// in all, where so many wait to be tried again.
func (b *broken) list(waiting int) ([]Unreadable, int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.more = b.more && waiting > len(b.names)
	if b.sorted == nil {
		b.sorted = make([]Unreadable, 0, len(b.names))
		for _, u := range b.names {
			b.sorted = append(b.sorted, u)
		}
		slices.SortFunc(b.sorted, func(x, y Unreadable) int { return strings.Compare(string(x.Path), string(y.Path)) })
	}
	return b.sorted, max(len(b.sorted), waiting)
}

// in reports whether something in a directory, or that itself, may be among
// what cannot be read.
func (b *broken) in(dir journal.Path) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.more || b.dirs[dir] > 0
}

// tooMany reports whether there may be some that are not known by name.
func (b *broken) tooMany() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.more
}
