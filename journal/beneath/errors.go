package beneath

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mailtwin/mailtwin/journal"
)

// What can be wrong beside what the file system reports.
var (
	// ErrEscapes says that a path has a symbolic link in it, or another way
	// out of the store.
	ErrEscapes = errors.New("path leads through a link")
	// ErrNotDirectory says that a name in a path is not a directory.
	ErrNotDirectory = errors.New("not a directory")
	// ErrNotRegular says that a name is not a regular file.
	ErrNotRegular = errors.New("not a regular file")
	// ErrNotSymlink says that a name is not a symbolic link.
	ErrNotSymlink = errors.New("not a symbolic link")
	// ErrLocked says that another root has the store, here or in another process.
	ErrLocked = errors.New("another daemon has this store")
	// ErrInside says that a root which has a directory above has the store in it.
	ErrInside = errors.New("it lies in the store of another daemon")
	// ErrAround says that a root which has a directory beneath has a store in this one.
	ErrAround = errors.New("the store of another daemon lies in it")
	// ErrOwner says that the owner could not be set for want of privilege.
	ErrOwner = errors.New("not permitted to set the owner")
	// ErrXattrs says that extended attributes could not be kept: the file
	// system has none or has no room for them, they are not permitted, or
	// there are more than an entry may hold.
	ErrXattrs = errors.New("extended attributes not kept")
)

// checkName accepts one name in a directory.
func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return fmt.Errorf("%w: the name %q", journal.ErrPath, name)
	case len(name) > journal.MaxName:
		return fmt.Errorf("%w: a name of %d bytes", journal.ErrPath, len(name))
	case strings.IndexByte(name, '/') >= 0 || strings.IndexByte(name, 0) >= 0:
		return fmt.Errorf("%w: the name %q", journal.ErrPath, name)
	}
	return nil
}

// resolved puts a sentinel before what openat2 says of a path to a directory.
func resolved(err error) error {
	switch err {
	case unix.ELOOP, unix.EXDEV:
		return fmt.Errorf("%w: %w", ErrEscapes, err)
	case unix.ENOTDIR:
		return fmt.Errorf("%w: %w", ErrNotDirectory, err)
	}
	return err
}

// restart calls f until a signal does not interrupt it.
func restart(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}
