package replicator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
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

// probe finds out whether a store can still be written and read. Directories
// that are in memory can be listed long after the array is gone, so that only a
// file which is made durable tells. A store that is full is in order.
func probe(ctx context.Context, root *beneath.Root) error {
	ctx, cancel := context.WithTimeout(ctx, probePatience)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- tryStore(root) }()
	select {
	case err := <-done:
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
			return nil
		}
		return err
	case <-ctx.Done():
		return fmt.Errorf("a small file could not be written into the store: %w", context.Cause(ctx))
	}
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
