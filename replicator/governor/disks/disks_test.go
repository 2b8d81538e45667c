package disks

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// machine is a procfs and a sysfs of a test's own.
type machine struct {
	t     *testing.T
	roots Roots
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	dir := t.TempDir()
	return &machine{t: t, roots: Roots{Proc: filepath.Join(dir, "proc"), Sys: filepath.Join(dir, "sys")}}
}

func (m *machine) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// file writes a file of sysfs or procfs.
func (m *machine) file(path, text string) {
	m.t.Helper()
	m.must(os.MkdirAll(filepath.Dir(path), 0o755))
	m.must(os.WriteFile(path, []byte(text), 0o644))
}

// device makes a block device, made of others; its directory is where the
// kernel has it, class/block leads there.
func (m *machine) device(name, parent string, slaves ...string) {
	m.t.Helper()
	real := m.roots.sys("devices", parent, name)
	m.must(os.MkdirAll(filepath.Join(real, "slaves"), 0o755))
	m.must(os.MkdirAll(m.roots.sys("class", "block"), 0o755))
	m.must(os.Symlink(real, m.roots.sys("class", "block", name)))
	for _, s := range slaves {
		m.must(os.Symlink(m.roots.sys("class", "block", s), filepath.Join(real, "slaves", s)))
	}
}

// numbered gives the device that dir is on that name.
func (m *machine) numbered(dir, name string) string {
	m.t.Helper()
	var st unix.Stat_t
	m.must(unix.Stat(dir, &st))
	number := fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	m.must(os.MkdirAll(m.roots.sys("dev", "block"), 0o755))
	m.must(os.Symlink("../../devices/x/"+name, m.roots.sys("dev", "block", number)))
	return number
}

func TestADiskIsFoundThroughWhatIsOnIt(t *testing.T) {
	dir := t.TempDir()
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil || unix.Major(st.Dev) == 0 {
		t.Skip("the temporary directory is on no block device")
	}
	m := newMachine(t)
	m.numbered(dir, "dm-1")
	m.device("sda", "pci")
	m.device("sdb", "pci")
	m.device("sda2", "pci/sda")
	m.device("sdb2", "pci/sdb")
	for _, p := range []string{"sda2", "sdb2"} {
		m.file(m.roots.sys("class", "block", p, "partition"), "2\n")
	}
	m.device("md0", "virtual", "sda2", "sdb2")
	m.device("dm-0", "virtual", "md0")
	m.device("dm-1", "virtual", "dm-0")
	for _, d := range []string{"sda", "sdb"} {
		m.file(m.roots.sys("class", "block", d, "queue", "scheduler"), "none [mq-deadline] kyber\n")
	}
	s, err := Find(m.roots, dir)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"sda", "sdb"}; !reflect.DeepEqual(s.Members, want) {
		t.Errorf("members %v, want %v", s.Members, want)
	}
	if !reflect.DeepEqual(s.Queues, s.Members) {
		t.Errorf("queues %v, want %v", s.Queues, s.Members)
	}
	if want := []string{"dm-0", "dm-1", "md0", "sda", "sda2", "sdb", "sdb2"}; !reflect.DeepEqual(s.All, want) {
		t.Errorf("all %v, want %v", s.All, want)
	}
	if !s.HonoursPriority() {
		t.Error("mq-deadline honours priorities")
	}
	m.file(m.roots.sys("class", "block", "sdb", "queue", "scheduler"), "[none] mq-deadline\n")
	if s.HonoursPriority() {
		t.Error("none honours no priorities")
	}
	m.file(m.roots.proc("diskstats"), strings.Join([]string{
		"   8       0 sda 100 1 800 250 7 0 56 9 0 100 259",
		"   8       0 sda 100 1 800 250 7 0 56 9 0 100 259 0 0 0 0 0 0",
		"   8      16 sdb 50 0 400 1000 3 0 24 9 0 100 1009 0 0 0 0 0 0",
		" 253       1 dm-1 140 60 1200 1300 11 0 88 9 0 100 1309 0 0 0 0 0 0", "",
	}, "\n"))
	m.file(m.roots.proc("pressure", "io"), "some avg10=0.00 avg60=0.00 avg300=0.00 total=1500\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=3\n")
	sensors := NewSensors(s, "")
	c := sensors.Counters()
	if c.Ops != 160 || len(c.Members) != 2 || c.Members[1].Name != "sdb" || c.Members[1].Waited != time.Second || c.Members[1].Reads != 50 {
		t.Errorf("counters %+v", c)
	}
	if got := sensors.Stalls(); got.All != 1500*time.Microsecond || got.Mail != -1 {
		t.Errorf("stalls %+v", got)
	}
}

// TestTheQueueOfAFileIsItsOwn: who reads a file that stands for a disk waits for
// that, whatever else the disk does that it is on.
func TestTheQueueOfAFileIsItsOwn(t *testing.T) {
	dir := t.TempDir()
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil || unix.Major(st.Dev) == 0 {
		t.Skip("the temporary directory is on no block device")
	}
	m := newMachine(t)
	m.numbered(dir, "dm-0")
	m.device("sda", "pci")
	m.device("dm-0", "virtual", "sda")
	m.device("loop0", "virtual")
	m.device("dm-1", "virtual", "loop0")
	m.file(m.roots.sys("class", "block", "loop0", "loop", "backing_file"), filepath.Join(dir, "array.img")+"\n")
	m.file(filepath.Join(dir, "array.img"), "")
	s := Set{roots: m.roots}
	if err := s.descend([]string{"dm-1"}); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(s.Queues, []string{"loop0"}) || !reflect.DeepEqual(s.Members, []string{"sda"}) {
		t.Errorf("queues %v, members %v", s.Queues, s.Members)
	}
}

func TestTheDevicesOfABtrfs(t *testing.T) {
	m := newMachine(t)
	for _, d := range []string{"sdc", "sdd", "sde"} {
		m.device(d, "pci")
	}
	uuid := "7d2e1b1c-0000-4000-8000-000000000001"
	for _, d := range []string{"sdc", "sdd"} {
		m.file(m.roots.sys("fs", "btrfs", uuid, "devices", d), "")
	}
	m.file(m.roots.sys("fs", "btrfs", "another", "devices", "sde"), "")
	s := Set{roots: m.roots}
	if err := s.btrfs("/dev/sdd"); err != nil || s.Btrfs != uuid || !reflect.DeepEqual(s.Members, []string{"sdc", "sdd"}) {
		t.Errorf("%+v, %v", s, err)
	}
	s = Set{roots: m.roots}
	if err := s.btrfs("/dev/sdx"); !errors.Is(err, ErrNoDevice) {
		t.Errorf("a device of no btrfs: %v", err)
	}
}

func TestTheMountIsTheDeepest(t *testing.T) {
	m := newMachine(t)
	m.file(m.roots.proc("self", "mountinfo"), strings.Join([]string{
		"21 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw",
		`30 21 0:40 /sub /srv/my\040mail rw shared:1 - btrfs /dev/sdc rw,space_cache=v2`,
		"31 21 0:41 / /srv/other rw - zfs tank/mail rw",
		"garbage", "1 2 3 4 5 - x",
	}, "\n"))
	s := Set{roots: m.roots}
	for dir, want := range map[string]mount{
		"/srv/my mail/box": {"0:40", "/srv/my mail", "btrfs", "/dev/sdc"},
		"/srv/my mailbox":  {"8:1", "/", "ext4", "/dev/sda1"},
		"/srv/other":       {"0:41", "/srv/other", "zfs", "tank/mail"},
	} {
		if got, err := s.mount(dir, "0:99"); err != nil || got != want {
			t.Errorf("%s: %+v, %v", dir, got, err)
		}
	}
}

// TestThisMachine: whatever it is, nothing fails that need not.
func TestThisMachine(t *testing.T) {
	s, err := Find(Roots{}, t.TempDir())
	if err != nil && !errors.Is(err, ErrNoDevice) {
		t.Fatal(err)
	}
	c := NewSensors(s, "").Counters()
	if err == nil && c.Ops < 0 {
		t.Errorf("the devices %v have no counters", s.Top)
	}
	if err := CheckCgroup(t.TempDir()); err == nil {
		t.Error("a directory that is no cgroup passes for one")
	}
}

func FuzzDiskstats(f *testing.F) {
	f.Add([]byte("   8       0 sda 100 1 800 250 7 0 56 9 0 100 259 0 0 0 0 0 0\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for name, d := range parseDiskstats(text) {
			if name == "" || d.waited < 0 {
				t.Errorf("%q: %+v", name, d)
			}
		}
	})
}

func FuzzPressure(f *testing.F) {
	f.Add([]byte("some avg10=0.23 avg60=2.19 avg300=6.42 total=91973641\nfull avg10=0.11 avg60=1.31 avg300=3.79 total=55140733\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if d, err := parsePressure(text); err == nil && d < 0 {
			t.Errorf("%v", d)
		}
	})
}

func FuzzMount(f *testing.F) {
	f.Add(`30 21 0:40 /sub /srv/my\040mail rw shared:1 - btrfs /dev/sdc rw`)
	f.Fuzz(func(t *testing.T, line string) {
		if m, ok := parseMount(line); ok && (m.number == "" || m.kind == "") {
			t.Errorf("%+v", m)
		}
	})
}
