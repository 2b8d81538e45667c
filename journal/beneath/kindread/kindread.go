package kindread

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/mailtwin/mailtwin/journal/beneath"
)

// Manner is how files are read, and what is known of their file systems. It
// may be used concurrently. Use a pointer; the zero value is ready.
type Manner struct {
	idle atomic.Bool

	mu      sync.Mutex
	without map[uint64]bool // devices of file systems that do not know RWF_DONTCACHE
}

// maxFileSystems bounds what is remembered of file systems.
const maxFileSystems = 1024

// SetIdle makes reads go behind everybody else's, if the scheduler of the
// disks honours that.
func (m *Manner) SetIdle(idle bool) { m.idle.Store(idle) }

// knows reports whether a file system may know RWF_DONTCACHE.
func (m *Manner) knows(device uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.without[device]
}

// forget remembers that a file system does not know it.
func (m *Manner) forget(device uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.without == nil || len(m.without) >= maxFileSystems {
		m.without = make(map[uint64]bool)
	}
	m.without[device] = true
}

// Reader reads one file from its beginning. It must not be used concurrently.
type Reader struct {
	manner *Manner
	file   *os.File
	device uint64
	direct bool // RWF_DONTCACHE
	at     int64
}

// Reader returns a reader of an open file, which stays the caller's.
func (m *Manner) Reader(file *os.File) (*Reader, error) {
	r := &Reader{manner: m, file: file}
	err := beneath.Control(r.file, func(fd int) error {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return err
		}
		r.device = st.Dev
		// It is advice; where it is not taken, more is read than was asked for.
		_ = unix.Fadvise(fd, 0, 0, unix.FADV_RANDOM)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", file.Name(), err)
	}
	r.direct = m.knows(r.device)
	return r, nil
}

// Cached reports whether the next n bytes are in memory, so that no disk is
// asked for them. Where that cannot be known they are not.
func (r *Reader) Cached(n int) bool {
	cached := false
	_ = beneath.Control(r.file, func(fd int) error { // then it is not known
		have, all, err := resident(fd, r.at, int64(n))
		cached = err == nil && have == all
		return nil
	})
	return cached
}

// Read implements io.Reader.
func (r *Reader) Read(b []byte) (n int, err error) {
	if len(b) == 0 {
		return 0, nil
	}
	err = beneath.Control(r.file, func(fd int) error {
		if r.manner.idle.Load() {
			defer lowerPriority()()
		}
		n, err = r.read(fd, b)
		return err
	})
	switch {
	case err != nil:
		return 0, &os.PathError{Op: "read", Path: r.file.Name(), Err: err}
	case n == 0:
		return 0, io.EOF
	}
	r.at += int64(n)
	return n, nil
}

func (r *Reader) read(fd int, b []byte) (int, error) {
	if r.direct {
		n, err := again(func() (int, error) { return unix.Preadv2(fd, [][]byte{b}, r.at, unix.RWF_DONTCACHE) })
		if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
			return n, err
		}
		r.direct = false
		r.manner.forget(r.device)
	}
	before := look(fd, r.at, int64(len(b)))
	n, err := again(func() (int, error) { return unix.Pread(fd, b, r.at) })
	before.dropOthers(fd, r.at+int64(n))
	return n, err
}

// again makes a call again that was interrupted by a signal.
func again(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if !errors.Is(err, unix.EINTR) {
			return max(n, 0), err
		}
	}
}

// The words of ioprio_set(2).
const (
	ioprioWhoProcess = 1
	ioprioClassShift = 13
	ioprioIdle       = 3
)

// lowerPriority lets the reads of this thread go behind all others, until the
// returned function is called.
func lowerPriority() (restore func()) {
	runtime.LockOSThread()
	set := func(class uintptr) {
		// Refused or unknown, reads have the priority of others.
		_, _, _ = unix.RawSyscall(unix.SYS_IOPRIO_SET, ioprioWhoProcess, 0, class<<ioprioClassShift)
	}
	set(ioprioIdle)
	return func() {
		set(0) // none of its own: that of its nice value
		runtime.UnlockOSThread()
	}
}
