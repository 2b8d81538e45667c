package hosts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// killTimeout is how long the processes of a host may take to be gone.
const killTimeout = 10 * time.Second

// Host is one host of a network.
type Host struct {
	Name    string
	Address string // its own, without a port
	// Dir is a directory of its own, reachable by everybody, which survives a
	// power cut: for what no host would have, like the logs of a test.
	Dir string

	network *Network
	ns      string
	disks   []*Disk
}

// Host adds a host with a cable that is plugged in.
func (n *Network) Host(ctx context.Context, name string) (*Host, error) {
	if len(n.hosts) == mostHosts {
		return nil, fmt.Errorf("a network has at most %d hosts", mostHosts)
	}
	h := &Host{
		Name:    name,
		Address: fmt.Sprintf("10.77.0.%d", len(n.hosts)+1),
		Dir:     filepath.Join(n.Dir, name),
		network: n,
		ns:      n.prefix + "-" + name,
	}
	if err := os.Mkdir(h.Dir, 0o755); err != nil {
		return nil, err
	}
	if err := os.Chmod(h.Dir, 0o755); err != nil {
		return nil, err
	}
	for _, args := range [][]string{
		{"netns", "add", h.ns},
		{"-n", n.switchName(), "link", "add", "name", name, "type", "veth", "peer", "name", "eth0", "netns", h.ns},
		{"-n", n.switchName(), "link", "set", "dev", name, "master", "switch", "up"},
		{"-n", h.ns, "link", "set", "lo", "up"},
	} {
		if err := ip(ctx, args...); err != nil {
			return nil, err
		}
	}
	n.hosts = append(n.hosts, h)
	return h, h.configure(ctx)
}

// configure gives the host its address and nothing else, as booting does.
func (h *Host) configure(ctx context.Context) error {
	// Without IPv6 there is no traffic but that of the tests.
	if err := h.Run(ctx, "sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6"); err != nil {
		return err
	}
	if err := ip(ctx, "-n", h.ns, "address", "flush", "dev", "eth0"); err != nil {
		return err
	}
	if err := ip(ctx, "-n", h.ns, "address", "add", h.Address+mask, "dev", "eth0"); err != nil {
		return err
	}
	return ip(ctx, "-n", h.ns, "link", "set", "eth0", "up")
}

// Wrap is a command line that runs the command after it in the host, in a
// process of the same id.
func (h *Host) Wrap() []string { return []string{"nsenter", "--net=" + namespace + h.ns, "--"} }

// Command returns a command that runs in the host.
func (h *Host) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	line := append(append(h.Wrap(), name), args...)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.WaitDelay = time.Second // for those that it leaves behind with its output open
	return cmd
}

// Run runs a command in the host. Its error has what the command printed.
func (h *Host) Run(ctx context.Context, name string, args ...string) error {
	if out, err := h.Command(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s on %s: %w: %s", name, strings.Join(args, " "), h.Name, err, bytes.TrimSpace(out))
	}
	return nil
}

// Dial connects from the host to an address of the network, host:port with
// the host in digits.
func (h *Host) Dial(ctx context.Context, address string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		// The thread is never unlocked: it ends with the goroutine, and nobody
		// else finds himself in the host's namespace.
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			// The first thread does not end, and the process would be taken for
			// one of the host. While it waits here, another one is used.
			defer runtime.UnlockOSThread()
			conn, err := h.Dial(ctx, address)
			done <- result{conn, err}
			return
		}
		conn, err := h.dialHere(ctx, address)
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}

// dialHere connects from the host's namespace, into which it moves the thread.
func (h *Host) dialHere(ctx context.Context, address string) (net.Conn, error) {
	ns, err := os.Open(namespace + h.ns)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("entering %s: %w", h.Name, err)
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp4", address)
}

// Processes returns what runs in the host.
func (h *Host) Processes(ctx context.Context) ([]int, error) {
	out, err := exec.CommandContext(ctx, "ip", "netns", "pids", h.ns).Output()
	if err != nil {
		return nil, fmt.Errorf("listing the processes of %s: %w", h.Name, err)
	}
	var pids []int
	for field := range strings.FieldsSeq(string(out)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, fmt.Errorf("understanding the process %q of %s: %w", field, h.Name, err)
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// Kill ends everything that runs in the host at once, and returns when it is
// gone.
func (h *Host) Kill(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		pids, err := h.Processes(ctx)
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			return nil
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("killing %d on %s: %w", pid, h.Name, err)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s still runs %v: %w", h.Name, pids, ctx.Err())
		case <-tick.C:
		}
	}
}

// PowerCut ends the host: the cable is dead, what was not durable on its disks
// is lost, every process is gone, and so is every address that somebody gave
// it.
func (h *Host) PowerCut(ctx context.Context) error {
	if err := h.Unplug(ctx); err != nil {
		return err
	}
	for _, d := range h.disks {
		if err := d.shutDown(); err != nil {
			return err
		}
	}
	if err := h.Kill(ctx); err != nil {
		return err
	}
	for _, d := range h.disks {
		if err := d.unmount(ctx); err != nil {
			return err
		}
	}
	return nil
}

// PowerOn boots the host after a power cut: disks and network, but no program.
func (h *Host) PowerOn(ctx context.Context) error {
	for _, d := range h.disks {
		if err := d.mount(ctx); err != nil {
			return err
		}
	}
	if err := h.configure(ctx); err != nil {
		return err
	}
	return h.PlugIn(ctx)
}
