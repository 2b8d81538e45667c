package beneath

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// BeingWritten reports whether anyone, this process included, has the file
// open for writing now. f itself must be open for reading only. It asks for a
// read lease, which the kernel grants only while there is no writer, and gives
// it back at once; a program that opens the file for writing in between waits
// for that, or fails with EAGAIN if it opens it non-blocking.
//
// errors.ErrUnsupported says that leases are not to be had: the file system has
// none, or the file is another user's and the process has no CAP_LEASE.
func BeingWritten(f *os.File) (bool, error) {
	written := false
	err := Control(f, func(fd int) error {
		_, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK)
		switch err {
		case nil:
		case unix.EAGAIN:
			written = true
			return nil
		case unix.EINVAL, unix.EACCES, unix.EPERM, unix.ENOTSUP, unix.ENOLCK, unix.ENOSYS:
			return fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
		default:
			return err
		}
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_UNLCK)
		if err == unix.EAGAIN { // the lease was broken: a writer came, and waited too long
			written, err = true, nil
		}
		return err
	})
	if err != nil {
		return false, fmt.Errorf("look for writers of %q: %w", f.Name(), err)
	}
	return written, nil
}
