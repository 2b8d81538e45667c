package beneath

import "golang.org/x/sys/unix"

// Mkdir makes the directory name. The mode is subject to the umask of the
// process; SetAttributes is not.
func (d *Dir) Mkdir(name string, mode uint32) error {
	return d.change("make directory", name, func() error { return unix.Mkdirat(d.fd, name, mode) })
}

// Symlink makes name a symbolic link to target, which may be any text without
// a NUL: nothing here ever follows it.
func (d *Dir) Symlink(target, name string) error {
	return d.change("make symbolic link", name, func() error { return unix.Symlinkat(target, d.fd, name) })
}

// Link gives the file name a further name in the directory to. Of a symbolic
// link it is the link itself that is linked. fs.ErrExist if newname is there.
func (d *Dir) Link(name string, to *Dir, newname string) error {
	if err := checkName(newname); err != nil {
		return to.fail("make link", newname, err)
	}
	return d.change("make link of", name, func() error { return unix.Linkat(d.fd, name, to.fd, newname, 0) })
}

// Rename calls name newname in the directory to, in place of what is there.
// As rename(2) has it, nothing happens if both are names of one file already:
// then both are left.
func (d *Dir) Rename(name string, to *Dir, newname string) error {
	return d.rename(name, to, newname, 0)
}

// RenameNoReplace is Rename, but fails with fs.ErrExist if newname is there. A
// file system that cannot do so reports EINVAL.
func (d *Dir) RenameNoReplace(name string, to *Dir, newname string) error {
	return d.rename(name, to, newname, unix.RENAME_NOREPLACE)
}

func (d *Dir) rename(name string, to *Dir, newname string, flags uint) error {
	if err := checkName(newname); err != nil {
		return to.fail("rename to", newname, err)
	}
	return d.change("rename", name, func() error {
		return unix.Renameat2(d.fd, name, to.fd, newname, flags)
	})
}

// Remove removes the name of a file or a symbolic link; EISDIR for a
// directory.
func (d *Dir) Remove(name string) error {
	return d.change("remove", name, func() error { return unix.Unlinkat(d.fd, name, 0) })
}

// RemoveDir removes the empty directory name; ENOTEMPTY, which is an
// fs.ErrExist too, if it is not.
func (d *Dir) RemoveDir(name string) error {
	return d.change("remove directory", name, func() error {
		return unix.Unlinkat(d.fd, name, unix.AT_REMOVEDIR)
	})
}

func (d *Dir) change(doing, name string, f func() error) error {
	if err := checkName(name); err != nil {
		return d.fail(doing, name, err)
	}
	if err := restart(f); err != nil {
		return d.fail(doing, name, err)
	}
	return nil
}
