package beneath

import (
	"bufio"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// heldByDaemon reports whether a process of this user or of root has a lock on a
// directory. Anybody who may read a directory can lock it, and must not keep a daemon
// from its store by that. Who holds a lock is known of processes that can be seen
// here: a daemon in a container of its own is not.
func heldByDaemon(fd int) bool {
	var st unix.Stat_t
	if restart(func() error { return unix.Fstat(fd, &st) }) != nil {
		return false
	}
	locks, err := os.Open("/proc/locks")
	if err != nil {
		return false
	}
	defer func() { _ = locks.Close() }()
	for _, pid := range holders(locks, st.Ino) {
		if uid, err := userOf(pid); err == nil && (uid == 0 || uid == os.Geteuid()) {
			return true
		}
	}
	return false
}

// userOf returns the user by whose rights a process acts.
func userOf(pid int) (uid int, err error) {
	var st unix.Stat_t
	err = restart(func() error { return unix.Stat("/proc/"+strconv.Itoa(pid), &st) })
	return int(st.Uid), err
}

// holders returns the processes that have a lock of flock(2) on an inode of that
// number, by what /proc/locks says: for each lock its number, FLOCK for such a one,
// ADVISORY, READ or WRITE, the process, the device and inode as two hexadecimal numbers
// and a decimal one, and a range. One that is waited for is followed by those who wait,
// with an arrow before their kind. The device is that of the file system, which need
// not be the one that stat tells, so it is not looked at.
func holders(locks io.Reader, inode uint64) (pids []int) {
	lines := bufio.NewScanner(locks)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 6 || f[1] != "FLOCK" || !strings.HasSuffix(f[5], ":"+strconv.FormatUint(inode, 10)) {
			continue
		}
		if pid, err := strconv.Atoi(f[4]); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}
