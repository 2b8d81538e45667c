package replicator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
)

// probePatience is how long a store may take to write a small file: an array
// that is about to fail retries for long.
const probePatience = 10 * time.Second

// probeName is the file that is written, in the staging directory.
const probeName = "probe"

// trial tries whether a store can still be written and read, and remembers what
// came of it: one part of the node may find out, and the next be asked. Directories
// that are in memory can be listed long after the array is gone, so that only a
// file which is made durable tells. A store that is full is in order.
type trial struct {
	mu      sync.Mutex
	running *attempt // hangs for as long as the array does; there is never a second one
	broken  string   // why the store could not be written and read when that was tried last; "": it could
}

// attempt is one that goes on, or has ended.
type attempt struct {
	done chan struct{}
	err  error // valid when done is closed
}

// try tries it now.
func (t *trial) try(ctx context.Context, root *beneath.Root) error {
	ctx, cancel := context.WithTimeout(ctx, probePatience)
	defer cancel()
	a := t.begin(root)
	var err error
	select {
	case <-a.done:
		if err = a.err; errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
			err = nil
		}
	case <-ctx.Done():
		err = fmt.Errorf("a small file could not be written into the store: %w", context.Cause(ctx))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.broken = ""; err != nil {
		t.broken = err.Error()
	}
	return err
}

// begin begins an attempt, unless one goes on.
func (t *trial) begin(root *beneath.Root) *attempt {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running == nil {
		a := &attempt{done: make(chan struct{})}
		t.running = a
		go func() {
			a.err = tryStore(root)
			t.mu.Lock()
			defer t.mu.Unlock()
			t.running = nil
			close(a.done)
		}()
	}
	return t.running
}

// trouble says why the store cannot be written and read; "" if it could when it
// was tried last. One that could not be is tried again.
func (t *trial) trouble(ctx context.Context, root *beneath.Root) string {
	t.mu.Lock()
	broken := t.broken
	t.mu.Unlock()
	if broken == "" || t.try(ctx, root) == nil {
		return ""
	}
	return "it cannot be written and read: " + broken
}

func tryStore(root *beneath.Root) (err error) {
	top, err := root.Dir(journal.Root)
	if err != nil {
		return err
	}
	defer top.Close()
	if err := top.Mkdir(mailstore.Staging, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	dir, err := top.Dir(mailstore.Staging)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Remove(probeName); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := dir.Create(probeName)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), dir.Remove(probeName)) }()
	text := bytes.Repeat([]byte("mailtwin"), 512)
	if _, err := f.Write(text); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	got := make([]byte, len(text))
	if _, err := f.ReadAt(got, 0); err != nil {
		return err
	}
	if !bytes.Equal(got, text) {
		return errors.New("what was written into the store is read back otherwise")
	}
	return nil
}
