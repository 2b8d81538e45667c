package beneath

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/mailtwin/mailtwin/journal"
)

// Dir is an open directory of a store. Its methods take single names; one that
// is none (empty, "." or "..", with a slash or a NUL, above journal.MaxName) is
// refused with journal.ErrPath.
type Dir struct {
	root *Root
	path journal.Path // what it was called when it was opened
	fd   int
}

// Close closes the handle.
func (d *Dir) Close() error {
	if err := unix.Close(d.fd); err != nil {
		return fmt.Errorf("close directory %q: %w", d.path, err)
	}
	return nil
}

// Path returns the path by which the directory was opened.
func (d *Dir) Path() journal.Path { return d.path }

// Dir opens the directory name; the caller closes it. Errors are those of
// Root.Dir.
func (d *Dir) Dir(name string) (*Dir, error) {
	if err := checkName(name); err != nil {
		return nil, d.fail("open directory", name, err)
	}
	fd, err := openBeneath(d.fd, name, openDirectory)
	if err != nil {
		return nil, d.fail("open directory", name, err)
	}
	return &Dir{root: d.root, path: d.path.Join(name), fd: fd}, nil
}

// Info looks at the directory itself.
func (d *Dir) Info() (Info, error) {
	info, err := stat(d.fd, "")
	if err != nil {
		return Info{}, fmt.Errorf("stat directory %q: %w", d.path, err)
	}
	return info, nil
}

// Stat looks at name with one call of statx.
func (d *Dir) Stat(name string) (Info, error) {
	if err := checkName(name); err != nil {
		return Info{}, d.fail("stat", name, err)
	}
	info, err := stat(d.fd, name)
	if err != nil {
		return Info{}, d.fail("stat", name, err)
	}
	return info, nil
}

// Readlink returns the target of the symbolic link name; ErrNotSymlink if it
// is none.
func (d *Dir) Readlink(name string) (string, error) {
	if err := checkName(name); err != nil {
		return "", d.fail("read link", name, err)
	}
	buf := make([]byte, journal.MaxTarget+1)
	n := 0
	err := restart(func() (err error) {
		n, err = unix.Readlinkat(d.fd, name, buf)
		return err
	})
	switch {
	case err == unix.EINVAL:
		return "", d.fail("read link", name, fmt.Errorf("%w: %w", ErrNotSymlink, err))
	case err != nil:
		return "", d.fail("read link", name, err)
	case n > journal.MaxTarget:
		return "", d.fail("read link", name, unix.ENAMETOOLONG)
	}
	return string(buf[:n]), nil
}

// Open opens the regular file name for reading, without changing its atime
// where that is permitted. Anything else is refused with ErrNotRegular; a pipe
// or a socket does not block it.
func (d *Dir) Open(name string) (*os.File, error) {
	if err := checkName(name); err != nil {
		return nil, d.fail("open", name, err)
	}
	fd, t, err := d.openThing(name)
	if err != nil {
		return nil, d.fail("open", name, err)
	}
	if t != journal.TypeFile {
		_ = unix.Close(fd)
		return nil, d.fail("open", name, ErrNotRegular)
	}
	return os.NewFile(uintptr(fd), string(d.path.Join(name))), nil
}

// Edit opens the regular file name for reading and for writing in place, as it
// is. Anything else is refused with ErrNotRegular; a pipe or a socket does not
// block it.
func (d *Dir) Edit(name string) (*os.File, error) {
	if err := checkName(name); err != nil {
		return nil, d.fail("open", name, err)
	}
	fd, t, err := d.openFor(name, unix.O_RDWR)
	switch {
	case err == unix.EISDIR:
		return nil, d.fail("open", name, ErrNotRegular)
	case err != nil:
		return nil, d.fail("open", name, err)
	case t != journal.TypeFile:
		_ = unix.Close(fd)
		return nil, d.fail("open", name, ErrNotRegular)
	}
	return os.NewFile(uintptr(fd), string(d.path.Join(name))), nil
}

// Create makes the regular file name, empty, mode 0600, and opens it for
// writing and reading. It fails with fs.ErrExist if there is anything of that
// name, a dangling link included.
func (d *Dir) Create(name string) (*os.File, error) {
	if err := checkName(name); err != nil {
		return nil, d.fail("create", name, err)
	}
	fd := -1
	err := restart(func() (err error) {
		fd, err = unix.Openat(d.fd, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		return err
	})
	if err != nil {
		return nil, d.fail("create", name, err)
	}
	return os.NewFile(uintptr(fd), string(d.path.Join(name))), nil
}

// Sync makes the directory durable: the names that were made, changed and
// removed in it, and its attributes.
func (d *Dir) Sync() error {
	if err := restart(func() error { return unix.Fsync(d.fd) }); err != nil {
		return fmt.Errorf("sync directory %q: %w", d.path, err)
	}
	return nil
}

// SyncFS does what Root.SyncFS does, for the file system of this directory.
// It cannot tell of writes that failed before the handle was opened.
func (d *Dir) SyncFS() error {
	if err := restart(func() error { return unix.Syncfs(d.fd) }); err != nil {
		return fmt.Errorf("sync the file system of %q: %w", d.path, err)
	}
	return nil
}

// openThing opens a regular file or a directory for reading, and says which it
// is. A symbolic link, a socket or a device is refused with ErrNotRegular; a
// pipe has type 0.
func (d *Dir) openThing(name string) (int, journal.Type, error) {
	return d.openFor(name, unix.O_RDONLY)
}

// openFor is openThing with another mode of access.
func (d *Dir) openFor(name string, access int) (int, journal.Type, error) {
	flags := access | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC | unix.O_NOCTTY
	fd, err := d.openat(name, flags|unix.O_NOATIME)
	if err == unix.EPERM {
		// Only a file's owner and root may leave its atime alone.
		fd, err = d.openat(name, flags)
	}
	switch err {
	case nil:
	case unix.ELOOP, unix.ENXIO, unix.ENODEV:
		return -1, 0, fmt.Errorf("%w: %w", ErrNotRegular, err)
	default:
		return -1, 0, err
	}
	var st unix.Stat_t
	if err := restart(func() error { return unix.Fstat(fd, &st) }); err != nil {
		_ = unix.Close(fd)
		return -1, 0, err
	}
	return fd, typeOf(uint16(st.Mode)), nil
}

func (d *Dir) openat(name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(d.fd, name, flags, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

func (d *Dir) fail(doing, name string, err error) error {
	return fmt.Errorf("%s %q: %w", doing, d.path.Join(name), err)
}
