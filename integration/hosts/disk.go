package hosts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// How an ext4 is told to stop at once: the number of the request, and to do so
// without writing its journal first.
const (
	shutdownRequest = 0x8004587d
	withoutJournal  = 2
)

// unmountTries is how often a file system that is in use is unmounted; what
// used it was killed just before.
const unmountTries = 100

// Disk is a file system of its own in a host.
type Disk struct {
	// Path is where it is mounted.
	Path string

	image string
	off   bool
	dead  bool // its file system was stopped
}

// Disk makes an empty disk of that size, mounted in the host's directory under
// that name.
func (h *Host) Disk(ctx context.Context, name string, size int64) (*Disk, error) {
	d := &Disk{Path: filepath.Join(h.Dir, name), image: filepath.Join(h.Dir, name+".img"), off: true}
	f, err := os.Create(d.image)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		return nil, err
	}
	// A file has no old content that would have to be zeroed. Mail is many
	// small files: one inode for each 4 KiB.
	if err := run(ctx, "mkfs.ext4", "-q", "-m", "0", "-i", "4096", "-E", "lazy_itable_init=1,lazy_journal_init=1", d.image); err != nil {
		return nil, err
	}
	if err := os.Mkdir(d.Path, 0o755); err != nil {
		return nil, err
	}
	if err := d.mount(ctx); err != nil {
		return nil, err
	}
	h.disks = append(h.disks, d)
	return d, os.Chmod(d.Path, 0o755)
}

func (d *Disk) mount(ctx context.Context) error {
	if !d.off {
		return nil
	}
	if err := d.renew(ctx); err != nil {
		return err
	}
	if err := run(ctx, "mount", "-o", "loop", d.image, d.Path); err != nil {
		return err
	}
	d.off = false
	return nil
}

// renew puts what is on a disk that was stopped into a file that nobody has in use.
// A program that was given mounts of its own while the disk was mounted, as `ip
// netns exec` and unshare do, holds the stopped file system for as long as it
// lives, whoever unmounts it here; and what is mounted again from the same file is
// the same file system, and as dead as before.
func (d *Disk) renew(ctx context.Context) error {
	if !d.dead {
		return nil
	}
	next := d.image + ".next"
	if err := run(ctx, "cp", "--sparse=always", d.image, next); err != nil {
		return err
	}
	if err := os.Rename(next, d.image); err != nil {
		return err
	}
	d.dead = false
	return nil
}

// Fail makes the disk fail while the host goes on: who reads or writes a file
// gets an I/O error from now on, also who has it open. Directories that are in
// memory can still be listed. What was not durable is lost.
func (d *Disk) Fail() error { return d.shutDown() }

// TurnReadOnly makes the file system of the disk find an error in itself, upon
// which nothing can be changed on it any more. What is there can be read.
func (d *Disk) TurnReadOnly(ctx context.Context) error {
	if err := run(ctx, "mount", "-o", "remount,errors=remount-ro", d.Path); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "findmnt", "--noheadings", "--output", "SOURCE", "--target", d.Path).Output()
	if err != nil {
		return fmt.Errorf("finding the device of %q: %w", d.Path, err)
	}
	device := filepath.Base(strings.TrimSpace(string(out)))
	return os.WriteFile(filepath.Join("/sys/fs/ext4", device, "trigger_fs_error"), []byte("a test"), 0o200)
}

// BackUp keeps a copy of all that is on the disk now.
func (d *Disk) BackUp(ctx context.Context) error {
	if err := run(ctx, "fsfreeze", "--freeze", d.Path); err != nil {
		return err
	}
	return errors.Join(
		run(ctx, "cp", "--sparse=always", d.image, d.backup()),
		run(context.WithoutCancel(ctx), "fsfreeze", "--unfreeze", d.Path))
}

// Restore puts on the disk what BackUp kept. The disk must not be mounted.
func (d *Disk) Restore(ctx context.Context) error {
	if !d.off {
		return fmt.Errorf("%q is mounted", d.Path)
	}
	if err := os.Remove(d.image); err != nil {
		return err // somebody may still have it in use
	}
	d.dead = false
	return run(ctx, "cp", "--sparse=always", d.backup(), d.image)
}

func (d *Disk) backup() string { return d.image + ".backup" }

// Repair brings a disk that failed back, with what was durable on it. Nobody
// may have a file of it open.
func (d *Disk) Repair(ctx context.Context) error {
	if err := d.unmount(ctx); err != nil {
		return err
	}
	return d.mount(ctx)
}

// Vanish unmounts the disk, even under those who use it: an empty directory is
// what is left to be seen.
func (d *Disk) Vanish(ctx context.Context) error {
	if err := run(ctx, "umount", "-l", d.Path); err != nil {
		return err
	}
	d.off = true
	return nil
}

// shutDown stops the file system without writing what is in memory.
func (d *Disk) shutDown() error {
	if d.off {
		return nil
	}
	f, err := os.Open(d.Path)
	if errors.Is(err, unix.EIO) {
		return nil // it has stopped before
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), shutdownRequest, withoutJournal); err != nil {
		return fmt.Errorf("stopping the file system of %q: %w", d.Path, err)
	}
	d.dead = true
	return nil
}

func (d *Disk) unmount(ctx context.Context) error {
	if d.off {
		return nil
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var err error
	for range unmountTries {
		if err = run(ctx, "umount", d.Path); err == nil {
			d.off = true
			return nil
		}
		<-tick.C
	}
	return err
}
