package disks

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNoDevice says that a store does not lie on block devices that can be
// told, as on a network file system.
var ErrNoDevice = errors.New("no block device")

// Roots are where the kernel shows what it knows. The zero value stands for
// /proc and /sys.
type Roots struct {
	Proc, Sys string
}

func (r Roots) proc(path ...string) string { return under(r.Proc, "/proc", path) }
func (r Roots) sys(path ...string) string  { return under(r.Sys, "/sys", path) }

func under(root, usual string, path []string) string {
	if root == "" {
		root = usual
	}
	return filepath.Join(append([]string{root}, path...)...)
}

// Set is the devices that a store lies on, by their names in sysfs.
type Set struct {
	Top     []string // what the file system is on
	Members []string // what those are made of in the end, sorted
	Queues  []string // where blocks become requests: the members, or the files (loop) that stand for some, sorted
	All     []string // these and everything in between, sorted
	// Btrfs is the UUID of the file system if it is a btrfs.
	Btrfs string
	// Pool is the name of the pool if it is a ZFS.
	Pool string

	roots Roots
}

// maxDevices bounds what is followed: more devices than any store has, and few
// enough to read the counters of several times a second.
const maxDevices = 256

// Find finds the devices under the directory dir. ErrNoDevice comes with a Set
// that may tell the pool of a ZFS.
func Find(roots Roots, dir string) (Set, error) {
	s := Set{roots: roots}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return s, fmt.Errorf("find the disks of %q: %w", dir, err)
	}
	number := fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	if unix.Major(st.Dev) != 0 {
		name, err := s.byNumber(number)
		if err != nil {
			return s, err
		}
		return s, s.descend([]string{name})
	}
	m, err := s.mount(dir, number)
	if err != nil {
		return s, err
	}
	switch m.kind {
	case "btrfs":
		return s, s.btrfs(m.source)
	case "zfs":
		s.Pool, _, _ = strings.Cut(m.source, "/")
	}
	return s, fmt.Errorf("%w: %q is on %s", ErrNoDevice, dir, m.kind)
}

// mount is one line of the mount table.
type mount struct {
	number, point, kind, source string
}

// mount finds the mount that dir is on: of the mounts of that device number,
// or if there is none (btrfs gives each subvolume one of its own), of all, the
// one with the longest mount point.
func (s *Set) mount(dir, number string) (mount, error) {
	table, err := os.ReadFile(s.roots.proc("self", "mountinfo"))
	if err != nil {
		return mount{}, fmt.Errorf("read the mount table: %w", err)
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	var best mount
	for line := range bytes.Lines(table) {
		m, ok := parseMount(string(line))
		if !ok || !within(dir, m.point) {
			continue
		}
		if len(m.point) > len(best.point) || len(m.point) == len(best.point) && m.number == number || best.point == "" {
			best = m
		}
	}
	if best.point == "" {
		return best, fmt.Errorf("%w: %q is in no mount", ErrNoDevice, dir)
	}
	return best, nil
}

func within(dir, point string) bool {
	rest, ok := strings.CutPrefix(dir, point)
	return ok && (rest == "" || rest[0] == '/' || point == "/")
}

// parseMount reads a line of mountinfo; see proc_pid_mountinfo(5).
func parseMount(line string) (mount, bool) {
	before, after, ok := strings.Cut(line, " - ")
	f, g := strings.Fields(before), strings.Fields(after)
	if !ok || len(f) < 5 || len(g) < 2 {
		return mount{}, false
	}
	return mount{number: f[2], point: unescape(f[4]), kind: g[0], source: unescape(g[1])}, true
}

// unescape reads the octal escapes of the mount table.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// btrfs finds the devices of the btrfs that source is one of.
func (s *Set) btrfs(source string) error {
	if real, err := filepath.EvalSymlinks(source); err == nil {
		source = real
	}
	name := filepath.Base(source)
	all, err := filepath.Glob(s.roots.sys("fs", "btrfs", "*", "devices", "*"))
	if err != nil {
		return fmt.Errorf("find the devices of the btrfs on %q: %w", source, err)
	}
	for _, path := range all {
		if filepath.Base(path) == name {
			s.Btrfs = filepath.Base(filepath.Dir(filepath.Dir(path)))
		}
	}
	if s.Btrfs == "" {
		return fmt.Errorf("%w: no btrfs has the device %q", ErrNoDevice, source)
	}
	var top []string
	for _, path := range all {
		if filepath.Base(filepath.Dir(filepath.Dir(path))) == s.Btrfs {
			top = append(top, filepath.Base(path))
		}
	}
	return s.descend(top)
}

// byNumber returns the name of the block device with that number.
func (s *Set) byNumber(number string) (string, error) {
	link, err := os.Readlink(s.roots.sys("dev", "block", number))
	if err != nil {
		return "", fmt.Errorf("%w: %s: %w", ErrNoDevice, number, err)
	}
	return filepath.Base(link), nil
}

// descend finds what the devices at the top are made of.
func (s *Set) descend(top []string) error {
	s.Top = top
	seen := make(map[string]bool)
	within := make(map[string]bool) // beneath a queue
	for queue := slices.Clone(top); len(queue) > 0 && len(seen) < maxDevices; queue = queue[1:] {
		name := queue[0]
		if seen[name] {
			continue
		}
		seen[name] = true
		s.All = append(s.All, name)
		below := s.below(name)
		if len(below) == 0 {
			s.Members = append(s.Members, name)
		}
		queued := len(below) == 0 || s.loop(name)
		if queued && !within[name] {
			s.Queues = append(s.Queues, name)
		}
		for _, b := range below {
			within[b] = queued || within[name]
		}
		queue = append(queue, below...)
	}
	slices.Sort(s.All)
	slices.Sort(s.Members)
	slices.Sort(s.Queues)
	if len(top) == 0 {
		return ErrNoDevice
	}
	return nil
}

// loop reports whether a device is a file.
func (s *Set) loop(name string) bool {
	_, err := os.Stat(s.roots.sys("class", "block", name, "loop", "backing_file"))
	return err == nil
}

// below returns what one device is made of, nothing for a disk.
func (s *Set) below(name string) []string {
	if entries, err := os.ReadDir(s.roots.sys("class", "block", name, "slaves")); err == nil && len(entries) > 0 {
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	if file, err := os.ReadFile(s.roots.sys("class", "block", name, "loop", "backing_file")); err == nil {
		backing, err := Find(s.roots, strings.TrimSpace(string(file)))
		if err == nil {
			return backing.Top
		}
		return nil
	}
	if _, err := os.Stat(s.roots.sys("class", "block", name, "partition")); err == nil {
		// The partition's directory lies in that of its disk.
		if real, err := filepath.EvalSymlinks(s.roots.sys("class", "block", name)); err == nil {
			return []string{filepath.Base(filepath.Dir(real))}
		}
	}
	return nil
}

// HonoursPriority reports whether the schedulers of all members put reads of
// the idle class behind others: BFQ does, and mq-deadline mostly.
func (s Set) HonoursPriority() bool {
	for _, name := range s.Members {
		text, err := os.ReadFile(s.roots.sys("class", "block", name, "queue", "scheduler"))
		if err != nil || !bytes.Contains(text, []byte("[bfq]")) && !bytes.Contains(text, []byte("[mq-deadline]")) {
			return false
		}
	}
	return len(s.Members) > 0
}
