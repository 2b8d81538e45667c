package beneath

import (
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/mailtwin/mailtwin/journal"
)

const (
	resolveBeneath = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS
	// Without O_NOFOLLOW, RESOLVE_NO_SYMLINKS refuses a link at the end of a
	// path with ELOOP; with it, it would be no directory like any other file.
	openDirectory = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC
)

// Root is a store's root directory, held open.
type Root struct {
	path    string
	buffers sync.Pool // of *listing

	mu      sync.RWMutex // held while fd is in use, so that Reopen closes no descriptor under a call
	fd      int          // -1 after Close
	locked  bool         // see Lock
	parents []int        // what keeps them locked for it

	device atomic.Uint64 // see Device
}

// Open opens the directory dir as a root. Links in dir are followed.
func Open(dir string) (*Root, error) {
	r := &Root{path: dir, fd: -1}
	r.buffers.New = func() any { return newListing() }
	if err := r.Reopen(); err != nil {
		return nil, err
	}
	return r, nil
}

// Reopen looks the path given to Open up anew, for a store that was mounted
// again or replaced. On an error the root stays as it was. Handles that were
// opened before go on meaning what they meant. A closed root is open again.
func (r *Root) Reopen() error {
	fd := -1
	err := restart(func() (err error) {
		fd, err = unix.Open(r.path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return fmt.Errorf("open store %q: %w", r.path, resolved(err))
	}
	// Tell a kernel or a sandbox without openat2 from a fault in the store.
	probe, err := openBeneath(fd, ".", openDirectory)
	if err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("open store %q with openat2, which needs Linux 5.8: %w", r.path, err)
	}
	_ = unix.Close(probe)
	var is unix.Stat_t
	if err := restart(func() error { return unix.Fstat(fd, &is) }); err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("open store %q: %w", r.path, err)
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	if r.locked {
		if r.fd >= 0 {
			_ = unix.Flock(r.fd, unix.LOCK_UN) // it may be the same directory
		}
		parents, err := lock(fd)
		if err != nil {
			_ = unix.Close(fd)
			_ = tryLock(r.fd, unix.LOCK_EX)
			return fmt.Errorf("open store %q: %w", r.path, err)
		}
		release(r.parents)
		r.parents = parents
	}
	if r.fd >= 0 {
		_ = unix.Close(r.fd)
	}
	r.fd = fd
	r.device.Store(is.Dev)
	return nil
}

// Device returns the number of the device that the root which was opened last is on.
// It never waits: a file system that hangs is told from the one that took its place.
func (r *Root) Device() uint64 { return r.device.Load() }

// Close closes the root. Handles opened beneath it stay open; the methods of
// the root fail with EBADF from then on.
func (r *Root) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fd < 0 {
		return nil
	}
	err := unix.Close(r.fd)
	release(r.parents)
	r.fd, r.parents = -1, nil
	if err != nil {
		return fmt.Errorf("close store %q: %w", r.path, err)
	}
	return nil
}

// Path returns the path that was given to Open.
func (r *Root) Path() string { return r.path }

// Dir opens the directory p; the caller closes it. Errors: fs.ErrNotExist,
// ErrNotDirectory, ErrEscapes where p has a symbolic link in it,
// journal.ErrPath.
func (r *Root) Dir(p journal.Path) (*Dir, error) {
	fd, err := r.open(p, openDirectory)
	if err != nil {
		return nil, fmt.Errorf("open directory %q: %w", p, err)
	}
	return &Dir{root: r, path: p, fd: fd}, nil
}

// Stat looks at p, and if p is a symbolic link, at the link. Errors are those
// of Dir.
func (r *Root) Stat(p journal.Path) (Info, error) {
	fd, err := r.open(p, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	if err != nil {
		return Info{}, fmt.Errorf("stat %q: %w", p, err)
	}
	defer unix.Close(fd)
	info, err := stat(fd, "")
	if err != nil {
		return Info{}, fmt.Errorf("stat %q: %w", p, err)
	}
	return info, nil
}

// SyncFS makes everything durable that was written to the file system of the
// root before the call, and reports if any write to it has failed since the
// last call. What is mounted beneath the root is not included.
func (r *Root) SyncFS() error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if err := restart(func() error { return unix.Syncfs(r.fd) }); err != nil {
		return fmt.Errorf("sync the file system of %q: %w", r.path, err)
	}
	return nil
}

func (r *Root) open(p journal.Path, flags int) (int, error) {
	if _, err := journal.ParsePath(string(p)); err != nil {
		return -1, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	return openBeneath(r.fd, string(p), flags)
}

// openBeneath opens path, which may lead through directories beneath dirfd
// only, without following a link.
func openBeneath(dirfd int, path string, flags int) (int, error) {
	how := unix.OpenHow{Flags: uint64(flags), Resolve: resolveBeneath}
	for {
		fd, err := unix.Openat2(dirfd, path, &how)
		if err == nil {
			return fd, nil
		}
		if err != unix.EINTR && err != unix.EAGAIN {
			return -1, resolved(err)
		}
	}
}
