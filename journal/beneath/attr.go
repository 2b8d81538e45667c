package beneath

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/mailtwin/mailtwin/journal"
)

// SetAttributes gives name, which must be of type t, the attributes a: owner,
// replicated extended attributes (others of that kind are removed), mode, and
// except on directories the mtime to the nanosecond, as far as the file system
// keeps it. Only what differs is changed. A symbolic link itself gets owner and
// mtime; it has nothing else.
//
// ErrOwner and ErrXattrs tell of what this node cannot keep; the rest has been
// done all the same, except that a file which is not given to its owner gets no
// set-uid and set-gid bits: they would lend the rights of this process to what
// a mail user wrote. ErrNotRegular, ErrNotDirectory and ErrNotSymlink say that
// name is not of type t.
func (d *Dir) SetAttributes(name string, t journal.Type, a journal.Attributes) error {
	if err := checkName(name); err != nil {
		return d.fail("set attributes of", name, err)
	}
	var err error
	switch t {
	case journal.TypeSymlink:
		err = d.setLinkAttributes(name, a)
	case journal.TypeFile, journal.TypeDirectory:
		err = d.setAttributes(name, t, a)
	default:
		err = fmt.Errorf("%w: type %d", ErrNotRegular, t)
	}
	if err != nil {
		return d.fail("set attributes of", name, err)
	}
	return nil
}

// SetFileAttributes does what Dir.SetAttributes does, on an open file, such as
// one that is staged. They are as durable as the file's next Sync.
func SetFileAttributes(f *os.File, a journal.Attributes) error {
	err := Control(f, func(fd int) error { return setAttributes(fd, a) })
	if err != nil {
		return fmt.Errorf("set attributes of %q: %w", f.Name(), err)
	}
	return nil
}

// SetOwnAttributes does what SetAttributes does, on the directory itself.
func (d *Dir) SetOwnAttributes(a journal.Attributes) error {
	if err := setAttributes(d.fd, a); err != nil {
		return fmt.Errorf("set attributes of directory %q: %w", d.path, err)
	}
	return nil
}

func (d *Dir) setAttributes(name string, t journal.Type, a journal.Attributes) error {
	fd, found, err := d.openThing(name)
	if err == nil {
		defer unix.Close(fd)
	}
	switch {
	case err != nil && !errors.Is(err, ErrNotRegular):
		return err
	case found == t:
		return setAttributes(fd, a)
	case t == journal.TypeDirectory:
		return ErrNotDirectory
	}
	return ErrNotRegular
}

// setLinkAttributes changes a symbolic link by a handle of the link, so that
// nothing else that takes its name meanwhile is touched.
func (d *Dir) setLinkAttributes(name string, a journal.Attributes) error {
	fd, err := d.openat(name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	info, err := stat(fd, "")
	if err != nil {
		return err
	}
	if info.Facts.Type != journal.TypeSymlink {
		return ErrNotSymlink
	}
	_, failed := setOwner(fd, info, a)
	if failed != nil && !errors.Is(failed, ErrOwner) {
		return failed
	}
	return errors.Join(failed, setMTime(fd, info, a))
}

// setAttributes works on an open file or directory. The order matters: a
// change of owner takes set-uid bits away, setting an access list changes the
// mode, and attributes cannot be set any more once the mode forbids writing.
func setAttributes(fd int, a journal.Attributes) error {
	info, err := stat(fd, "")
	if err != nil {
		return err
	}
	owned, failed := setOwner(fd, info, a)
	if failed != nil && !errors.Is(failed, ErrOwner) {
		return failed
	}
	if err := writeXattrs(fd, a.Xattrs); err != nil {
		if !errors.Is(err, ErrXattrs) {
			return err
		}
		failed = errors.Join(failed, err)
	}
	mode := a.Mode & 0o7777
	if errors.Is(failed, ErrOwner) && info.Facts.Type != journal.TypeDirectory {
		mode &^= unix.S_ISUID | unix.S_ISGID
	}
	if owned || len(a.Xattrs) > 0 || info.Facts.Attr.Mode != mode {
		if err := restart(func() error { return unix.Fchmod(fd, mode) }); err != nil {
			return errors.Join(failed, fmt.Errorf("mode %o: %w", mode, err))
		}
	}
	if info.Facts.Type != journal.TypeDirectory {
		failed = errors.Join(failed, setMTime(fd, info, a))
	}
	return failed
}

// setOwner reports whether it changed the owner.
func setOwner(fd int, info Info, a journal.Attributes) (bool, error) {
	if have := info.Facts.Attr; have.UID == a.UID && have.GID == a.GID {
		return false, nil
	}
	err := restart(func() error {
		return unix.Fchownat(fd, "", int(a.UID), int(a.GID), unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW)
	})
	switch err {
	case nil:
		return true, nil
	case unix.EPERM, unix.EACCES, unix.EINVAL: // EINVAL: no such id in this user namespace
		return false, fmt.Errorf("%w: %d:%d: %w", ErrOwner, a.UID, a.GID, err)
	}
	return false, fmt.Errorf("owner %d:%d: %w", a.UID, a.GID, err)
}

func setMTime(fd int, info Info, a journal.Attributes) error {
	if info.Facts.Attr.MTime == a.MTime {
		return nil
	}
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(a.MTime)}
	err := restart(func() error { return unix.UtimesNanoAt(fd, "", times, unix.AT_EMPTY_PATH) })
	if err != nil {
		return fmt.Errorf("mtime %d: %w", a.MTime, err)
	}
	return nil
}

// Control calls f with the descriptor of an open file, which stays open
// meanwhile.
func Control(file *os.File, f func(fd int) error) error {
	conn, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := conn.Control(func(fd uintptr) { failed = f(int(fd)) }); err != nil {
		return err
	}
	return failed
}
