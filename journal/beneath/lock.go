package beneath

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxParents bounds how far up a store's parents are locked.
const maxParents = 64

// Lock keeps the directory for this root until it is closed, and the one that
// Reopen finds too: another root that asks for it, in this process or in another
// one, gets ErrLocked. One that asks for a directory in it gets ErrInside, and one
// that asks for a directory that it is in, ErrAround. It says nothing to those that
// do not ask. A file system without locks lets everybody have it, and of a parent
// that may not be read, or is mounted elsewhere too, nothing is known. Locks of other
// users' programs are none: whoever may read a directory can have one.
func (r *Root) Lock() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	parents, err := lock(r.fd)
	if err != nil {
		return fmt.Errorf("lock store %q: %w", r.path, err)
	}
	release(r.parents)
	r.locked, r.parents = true, parents
	return nil
}

// lock locks a directory for one alone, and what it is in for all that have a store
// somewhere in there. It returns what keeps the latter locked.
func lock(fd int) (parents []int, err error) {
	if err := lockOwn(fd); err != nil {
		return nil, err
	}
	for dir := fd; len(parents) < maxParents; {
		up, err := parent(dir)
		if err != nil || same(dir, up) {
			release([]int{up})
			break
		}
		parents, dir = append(parents, up), up
		if !tryLock(up, unix.LOCK_SH) && heldByDaemon(up) {
			err := fmt.Errorf("%w, %q", ErrInside, pathOf(up))
			release(parents)
			_ = unix.Flock(fd, unix.LOCK_UN)
			return nil, err
		}
	}
	return parents, nil
}

// lockOwn locks the directory itself. Where somebody else has a lock, that is no
// daemon, it makes do with a shared one if it can: other daemons see that too.
func lockOwn(fd int) error {
	if tryLock(fd, unix.LOCK_EX) {
		return nil
	}
	held := heldByDaemon(fd)
	if !held && tryLock(fd, unix.LOCK_EX) {
		return nil // it is gone by now
	}
	shared := tryLock(fd, unix.LOCK_SH)
	switch {
	case !held:
		return nil
	case !shared:
		return ErrLocked
	}
	_ = unix.Flock(fd, unix.LOCK_UN)
	return ErrAround
}

// tryLock is false if somebody has a lock that does not allow this one. Whatever
// else it is, there are no locks to be had.
func tryLock(fd, how int) bool {
	return restart(func() error { return unix.Flock(fd, how|unix.LOCK_NB) }) != unix.EWOULDBLOCK
}

// parent opens the directory that a directory is in. One that may not be read can
// be gone through all the same.
func parent(fd int) (up int, err error) {
	for _, how := range []int{openDirectory, openDirectory | unix.O_PATH} {
		err = restart(func() (err error) {
			up, err = unix.Openat(fd, "..", how, 0)
			return err
		})
		if err == nil {
			return up, nil
		}
	}
	return -1, err
}

// same reports whether two directories are one: the parent of the root is itself.
func same(a, b int) bool {
	var s, t unix.Stat_t
	return unix.Fstat(a, &s) == nil && unix.Fstat(b, &t) == nil && s.Dev == t.Dev && s.Ino == t.Ino
}

// pathOf returns the path of a directory, for people.
func pathOf(fd int) string {
	path, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return "a directory above"
	}
	return path
}

// release gives locks back.
func release(fds []int) {
	for _, fd := range fds {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}
