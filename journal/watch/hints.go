package watch

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/fsnotify/fsnotify"

	"github.com/mailtwin/mailtwin/journal"
)

// Hint says where something may have changed.
type Hint struct {
	Path journal.Path // the name that may have changed
	Lost bool         // hints were lost: everything may have changed. Path is nothing
	Err  error        // why, if it was no mere overflow
}

// HintSource tells of changes in the directories that were added. It may lose,
// double and delay hints; the observer depends on none of them. Add and Remove may
// be called concurrently.
type HintSource interface {
	// Add watches the names in dir, but not what is below its subdirectories.
	// What happens after Add has returned is hinted. Adding a directory again
	// is allowed. syscall.ENOSPC says that no more directories can be watched.
	// A watch may end when the directory is renamed; its name is hinted then.
	Add(dir journal.Path) error
	// Remove ends the watch of a directory that was called dir when it was
	// added; it is nothing if there is none.
	Remove(dir journal.Path)
	// Hints returns the channel of hints; it is always the same one, and it is
	// closed after Close.
	Hints() <-chan Hint
	// Close ends all watches.
	Close() error
}

// hintBuffer is how many hints may wait between the goroutine that reads the
// kernel's queue and the one that marks names; marking never blocks.
const hintBuffer = 4096

// notifier is the HintSource over fsnotify (inotify).
type notifier struct {
	root    string
	watcher *fsnotify.Watcher
	hints   chan Hint
	done    chan struct{}
}

// Notify returns the hints of the kernel (inotify) for the store at root.
func Notify(root string) (HintSource, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("watch %q: %w", root, err)
	}
	w, err := fsnotify.NewBufferedWatcher(hintBuffer)
	if err != nil {
		return nil, fmt.Errorf("watch %q: %w", root, err)
	}
	n := &notifier{root: abs, watcher: w, hints: make(chan Hint, hintBuffer), done: make(chan struct{})}
	go n.translate()
	return n, nil
}

func (n *notifier) Add(dir journal.Path) error {
	if err := n.watcher.Add(n.path(dir)); err != nil {
		return fmt.Errorf("watch directory %q: %w", dir, err)
	}
	return nil
}

func (n *notifier) Remove(dir journal.Path) {
	// The only errors are that there is no such watch, or not any more.
	_ = n.watcher.Remove(n.path(dir))
}

func (n *notifier) Hints() <-chan Hint { return n.hints }

func (n *notifier) Close() error {
	close(n.done)
	if err := n.watcher.Close(); err != nil {
		return fmt.Errorf("end the watches of %q: %w", n.root, err)
	}
	return nil
}

func (n *notifier) path(dir journal.Path) string {
	if dir == journal.Root {
		return n.root
	}
	return n.root + "/" + string(dir)
}

// translate makes hints of events until the watcher is closed.
func (n *notifier) translate() {
	defer close(n.hints)
	events, errs := n.watcher.Events, n.watcher.Errors
	for events != nil {
		var h Hint
		select {
		case e, ok := <-events:
			if !ok {
				events = nil
				continue
			}
			if h, ok = n.hint(e.Name); !ok {
				continue
			}
		case err, ok := <-errs:
			if !ok {
				errs = nil
				continue
			}
			if errors.Is(err, syscall.EINVAL) {
				// fsnotify has ended a watch that the kernel had ended before, of a
				// directory that was removed: nothing is lost.
				continue
			}
			h = Hint{Lost: true}
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				h.Err = err
			}
		}
		select {
		case n.hints <- h:
		case <-n.done:
			return
		}
	}
}

func (n *notifier) hint(name string) (Hint, bool) {
	if name == n.root {
		return Hint{Path: journal.Root}, true
	}
	rel, ok := strings.CutPrefix(name, n.root+"/")
	if !ok {
		return Hint{}, false
	}
	p, err := journal.ParsePath(rel)
	return Hint{Path: p}, err == nil
}
