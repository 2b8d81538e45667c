package hosts

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// ErrMissing says that hosts cannot be made here, and what to do about it.
var ErrMissing = errors.New("hosts cannot be made")

// ServiceAddress is an address of the network that no host has by itself: a
// service that moves between hosts can have it.
const ServiceAddress = "10.77.0.100"

const (
	mask      = "/24"
	namespace = "/run/netns/"
	mostHosts = 90 // their addresses come before the service's
)

//go:embed clean.sh
var cleanScript string

// Network is a bridge and the hosts on it. Its methods may be called
// concurrently as long as they concern different hosts.
type Network struct {
	// Dir holds the directories of the hosts; everybody can pass through it.
	Dir string

	prefix string // of every name: "mailtwin-<process>-<number>"
	hosts  []*Host
	reaper *exec.Cmd
	alive  io.Closer // the end of the pipe by which the reaper knows that we live
}

// Available returns nil if hosts can be made here, and otherwise an ErrMissing
// with what to do.
func Available() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: network namespaces need root; run the tests as root", ErrMissing)
	}
	for _, program := range []string{"ip", "tc", "nsenter", "mkfs.ext4", "mount", "umount", "arping"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%w: no %s here; run integration/setup.sh", ErrMissing, program)
		}
	}
	return nil
}

// New makes a network without hosts, after it has removed what former
// processes may have left behind.
func New(ctx context.Context) (*Network, error) {
	if err := Available(); err != nil {
		return nil, err
	}
	if err := sweep(ctx); err != nil {
		return nil, err
	}
	n := &Network{}
	if err := n.claim(); err != nil {
		return nil, err
	}
	if err := n.startReaper(); err != nil {
		return nil, errors.Join(err, os.Remove(n.Dir))
	}
	if err := n.makeSwitch(ctx); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// claim finds a prefix that is not in use.
func (n *Network) claim() error {
	for i := range 1000 {
		n.prefix = fmt.Sprintf("mailtwin-%d-%d", os.Getpid(), i)
		n.Dir = filepath.Join(os.TempDir(), n.prefix)
		err := os.Mkdir(n.Dir, 0o755)
		if err == nil {
			return os.Chmod(n.Dir, 0o755) // whatever the umask is
		}
		if !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return errors.New("too many networks of hosts")
}

// startReaper starts the child that cleans up when this process is gone.
func (n *Network) startReaper() error {
	n.reaper = cleaner(n.prefix, n.Dir, "wait")
	n.reaper.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // an interrupt from the terminal is not for it
	alive, err := n.reaper.StdinPipe()
	if err != nil {
		return err
	}
	n.alive = alive
	if err := n.reaper.Start(); err != nil {
		return fmt.Errorf("starting what cleans up: %w", err)
	}
	return nil
}

func (n *Network) makeSwitch(ctx context.Context) error {
	ns := n.switchName()
	for _, args := range [][]string{
		{"netns", "add", ns},
		{"-n", ns, "link", "add", "name", "switch", "type", "bridge"},
		{"-n", ns, "link", "set", "dev", "switch", "up"},
	} {
		if err := ip(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// switchName is the namespace of the bridge.
func (n *Network) switchName() string { return n.prefix + "-switch" }

// Close ends everything that runs in the hosts, without asking, and removes
// all of them.
func (n *Network) Close() error {
	if err := n.alive.Close(); err != nil {
		return err
	}
	// Nobody looks whether all is gone: then another network may have its name.
	if err := n.reaper.Wait(); err != nil {
		return fmt.Errorf("some of %q, or a namespace of that name, is left behind: %w", n.Dir, err)
	}
	return nil
}

// sweep removes what networks of processes that are gone left behind.
func sweep(ctx context.Context) error {
	left := map[string]bool{}
	for _, pattern := range []string{namespace + "mailtwin-*-*", filepath.Join(os.TempDir(), "mailtwin-*-*")} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		for _, path := range found {
			if prefix, maker, ok := parsePrefix(filepath.Base(path)); ok && !alive(maker) {
				left[prefix] = true
			}
		}
	}
	for prefix := range left {
		cmd := cleaner(prefix, filepath.Join(os.TempDir(), prefix), "")
		if out, err := runIn(ctx, cmd); err != nil {
			return fmt.Errorf("sweeping away %q: %w: %s", prefix, err, out)
		}
	}
	return nil
}

// parsePrefix splits the name of a namespace or a directory: the prefix and
// the process that made it.
func parsePrefix(name string) (prefix string, maker int, ok bool) {
	parts := strings.SplitN(name, "-", 4)
	if len(parts) < 3 || parts[0] != "mailtwin" {
		return "", 0, false
	}
	maker, err := strconv.Atoi(parts[1])
	if err != nil || maker <= 0 {
		return "", 0, false
	}
	if _, err := strconv.Atoi(parts[2]); err != nil {
		return "", 0, false
	}
	return strings.Join(parts[:3], "-"), maker, true
}

func alive(pid int) bool { return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

// cleaner is the command that removes a network.
func cleaner(prefix, dir, wait string) *exec.Cmd {
	return exec.Command("sh", "-c", cleanScript, "clean.sh", prefix, dir, wait)
}

// runIn runs a command that was made without a context, and returns all that
// it says.
func runIn(ctx context.Context, cmd *exec.Cmd) ([]byte, error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() }) // it may have ended
	defer stop()
	err := cmd.Wait()
	return out.Bytes(), err
}

// ip runs the command of that name.
func ip(ctx context.Context, args ...string) error { return run(ctx, "ip", args...) }

func run(ctx context.Context, name string, args ...string) error {
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
