package pair

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopTimeout is how long a daemon may take to stop cleanly.
const stopTimeout = 20 * time.Second

// Node is one daemon with its mailstore.
type Node struct {
	Name   string
	Store  string
	State  string // its state directory
	Listen string // host:port
	// Wrap is a command that runs the daemon, like prlimit with its options.
	Wrap []string
	// Env is added to the daemon's environment.
	Env []string
	// Enter is a command line that runs the daemon and every command of the
	// node, like one that enters a host; none where they run here.
	Enter []string

	binary string
	config string
	log    string

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd has ended
}

// NewNode describes a node that is to be made with the mailtwin command
// binary: its settings, its state and its log are in the directory dir, under
// its name.
func NewNode(binary, dir, name, store, listen string) *Node {
	return &Node{
		Name: name, Store: store, Listen: listen, binary: binary,
		State:  filepath.Join(dir, name),
		config: filepath.Join(dir, name+".toml"),
		log:    filepath.Join(dir, name+".log"),
	}
}

// Command returns one of the commands for this node, to be run.
func (n *Node) Command(ctx context.Context, args ...string) *exec.Cmd {
	line := append(append([]string{}, n.Enter...), n.binary)
	line = append(append(line, args...), "--config", n.config)
	return exec.CommandContext(ctx, line[0], line[1:]...)
}

// Config returns the path of the node's settings.
func (n *Node) Config() string { return n.config }

// Run runs one of the commands for this node and returns what it printed. A
// command that ends with another code than 0 is an *exec.ExitError beside
// what it printed.
func (n *Node) Run(ctx context.Context, args ...string) ([]byte, error) {
	cmd := n.Command(ctx, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("mailtwin %q on %s: %w: %s", args, n.Name, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}

// Set changes a setting that is in the file already, for the next start of the
// daemon.
func (n *Node) Set(key, value string) error {
	data, err := os.ReadFile(n.config)
	if err != nil {
		return err
	}
	changed := regexp.MustCompile(`(?m)^`+key+` = .*$`).ReplaceAll(data, fmt.Appendf(nil, "%s = %q", key, value))
	if bytes.Equal(changed, data) {
		return fmt.Errorf("%s is not in %s", key, n.config)
	}
	return os.WriteFile(n.config, changed, 0o600)
}

// Unbound is the profile that leaves the array to the node: beside other load,
// such as that of the tests themselves, any other rightly makes a node wait, for
// as long as the load lasts.
const Unbound = "evacuate"

// SetProfile writes the profile of the pace into the settings, before the
// daemon is started.
func (n *Node) SetProfile(profile string) error {
	if profile == "" {
		return nil
	}
	settings, err := os.ReadFile(n.config)
	if err != nil {
		return err
	}
	const as = "\nprofile = %q\n"
	before, after, found := strings.Cut(string(settings), fmt.Sprintf(as, "gentle"))
	if !found {
		return fmt.Errorf("the settings of %s have no profile to be changed", n.Name)
	}
	return os.WriteFile(n.config, []byte(before+fmt.Sprintf(as, profile)+after), 0o600)
}

// Start starts the daemon. It returns at once: who needs more waits for a
// status.
func (n *Node) Start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd != nil {
		return fmt.Errorf("%s runs already", n.Name)
	}
	log, err := os.OpenFile(n.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	args := append(append([]string{}, n.Enter...), n.Wrap...)
	args = append(args, n.binary, "daemon", "--config", n.config)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), n.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", n.Name, err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(exited)
	}()
	n.cmd, n.exited = cmd, exited
	return nil
}

// Kill ends the daemon at once, as a power cut would end it, and returns when
// it is gone. It is no error if it does not run.
func (n *Node) Kill() error { return n.end(syscall.SIGKILL) }

// Stop ends the daemon cleanly; one that takes too long is killed, and that
// is an error.
func (n *Node) Stop() error { return n.end(syscall.SIGTERM) }

func (n *Node) end(signal syscall.Signal) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return nil
	}
	cmd, exited := n.cmd, n.exited
	n.cmd = nil
	if err := cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("ending %s: %w", n.Name, err)
	}
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-exited:
	case <-timer.C:
		_ = cmd.Process.Kill()
		<-exited
		return fmt.Errorf("%s did not stop within %v and was killed", n.Name, stopTimeout)
	}
	if code := cmd.ProcessState.ExitCode(); signal == syscall.SIGTERM && code != 0 {
		return fmt.Errorf("%s stopped with the code %d", n.Name, code)
	}
	return nil
}

// Exited returns a channel that is closed when the daemon has ended by
// itself or otherwise; nil if it was not started.
func (n *Node) Exited() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.exited
}

// Status asks the daemon how it is. The exit code of the command says how
// good that is and is no error here.
func (n *Node) Status(ctx context.Context) (Status, error) {
	out, err := n.Run(ctx, "status", "--json")
	if len(out) == 0 && err != nil {
		return Status{}, err
	}
	return parseStatus(out)
}

// Watch calls f with each status that the daemon tells, until f returns false
// or the context ends; both are no error.
func (n *Node) Watch(ctx context.Context, f func(Status) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := n.Command(ctx, "status", "--json", "--watch")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("watching the status of %s: %w", n.Name, err)
	}
	err = eachStatus(out, f)
	cancel()
	_ = cmd.Wait() // it was ended just now, or its output has told how
	if ctx.Err() != nil || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// waitFor returns when the daemon tells a status that is good. One that has
// ended meanwhile may be started again.
func (n *Node) waitFor(ctx context.Context, good func(Status) bool) error {
	found := false
	return poll(ctx, func() bool {
		_ = n.Watch(ctx, func(s Status) bool { // it is watched anew after an error
			found = good(s)
			return !found
		})
		return found
	})
}

// eachStatus decodes one document after another.
func eachStatus(r io.Reader, f func(Status) bool) error {
	decoder := json.NewDecoder(r)
	for {
		var document json.RawMessage
		if err := decoder.Decode(&document); err != nil {
			return err
		}
		s, err := parseStatus(document)
		if err != nil {
			return err
		}
		if !f(s) {
			return nil
		}
	}
}

// Log returns the last of what the daemon has logged.
func (n *Node) Log() []byte {
	const most = 8 << 10
	data, err := os.ReadFile(n.log)
	if err != nil {
		return []byte(err.Error())
	}
	return data[max(0, len(data)-most):]
}

// PeakMemory returns the most memory that the running daemon has had
// resident, in bytes.
func (n *Node) PeakMemory() (int64, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return 0, fmt.Errorf("%s does not run", n.Name)
	}
	return peakMemory(n.cmd.Process.Pid)
}

func peakMemory(pid int) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("process %d tells no peak of its memory", pid)
}
