package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// throttled is a file system on a device that the kernel lets do so many reads
// and writes a second, as an array of disks would.
//
// The kernel's throttle counts what a file system asks for before neighbouring
// blocks have become one request, and lets metadata pass those that wait. No
// disk does either: to ext4's read-ahead of 32 blocks of inodes it moves once,
// where the throttle takes a sixth of a second off everyone. So the throttled
// device lies beneath another one, which has the file system, and a queue that
// makes requests of blocks as that of any disk does.
type throttled struct {
	file, dir     string
	device, below string // the file system's, and the one that is throttled
	number        string // of that
}

// throttleDir is where cgroups of version 1 throttle devices for everyone,
// the kernel's own write-back too.
const throttleDir = "/sys/fs/cgroup/blkio"

func newThrottled(ctx context.Context, dir string, size int64) (_ *throttled, err error) {
	t := &throttled{file: dir + ".img", dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.close())
		}
	}()
	if err := os.Mkdir(dir, 0o755); err != nil {
		return t, err
	}
	if err := os.WriteFile(t.file, nil, 0o600); err != nil {
		return t, err
	}
	if err := os.Truncate(t.file, size); err != nil {
		return t, err
	}
	if t.below, err = loop(ctx, t.file); err != nil {
		return t, err
	}
	if t.device, err = loop(ctx, t.below); err != nil {
		return t, err
	}
	if _, err := command(ctx, "mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", t.device); err != nil {
		return t, err
	}
	// The times of access would be written half a minute later, all at once, and
	// hold up whoever reads then.
	if _, err := command(ctx, "mount", "-o", "noatime", t.device, dir); err != nil {
		return t, err
	}
	var st unix.Stat_t
	if err := unix.Stat(t.below, &st); err != nil {
		return t, err
	}
	t.number = fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	return t, nil
}

// loop makes a device of a file or of another device.
func loop(ctx context.Context, of string) (string, error) {
	out, err := command(ctx, "losetup", "--find", "--show", "--direct-io=on", of)
	return strings.TrimSpace(out), err
}

// limit lets the device do that many reads and as many writes a second; 0 is
// no limit.
func (t *throttled) limit(perSecond int) error {
	for _, way := range []string{"read", "write"} {
		path := filepath.Join(throttleDir, "blkio.throttle."+way+"_iops_device")
		if err := os.WriteFile(path, fmt.Appendf(nil, "%s %d\n", t.number, perSecond), 0); err != nil {
			return fmt.Errorf("throttling a device: %w", err)
		}
	}
	return nil
}

// reads returns how many reads the throttle has let pass. Those that it has let
// pass together may have been merged again behind it.
func (t *throttled) reads() (int64, error) {
	text, err := os.ReadFile("/sys/class/block/" + filepath.Base(t.below) + "/stat")
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0, fmt.Errorf("%s has no counters", t.below)
	}
	completed, err1 := strconv.ParseInt(fields[0], 10, 64)
	merged, err2 := strconv.ParseInt(fields[1], 10, 64)
	return completed + merged, errors.Join(err1, err2)
}

func (t *throttled) close() error {
	ctx := context.Background()
	var err error
	if t.number != "" {
		_ = t.limit(0) // the device goes away
		_, err = command(ctx, "umount", t.dir)
	}
	for _, device := range []string{t.device, t.below} {
		if device != "" {
			_, detached := command(ctx, "losetup", "--detach", device)
			err = errors.Join(err, detached)
		}
	}
	return errors.Join(err, os.RemoveAll(t.file))
}

func command(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %q: %w: %s", name, args, err, out)
	}
	return string(out), nil
}
