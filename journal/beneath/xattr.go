package beneath

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mailtwin/mailtwin/journal"
)

// Xattrs returns the extended attributes of the file or directory name that
// are replicated (user.* and the POSIX access lists), in the order of their
// names. Of anything else, and where the file system has none, it returns nil.
// If there are more than an entry may hold, it returns as many of the first as
// fit, and ErrXattrs.
func (d *Dir) Xattrs(name string) ([]journal.Xattr, error) {
	if err := checkName(name); err != nil {
		return nil, d.fail("read attributes of", name, err)
	}
	fd, t, err := d.openThing(name)
	if errors.Is(err, ErrNotRegular) {
		return nil, nil
	}
	if err != nil {
		return nil, d.fail("read attributes of", name, err)
	}
	defer unix.Close(fd)
	if t == 0 {
		return nil, nil
	}
	xattrs, err := readXattrs(fd)
	if err != nil {
		return xattrs, d.fail("read attributes of", name, err)
	}
	return xattrs, nil
}

// FileXattrs does what Dir.Xattrs does, for an open file.
func FileXattrs(f *os.File) (xattrs []journal.Xattr, err error) {
	err = Control(f, func(fd int) error {
		xattrs, err = readXattrs(fd)
		return err
	})
	if err != nil {
		return xattrs, fmt.Errorf("read attributes of %q: %w", f.Name(), err)
	}
	return xattrs, nil
}

// OwnXattrs does what Xattrs does, for the directory itself.
func (d *Dir) OwnXattrs() ([]journal.Xattr, error) {
	xattrs, err := readXattrs(d.fd)
	if err != nil {
		return xattrs, fmt.Errorf("read attributes of directory %q: %w", d.path, err)
	}
	return xattrs, nil
}

func replicatedXattr(name string) bool {
	return strings.HasPrefix(name, "user.") ||
		name == "system.posix_acl_access" || name == "system.posix_acl_default"
}

func readXattrs(fd int) ([]journal.Xattr, error) {
	names, err := xattrNames(fd)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	var xattrs []journal.Xattr
	room := journal.MaxXattrSize
	for _, name := range names {
		value, err := xattrValue(fd, name)
		if err == unix.ENODATA || err == unix.ENOTSUP {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("attribute %q: %w", name, err)
		}
		room -= len(name) + len(value)
		if room < 0 || len(xattrs) == journal.MaxXattrs {
			return xattrs, fmt.Errorf("%w: more than %d or above %d bytes", ErrXattrs, journal.MaxXattrs, journal.MaxXattrSize)
		}
		xattrs = append(xattrs, journal.Xattr{Name: name, Value: value})
	}
	return xattrs, nil
}

// xattrNames returns the replicated names, sorted; none where the file system
// knows no extended attributes.
func xattrNames(fd int) ([]string, error) {
	list, err := grow(func(buf []byte) (int, error) { return unix.Flistxattr(fd, buf) })
	if err == unix.ENOTSUP || err == unix.ENOSYS {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list attributes: %w", err)
	}
	var names []string
	for name := range bytes.SplitSeq(list, []byte{0}) {
		if replicatedXattr(string(name)) {
			names = append(names, string(name))
		}
	}
	slices.Sort(names)
	return names, nil
}

func xattrValue(fd int, name string) ([]byte, error) {
	return grow(func(buf []byte) (int, error) { return unix.Fgetxattr(fd, name, buf) })
}

// grow calls read with a buffer that is large enough. What is read may become
// larger between two calls, but the kernel has no list or value above 64 KiB.
func grow(read func([]byte) (int, error)) ([]byte, error) {
	var small [256]byte
	buf := small[:]
	for {
		n, err := read(buf)
		switch {
		case err == unix.EINTR:
		case err == unix.ERANGE && len(buf) < journal.MaxXattrSize:
			buf = make([]byte, journal.MaxXattrSize)
		case err != nil:
			return nil, err
		default:
			return bytes.Clone(buf[:n]), nil
		}
	}
}

// writeXattrs makes the replicated attributes of fd those of want. It changes
// only what differs, and goes on after ErrXattrs.
func writeXattrs(fd int, want []journal.Xattr) error {
	names, err := xattrNames(fd)
	if err != nil {
		return err
	}
	var refused error
	for _, name := range names {
		wanted := slices.ContainsFunc(want, func(x journal.Xattr) bool { return x.Name == name })
		if wanted {
			continue
		}
		err := restart(func() error { return unix.Fremovexattr(fd, name) })
		if err == nil || err == unix.ENODATA {
			continue
		}
		if err = xattrFailure(fd, name, err); !errors.Is(err, ErrXattrs) {
			return err
		}
		refused = errors.Join(refused, err)
	}
	for _, x := range want {
		err := writeXattr(fd, x, slices.Contains(names, x.Name))
		if err != nil && !errors.Is(err, ErrXattrs) {
			return err
		}
		refused = errors.Join(refused, err)
	}
	return refused
}

func writeXattr(fd int, x journal.Xattr, there bool) error {
	if !replicatedXattr(x.Name) {
		return fmt.Errorf("%w: %q is not one that is replicated", ErrXattrs, x.Name)
	}
	if there {
		if value, err := xattrValue(fd, x.Name); err == nil && bytes.Equal(value, x.Value) {
			return nil
		}
	}
	if err := restart(func() error { return unix.Fsetxattr(fd, x.Name, x.Value, 0) }); err != nil {
		return xattrFailure(fd, x.Name, err)
	}
	return nil
}

// xattrFailure tells what the file system will never take from what may pass.
func xattrFailure(fd int, name string, err error) error {
	never := false
	switch err {
	case unix.ENOTSUP, unix.ENOSYS, unix.EPERM, unix.EACCES, unix.E2BIG, unix.ERANGE, unix.EINVAL:
		never = true
	case unix.ENOSPC:
		// It stands for a full disk, and for the little room that a file has
		// for its attributes.
		var fs unix.Statfs_t
		const enough = 1 << 20
		never = unix.Fstatfs(fd, &fs) == nil && fs.Bavail*uint64(fs.Bsize) > enough
	}
	if never {
		return fmt.Errorf("%w: %q: %w", ErrXattrs, name, err)
	}
	return fmt.Errorf("attribute %q: %w", name, err)
}
