package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Write makes data the content of the file path, with the mode perm. It is
// durable when Write returns nil. Two writers of one path must not run at the
// same time.
func Write(path string, data []byte, perm fs.FileMode) error {
	return write(path, data, perm, os.Rename)
}

// Create is Write for a file that must not exist yet: if it does, it stays as
// it is and the error is fs.ErrExist.
func Create(path string, data []byte, perm fs.FileMode) error {
	if _, err := os.Lstat(path); err == nil {
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	return write(path, data, perm, claim)
}

// claim gives a file its name unless the name is taken; rename would replace.
func claim(temp, path string) error {
	if err := os.Link(temp, path); err != nil {
		return err
	}
	return os.Remove(temp)
}

func write(path string, data []byte, perm fs.FileMode, name func(temp, path string) error) error {
	temp := path + ".new"
	err := fill(temp, data, perm)
	if err == nil {
		err = name(temp, path)
	}
	if err != nil {
		_ = os.Remove(temp)
		return fmt.Errorf("writing %q: %w", path, err)
	}
	return SyncDir(filepath.Dir(path))
}

func fill(temp string, data []byte, perm fs.FileMode) error {
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, perm)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(perm) // the umask may have taken some of it
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// SyncDir makes the names in the directory dir durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("making the names in %q durable: %w", dir, err)
	}
	return nil
}
