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

// throttled is a file system on a loop device that the kernel lets do so many
// reads and writes a second, as an array of disks would.
type throttled struct {
	file, device, dir, number string
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
	out, err := command(ctx, "losetup", "--find", "--show", "--direct-io=on", t.file)
	if err != nil {
		return t, err
	}
	t.device = strings.TrimSpace(out)
	if _, err := command(ctx, "mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", t.device); err != nil {
		return t, err
	}
	if _, err := command(ctx, "mount", t.device, dir); err != nil {
		return t, err
	}
	var st unix.Stat_t
	if err := unix.Stat(t.device, &st); err != nil {
		return t, err
	}
	t.number = fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	return t, nil
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

// reads returns how many reads the throttle has let pass: it counts them before
// the kernel merges those of neighbouring blocks, so both counters are needed.
func (t *throttled) reads() (int64, error) {
	text, err := os.ReadFile("/sys/class/block/" + filepath.Base(t.device) + "/stat")
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0, fmt.Errorf("%s has no counters", t.device)
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
	if t.device != "" {
		_, detached := command(ctx, "losetup", "--detach", t.device)
		err = errors.Join(err, detached)
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
