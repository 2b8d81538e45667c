package beneath

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Identity tells a store from another one, or from the empty directory that is
// left when its file system is not mounted.
type Identity struct {
	Device uint64 // may be another one after a restart of the machine
	Inode  uint64
	Birth  int64  // of the root directory, nanoseconds since 1970; 0 where the file system has none
	FSType int64  // f_type of statfs(2)
	FSID   uint64 // f_fsid of statfs(2); on some file systems made of Device
}

// Same reports whether both are of one store. Inode and birth of a root
// directory stay the same when its file system is mounted elsewhere, and
// another directory hardly has both. Where there is no birth, the file system
// must be recognized by its id or by its device.
func (i Identity) Same(o Identity) bool {
	if i.Inode != o.Inode || i.Birth != o.Birth || i.FSType != o.FSType {
		return false
	}
	return i.Birth != 0 || i.Device == o.Device || i.FSID == o.FSID && i.FSID != 0
}

// String returns the identity in a form for logs.
func (i Identity) String() string {
	return fmt.Sprintf("device %d:%d inode %d born %d file system %x/%x",
		unix.Major(i.Device), unix.Minor(i.Device), i.Inode, i.Birth, i.FSType, i.FSID)
}

// Identity returns who is to be found at the root's path now, looked up anew.
// The root that is held open may be another one: see Opened.
func (r *Root) Identity() (Identity, error) {
	fd := -1
	err := restart(func() (err error) {
		fd, err = unix.Open(r.path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return Identity{}, fmt.Errorf("identify store %q: %w", r.path, resolved(err))
	}
	defer unix.Close(fd)
	id, err := identify(fd)
	if err != nil {
		return Identity{}, fmt.Errorf("identify store %q: %w", r.path, err)
	}
	return id, nil
}

// Opened returns the identity of the root that is held open, whatever is at
// its path now.
func (r *Root) Opened() (Identity, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	id, err := identify(r.fd)
	if err != nil {
		return Identity{}, fmt.Errorf("identify the open store %q: %w", r.path, err)
	}
	return id, nil
}

func identify(fd int) (Identity, error) {
	info, err := stat(fd, "")
	if err != nil {
		return Identity{}, err
	}
	var fs unix.Statfs_t
	if err := restart(func() error { return unix.Fstatfs(fd, &fs) }); err != nil {
		return Identity{}, err
	}
	return Identity{
		Device: info.Stamp.Device,
		Inode:  info.Stamp.Inode,
		Birth:  info.Stamp.Birth,
		FSType: fs.Type,
		FSID:   uint64(uint32(fs.Fsid.Val[0]))<<32 | uint64(uint32(fs.Fsid.Val[1])),
	}, nil
}
