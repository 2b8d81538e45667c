package replicator

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/mailtwin/mailtwin/journal"
)

// glances look into the store for whoever asks how the node is. None waits long for an
// array that does not answer, and there is one at a time: threads that hang do not
// grow in number. Its methods may be called concurrently.
type glances struct {
	lstat    func(path string) error
	patience time.Duration

	mu      sync.Mutex
	running *glance // nil: none is
}

// newGlances returns those of a node.
func newGlances() *glances { return &glances{lstat: lstat, patience: askPatience} }

// glance is one that goes on, or has ended.
type glance struct {
	path string
	done chan struct{}
	err  error // valid when done is closed
	late bool  // somebody has waited for it in vain. Guarded by glances.mu
}

// errNoAnswer says that the store takes too long to answer.
var errNoAnswer = errors.New("the store does not answer")

// at returns what a look at a path says. While one takes too long the others are not
// waited for at all: there may be many paths to look at.
func (g *glances) at(path string) error {
	ctx, cancel := context.WithTimeout(context.Background(), g.patience)
	defer cancel()
	for {
		is, late := g.begin(path)
		if late {
			return errNoAnswer
		}
		select {
		case <-is.done:
			if is.path == path {
				return is.err
			}
		case <-ctx.Done():
			g.mu.Lock()
			is.late = true
			g.mu.Unlock()
			return errNoAnswer
		}
	}
}

// begin begins a look at a path, unless one goes on, and reports whether that is late.
func (g *glances) begin(path string) (is *glance, late bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.running == nil {
		is := &glance{path: path, done: make(chan struct{})}
		g.running = is
		go func() {
			is.err = g.lstat(path)
			g.mu.Lock()
			defer g.mu.Unlock()
			g.running = nil
			close(is.done)
		}()
	}
	return g.running, g.running.late
}

// lstat tells whether something is at a path.
func lstat(path string) error {
	_, err := os.Lstat(path)
	return err
}

// keeps reports whether something is at a path of the store, as far as anybody knows:
// what cannot be looked at now is there still.
func (n *node) keeps(p journal.Path) bool {
	return !errors.Is(n.glances.at(filepath.Join(n.cfg.Store.Path, string(p))), fs.ErrNotExist)
}
