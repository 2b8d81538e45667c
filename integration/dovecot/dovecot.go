package dovecot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mailtwin/mailtwin/integration/port"
)

// ErrMissing says that Dovecot cannot be run here, and what to do about it.
var ErrMissing = errors.New("dovecot cannot be run")

// How long Dovecot may take to start and to stop.
const (
	startTimeout = 20 * time.Second
	stopTimeout  = 15 * time.Second
	pollInterval = 20 * time.Millisecond
)

// Available returns nil if a Dovecot can be started here, and otherwise an
// ErrMissing with what to do.
func Available() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: it needs root to become the owner of the mail; run the tests as root", ErrMissing)
	}
	for _, program := range []string{"dovecot", "doveadm"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%w: no %s here; apt-get install dovecot-imapd dovecot-lmtpd dovecot-sieve", ErrMissing, program)
		}
	}
	_, _, err := Owner()
	return err
}

// Owner returns the user and the group that mail belongs to.
func Owner() (uid, gid int, err error) {
	u, err := user.Lookup("mail")
	if err != nil {
		return 0, 0, fmt.Errorf("%w: the system user \"mail\" is missing: %w", ErrMissing, err)
	}
	if uid, err = strconv.Atoi(u.Uid); err != nil {
		return 0, 0, err
	}
	gid, err = strconv.Atoi(u.Gid)
	return uid, gid, err
}

// Server is a running Dovecot.
type Server struct {
	IMAP string // host:port
	LMTP string // host:port

	run    string // directory of everything that is not mail
	wrap   []string
	cmd    *exec.Cmd
	output bytes.Buffer // of the master process; read it only after exited
	exited chan struct{}
}

// Start starts a Dovecot on a store and returns when it answers on both
// ports. The store's root is made if it is missing; it and every directory
// above it must let the owner of the mail through.
func Start(ctx context.Context, opt Options) (*Server, error) {
	if err := Available(); err != nil {
		return nil, err
	}
	run, err := os.MkdirTemp("", "dv")
	if err != nil {
		return nil, err
	}
	s, err := Prepare(run, opt)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(run))
	}
	if err := s.launch(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// Prepare writes the configuration of a Dovecot into the directory run, which
// must exist and becomes the place of everything that is not mail. Somebody
// else starts it, with Config, and ends it. The store's root is given to the
// owner of the mail if it is there.
func Prepare(run string, opt Options) (*Server, error) {
	uid, gid, err := Owner()
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(run, 0o755); err != nil {
		return nil, err
	}
	if opt.Name == "" {
		opt.Name = "mx1.example.org"
	}
	listen, addrs := "*", []string{net.JoinHostPort("", IMAPPort), net.JoinHostPort("", LMTPPort)}
	if !opt.Everywhere {
		if err := os.MkdirAll(opt.Store, 0o755); err != nil {
			return nil, fmt.Errorf("making the store for dovecot: %w", err)
		}
		if addrs, err = port.Free(2); err != nil {
			return nil, err
		}
		if listen, _, err = net.SplitHostPort(addrs[0]); err != nil {
			return nil, err
		}
	}
	if err := os.Chown(opt.Store, uid, gid); err != nil && !(opt.Everywhere && os.IsNotExist(err)) {
		return nil, fmt.Errorf("giving the store to the mail's owner: %w", err)
	}
	s := &Server{IMAP: addrs[0], LMTP: addrs[1], run: run, wrap: opt.Wrap, exited: make(chan struct{})}
	config, err := settings{
		Options: opt, Layout: opt.layout(), Run: run, UID: uid, GID: gid, Listen: listen,
		IMAPPort: portOf(addrs[0]), LMTPPort: portOf(addrs[1]), POP3Port: POP3Port, Password: Password,
	}.render()
	if err != nil {
		return nil, err
	}
	return s, os.WriteFile(s.Config(), config, 0o644)
}

// launch starts the master process and waits until it serves.
func (s *Server) launch(ctx context.Context) error {
	s.cmd = exec.Command("dovecot", "-F", "-c", s.Config())
	s.cmd.Stdout, s.cmd.Stderr = &s.output, &s.output
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("starting dovecot: %w", err)
	}
	go func() {
		_ = s.cmd.Wait() // what it says is in the log
		close(s.exited)
	}()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for _, addr := range []string{s.IMAP, s.LMTP} {
		if err := s.waitFor(ctx, addr); err != nil {
			return err
		}
	}
	return nil
}

// waitFor returns when Dovecot greets on addr.
func (s *Server) waitFor(ctx context.Context, addr string) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := greets(ctx, addr)
		if err == nil {
			return nil
		}
		select {
		case <-s.exited:
			return fmt.Errorf("dovecot ended: %s%s", s.output.Bytes(), s.Log())
		case <-ctx.Done():
			return fmt.Errorf("waiting for dovecot on %s: %w", addr, err)
		case <-tick.C:
		}
	}
}

// greets connects and reads the beginning of the greeting.
func greets(ctx context.Context, addr string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetReadDeadline(deadline)
	}
	_, err = conn.Read(make([]byte, 1))
	return err
}

// Config returns the path of the configuration, for doveadm -c.
func (s *Server) Config() string { return filepath.Join(s.run, "dovecot.conf") }

// Log returns what Dovecot has logged so far.
func (s *Server) Log() []byte {
	data, err := os.ReadFile(filepath.Join(s.run, "dovecot.log"))
	if err != nil {
		return []byte(err.Error())
	}
	return data
}

// Complaints returns the lines of the log that are worse than information.
func (s *Server) Complaints() []string {
	var found []string
	for line := range strings.Lines(string(s.Log())) {
		for _, bad := range []string{" Warning: ", " Error: ", " Fatal: ", " Panic: "} {
			if strings.Contains(line, bad) {
				found = append(found, strings.TrimSpace(line))
			}
		}
	}
	return found
}

// Doveadm runs doveadm with this server's configuration and returns what it
// printed.
func (s *Server) Doveadm(ctx context.Context, args ...string) ([]byte, error) {
	line := append(append(append([]string{}, s.wrap...), "doveadm", "-c", s.Config()), args...)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("doveadm %q: %w: %s", args, err, stderr.Bytes())
	}
	return out, nil
}

// Stop ends all of this Dovecot's processes and removes everything of it but
// the mail. It is no error to stop twice.
func (s *Server) Stop() error {
	if s.cmd != nil && s.cmd.Process != nil {
		_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		timer := time.NewTimer(stopTimeout)
		defer timer.Stop()
		select {
		case <-s.exited:
		case <-timer.C:
			_ = s.cmd.Process.Kill()
			<-s.exited
		}
	}
	return os.RemoveAll(s.run)
}

// portOf returns the port of an address.
func portOf(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }
