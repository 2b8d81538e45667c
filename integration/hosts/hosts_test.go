package hosts

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func host(t *testing.T, n *Network, name string) *Host {
	t.Helper()
	h, err := n.Host(t.Context(), name)
	must(t, err)
	return h
}

// hears reports whether a word said on one host is heard on another, by a
// program that runs there and answers whom it hears.
func hears(t *testing.T, from, to *Host, address string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
	defer cancel()
	conn, err := from.Dial(ctx, net.JoinHostPort(address, "7"))
	if err != nil {
		return false
	}
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(700*time.Millisecond)))
	if _, err := conn.Write([]byte("hello\n")); err != nil {
		return false
	}
	answer := make([]byte, len(to.Name))
	_, err = io.ReadFull(conn, answer)
	return err == nil && string(answer) == to.Name
}

// TestMain is also the program that answers on a host: with a name as its only
// argument it listens and says that name.
func TestMain(m *testing.M) {
	if len(os.Args) != 3 || os.Args[1] != "answer" {
		m.Run()
		return
	}
	l, err := net.Listen("tcp4", ":7")
	if err != nil {
		panic(err) // nobody will hear it, and the test says so
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			panic(err)
		}
		_, _ = io.WriteString(conn, os.Args[2]) // who has gone does not listen
	}
}

// answers starts the program that answers.
func answers(t *testing.T, h *Host) {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	cmd := h.Command(context.Background(), self, "answer", h.Name)
	must(t, cmd.Start())
	go func() { _ = cmd.Wait() }() // it is killed with its host
	eventually(t, func() bool { return hears(t, h, h, h.Address) })
}

func eventually(t *testing.T, f func() bool) {
	t.Helper()
	timeout := time.NewTimer(20 * time.Second)
	defer timeout.Stop()
	for !f() {
		select {
		case <-timeout.C:
			t.Fatal("not within 20 s")
		default:
		}
	}
}

func TestNetwork(t *testing.T) {
	n := ForTest(t)
	a, b, c := host(t, n, "a"), host(t, n, "b"), host(t, n, "c")
	for _, h := range n.hosts {
		answers(t, h)
	}
	check := func(when string, ab, ac bool) {
		t.Helper()
		if got := hears(t, a, b, b.Address); got != ab {
			t.Errorf("%s: a hears b: %v", when, got)
		}
		if got := hears(t, b, a, a.Address); got != ab {
			t.Errorf("%s: b hears a: %v", when, got)
		}
		if got := hears(t, a, c, c.Address); got != ac {
			t.Errorf("%s: a hears c: %v", when, got)
		}
	}
	check("at first", true, true)
	must(t, n.Cut(t.Context(), a, b))
	check("cut", false, true)
	must(t, n.Mend(t.Context(), a, b))
	must(t, n.Mend(t.Context(), a, b))
	check("mended", true, true)
	must(t, a.Unplug(t.Context()))
	check("unplugged", false, false)
	must(t, a.PlugIn(t.Context()))
	eventually(t, func() bool { return hears(t, a, b, b.Address) })
	check("plugged in", true, true)
	must(t, a.Slow(t.Context(), 20_000))
	check("slow", true, true)
	must(t, a.Slow(t.Context(), 0))
	check("fast", true, true)
}

// TestServiceMoves gives an address to one host and then to another, which
// says so to everybody.
func TestServiceMoves(t *testing.T) {
	n := ForTest(t)
	a, b, c := host(t, n, "a"), host(t, n, "b"), host(t, n, "c")
	answers(t, a)
	answers(t, b)
	must(t, a.Run(t.Context(), "ip", "address", "add", ServiceAddress+"/24", "dev", "eth0"))
	eventually(t, func() bool { return hears(t, c, a, ServiceAddress) })
	must(t, a.PowerCut(t.Context()))
	must(t, b.Run(t.Context(), "ip", "address", "add", ServiceAddress+"/24", "dev", "eth0"))
	must(t, b.Run(t.Context(), "arping", "-q", "-c", "1", "-A", "-I", "eth0", ServiceAddress))
	if !hears(t, c, b, ServiceAddress) {
		t.Error("the service does not answer at once on its new host")
	}
	must(t, a.PowerOn(t.Context()))
	if hears(t, c, a, ServiceAddress) {
		t.Error("a host has an address after a power cut that was not its own")
	}
}

// mountsOfItsOwn starts a program that has what is mounted now for as long as the
// test lasts.
func mountsOfItsOwn(t *testing.T) {
	t.Helper()
	cmd := exec.Command("unshare", "--mount", "cat")
	in, err := cmd.StdinPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { must(t, errors.Join(in.Close(), cmd.Wait())) })
	mounts := func(process string) string {
		ns, err := os.Readlink(filepath.Join("/proc", process, "ns", "mnt"))
		must(t, err)
		return ns
	}
	eventually(t, func() bool { return mounts(strconv.Itoa(cmd.Process.Pid)) != mounts("self") })
}

// TestPowerCut looks at what a disk has after the power was cut, also while
// somebody else has it mounted.
func TestPowerCut(t *testing.T) {
	for name, before := range map[string]func(*testing.T){"alone": func(*testing.T) {}, "mounted elsewhere": mountsOfItsOwn} {
		t.Run(name, func(t *testing.T) { cutPower(t, before) })
	}
}

func cutPower(t *testing.T, before func(*testing.T)) {
	n := ForTest(t)
	h := host(t, n, "a")
	d, err := h.Disk(t.Context(), "disk", 64<<20)
	must(t, err)
	sleeper := h.Command(context.Background(), "sleep", "1000")
	must(t, sleeper.Start())
	write := func(name string, sync bool) {
		f, err := os.Create(filepath.Join(d.Path, name))
		must(t, err)
		_, err = f.WriteString(name)
		must(t, err)
		if sync {
			must(t, f.Sync())
		}
		must(t, f.Close())
	}
	write("durable", true)
	write("renamed", true)
	write("forgotten", false)
	must(t, os.Rename(filepath.Join(d.Path, "renamed"), filepath.Join(d.Path, "other")))
	before(t)
	must(t, h.PowerCut(t.Context()))
	if sleeper.Wait() == nil {
		t.Error("a process was not killed")
	}
	must(t, h.PowerOn(t.Context()))
	for name, there := range map[string]bool{"durable": true, "renamed": true, "other": false, "forgotten": false} {
		data, err := os.ReadFile(filepath.Join(d.Path, name))
		if there && (err != nil || string(data) != name) || !there && err == nil {
			t.Errorf("%q: %q, %v", name, data, err)
		}
	}
	write("again", true)
}

func TestDiskFails(t *testing.T) {
	n := ForTest(t)
	h := host(t, n, "a")
	d, err := h.Disk(t.Context(), "disk", 64<<20)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(d.Path, "mail"), []byte("mail"), 0o600))
	must(t, run(t.Context(), "sync", "-f", d.Path))
	must(t, d.Fail())
	must(t, d.Fail())
	if _, err := os.ReadFile(filepath.Join(d.Path, "mail")); !errors.Is(err, syscall.EIO) {
		t.Errorf("reading: %v, want an I/O error", err)
	}
	if err := os.Mkdir(filepath.Join(d.Path, "dir"), 0o700); !errors.Is(err, syscall.EIO) {
		t.Errorf("writing: %v, want an I/O error", err)
	}
	must(t, d.Repair(t.Context()))
	if _, err := os.Stat(filepath.Join(d.Path, "mail")); err != nil {
		t.Error(err)
	}
	must(t, d.Vanish(t.Context()))
	if list, err := os.ReadDir(d.Path); err != nil || len(list) != 0 {
		t.Errorf("%v, %v, want an empty directory", list, err)
	}
	must(t, d.Repair(t.Context()))
	if _, err := os.Stat(filepath.Join(d.Path, "mail")); err != nil {
		t.Error(err)
	}
}

// TestMakerDies kills a process that has made a network: everything of it goes
// away by itself.
func TestMakerDies(t *testing.T) {
	if os.Getenv("HOSTS_MAKER") == "1" {
		n := ForTest(t)
		h := host(t, n, "a")
		_, err := h.Disk(t.Context(), "disk", 16<<20)
		must(t, err)
		must(t, h.Command(context.Background(), "sleep", "1000").Start())
		_, err = os.Stdout.WriteString("made " + n.prefix + "\n")
		must(t, err)
		must(t, syscall.Kill(os.Getpid(), syscall.SIGKILL))
	}
	Need(t)
	cmd := exec.Command(os.Args[0], "-test.run=TestMakerDies$")
	cmd.Env = append(os.Environ(), "HOSTS_MAKER=1")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	_ = cmd.Run() // it kills itself
	_, rest, ok := strings.Cut(out.String(), "made ")
	if !ok {
		t.Fatalf("it did not get to the end: %s", out.String())
	}
	prefix, _, _ := strings.Cut(rest, "\n")
	eventually(t, func() bool {
		namespaces, err := filepath.Glob(namespace + prefix + "*")
		must(t, err)
		_, err = os.Stat(filepath.Join(os.TempDir(), prefix))
		return len(namespaces) == 0 && os.IsNotExist(err)
	})
	mounts, err := os.ReadFile("/proc/mounts")
	must(t, err)
	if strings.Contains(string(mounts), prefix) {
		t.Errorf("something of it is still mounted:\n%s", mounts)
	}
}

func TestSweep(t *testing.T) {
	Need(t)
	// The process that was just waited for is gone, and its number is free.
	gone := exec.Command("true")
	must(t, gone.Run())
	prefix := "mailtwin-" + strconv.Itoa(gone.Process.Pid) + "-0"
	must(t, ip(t.Context(), "netns", "add", prefix+"-a"))
	must(t, os.MkdirAll(filepath.Join(os.TempDir(), prefix, "a"), 0o755))
	n := ForTest(t)
	for _, path := range []string{namespace + prefix + "-a", filepath.Join(os.TempDir(), prefix)} {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%q is still there: %v", path, err)
		}
	}
	if _, err := os.Stat(namespace + n.switchName()); err != nil {
		t.Error(err)
	}
}

func TestParsePrefix(t *testing.T) {
	for name, want := range map[string]string{
		"mailtwin-12-3": "mailtwin-12-3", "mailtwin-12-3-mx-1": "mailtwin-12-3",
		"mailtwin": "", "mailtwin-x-3": "", "mailtwin-12-x": "", "other-12-3": "", "mailtwin--3": "",
	} {
		if got, _, ok := parsePrefix(name); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v", name, got, ok)
		}
	}
}
