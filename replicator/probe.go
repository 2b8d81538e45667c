package replicator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
)

// probePatience is how long a store may take to write a small file: an array
// that is about to fail retries for long.
const probePatience = 10 * time.Second

// askPatience is how long an answer to how the store is waits for the file. It is
// far below what peers wait for an answer.
const askPatience = time.Second

// suspectInterval is how long a store that is only suspected, and could be written and
// read, is not tried again, unless there is more that is suspicious: a probe is more
// work for an array that is not well, and each peer asks every few seconds.
const suspectInterval = 30 * time.Second

// probeName is the file that is written, in the staging directory.
const probeName = "probe"

// trial tries whether a store can still be written and read, and remembers what
// came of it: one part of the node may find out, and the next be asked. Directories
// that are in memory can be listed long after the array is gone, so that only a
// file which is made durable tells. A store that is full is in order.
type trial struct {
	mu sync.Mutex
	// running are the attempts that go on, by device. One hangs for as long as the array
	// does, or for ever if that was unmounted by force: on a device there is never a
	// second one, and what it comes to matters only while it is the one asked for last.
	running map[uint64]*attempt
	asked   *attempt
	broken  string // why the store could not be written and read when that was tried last; "": it could

	suspected  time.Time // when the store was tried last because it was suspected
	suspicious int       // how much was suspicious when that was asked last
}

// attempt is one that goes on, or has ended.
type attempt struct {
	device uint64
	done   chan struct{}
	err    error // valid when done is closed
}

// maxTried is how many devices are tried at once: all but the last hang, and each
// keeps a thread.
const maxTried = 4

// try tries it now.
func (t *trial) try(ctx context.Context, root *beneath.Root) error {
	ctx, cancel := context.WithTimeout(ctx, probePatience)
	defer cancel()
	a := t.begin(root)
	select {
	case <-a.done:
		return a.err
	case <-ctx.Done():
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return context.Cause(ctx)
		}
		t.noteHung(a)
		return hangs(context.Cause(ctx))
	}
}

func hangs(why error) error {
	return fmt.Errorf("a small file could not be written into the store: %w", why)
}

// begin begins an attempt, unless one goes on there. What comes of it is noted, and
// that it takes too long, though nobody waits for it.
func (t *trial) begin(root *beneath.Root) *attempt {
	t.mu.Lock()
	defer t.mu.Unlock()
	device := root.Device()
	if a := t.running[device]; a != nil {
		t.asked = a
	}
	if t.running[device] != nil || len(t.running) >= maxTried {
		return t.asked
	}
	a := &attempt{device: device, done: make(chan struct{})}
	if t.running == nil {
		t.running = make(map[uint64]*attempt)
	}
	t.running[device], t.asked = a, a
	go func() {
		err := tryStore(root)
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
			err = nil
		}
		t.end(a, err)
	}()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), probePatience)
		defer cancel()
		select {
		case <-a.done:
		case <-ctx.Done():
			t.noteHung(a)
		}
	}()
	return a
}

// end remembers what came of an attempt.
func (t *trial) end(a *attempt, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a.err = err
	if t.asked == a {
		if t.broken = ""; err != nil {
			t.broken = err.Error()
		}
	}
	delete(t.running, a.device)
	close(a.done)
}

// noteHung remembers that an attempt takes too long, if it still does.
func (t *trial) noteHung(a *attempt) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.asked == a && t.running[a.device] == a {
		t.broken = hangs(context.DeadlineExceeded).Error()
	}
}

// trouble says why the store cannot be written and read; "" if it could when it
// was tried last. One that could not be is tried again, as is, now and then, one of
// which so many files are suspicious; but it is not waited for as long as it may take:
// whoever asks has others to ask.
func (t *trial) trouble(ctx context.Context, root *beneath.Root, suspicious int, now time.Time) string {
	if broken := t.last(); broken == "" && !t.suspects(suspicious, now) {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	a := t.begin(root)
	select {
	case <-a.done:
	case <-ctx.Done():
	}
	if broken := t.last(); broken != "" {
		return "it cannot be written and read: " + broken
	}
	return ""
}

// suspects reports whether to try a store of which so many files are suspicious, and
// could be written and read before.
func (t *trial) suspects(suspicious int, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	more := suspicious > t.suspicious
	t.suspicious = suspicious
	if suspicious == 0 || !more && now.Sub(t.suspected).Abs() < suspectInterval {
		return false
	}
	t.suspected = now
	return true
}

// last returns what came of the last attempt that has ended, or takes too long.
func (t *trial) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.broken
}

// looks are looks at the place of a store. One hangs if the array does, for ever if that
// was unmounted by force, and keeps a thread; who looks again does not wait for it, for
// the store may have been mounted anew since.
type looks struct{ going atomic.Int32 }

// maxLooks is how many go on at once.
const maxLooks = 32

func (l *looks) await(ctx context.Context, look func() error) error {
	if l.going.Add(1) > maxLooks {
		l.going.Add(-1)
		return fmt.Errorf("%d looks at the store hang; if it can be listed now, restart the daemon", maxLooks)
	}
	return await(ctx, func() error {
		defer l.going.Add(-1)
		return look()
	})
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
	defer func() {
		removed := dir.Remove(probeName)
		if errors.Is(removed, fs.ErrNotExist) {
			removed = nil // a mirror empties the directory when a stream begins
		}
		err = errors.Join(err, f.Close(), removed)
	}()
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
