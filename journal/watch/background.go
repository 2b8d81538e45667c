package watch

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
)

// background hashes large messages, one after the other, so that nobody waits
// for them. When one is hashed its name becomes dirty again.
type background struct {
	jobs  chan job
	dirty *dirty

	mu    sync.Mutex
	known map[journal.Path]job // under way or done, at most maxLarge
}

// job is one large message.
type job struct {
	path journal.Path
	info beneath.Info
	file *os.File
	done bool
	id   journal.ContentID
	err  error
}

// maxLarge bounds the large messages that are open or hashed at a time.
const maxLarge = 64

func newBackground(d *dirty) *background {
	return &background{jobs: make(chan job, maxLarge), dirty: d, known: make(map[journal.Path]job)}
}

// start begins to hash an open file, which it closes, unless that is under way
// or there is no room. It reports whether it has taken the file.
func (b *background) start(p journal.Path, info beneath.Info, f *os.File) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.known[p]; ok {
		return false
	}
	if len(b.known) >= maxLarge {
		for q, j := range b.known {
			if j.done { // nobody came for it
				delete(b.known, q)
			}
		}
	}
	if len(b.known) >= maxLarge {
		return false
	}
	j := job{path: p, info: info, file: f}
	b.known[p] = j
	b.jobs <- j // never blocks: it has room for all that are known
	return true
}

// take returns the result for a file, once; false if there is none (yet).
func (b *background) take(p journal.Path) (job, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	j, ok := b.known[p]
	if !ok || !j.done {
		return job{}, false
	}
	delete(b.known, p)
	return j, true
}

// run hashes until ctx ends.
func (b *background) run(ctx context.Context) {
	h := newHasher()
	for {
		select {
		case <-ctx.Done():
			b.abandon()
			return
		case j := <-b.jobs:
			j.id, j.err = h.file(ctx, j.file, j.info.Facts.Size)
			if errors.Is(j.err, io.ErrUnexpectedEOF) || j.err == nil && !unchanged(j.file, j.info) {
				j.err = errChanged
			}
			_ = j.file.Close()
			j.done = true
			b.mu.Lock()
			b.known[j.path] = j
			b.mu.Unlock()
			b.dirty.name(j.path)
		}
	}
}

// abandon closes what is left.
func (b *background) abandon() {
	for {
		select {
		case j := <-b.jobs:
			_ = j.file.Close()
		default:
			return
		}
	}
}
