package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/mailtwin/mailtwin/integration/port"
	"github.com/mailtwin/mailtwin/integration/proxy"
)

// sshd is an OpenSSH server of the benchmark's own, for rsync, with keys that
// are good for nothing else.
type sshd struct {
	dir  string
	addr string
	cmd  *exec.Cmd
	link *proxy.Proxy // counts what rsync sends when it is asked to
}

// remote is how ssh and rsync call the server; where it listens is an option.
const remote = "bench"

// startSSH makes keys, starts the server and waits until it answers.
func startSSH(ctx context.Context, dir string) (*sshd, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // sshd wants it
		return nil, err
	}
	for _, key := range []string{"host", "user"} {
		out, err := exec.CommandContext(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, key)).CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("making ssh keys: %w: %s", err, out)
		}
	}
	addrs, err := port.Free(1)
	if err != nil {
		return nil, err
	}
	s := &sshd{dir: dir, addr: addrs[0]}
	config := fmt.Sprintf("ListenAddress %s\nHostKey %s/host\nAuthorizedKeysFile %s/user.pub\nPidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\n",
		s.addr, dir, dir)
	if err := os.WriteFile(filepath.Join(dir, "sshd_config"), []byte(config), 0o600); err != nil {
		return nil, err
	}
	program, err := exec.LookPath("sshd") // it wants to be called by its whole path
	if err != nil {
		return nil, fmt.Errorf("%w; apt-get install openssh-server rsync", err)
	}
	s.cmd = exec.Command(program, "-D", "-e", "-f", filepath.Join(dir, "sshd_config"))
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s.cmd.Stderr = log
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting sshd: %w", err)
	}
	if s.link, err = proxy.New(s.addr, 1); err != nil {
		s.stop()
		return nil, err
	}
	return s, s.wait(ctx)
}

// wait returns when one can log in.
func (s *sshd) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		command := strings.Fields(s.shell(s.addr))
		out, err := exec.CommandContext(ctx, command[0], append(command[1:], remote, "true")...).CombinedOutput()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			log, _ := os.ReadFile(filepath.Join(s.dir, "log")) // what there is of it
			return fmt.Errorf("logging in to sshd: %w: %s%s", err, out, log)
		case <-tick.C:
		}
	}
}

// shell returns the ssh command for an address.
func (s *sshd) shell(addr string) string {
	name := "root"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, port, _ := net.SplitHostPort(addr) // it is our own
	return fmt.Sprintf("ssh -o HostName=%s -p %s -l %s -i %s/user -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
		host, port, name, s.dir)
}

// rsync copies a tree and returns how long that took, with a final sync of
// the disks, which rsync leaves out.
func (s *sshd) rsync(ctx context.Context, from, to string, options ...string) (time.Duration, error) {
	return s.run(ctx, s.addr, from, to, options)
}

// rsyncCounted is rsync through a proxy that counts; it returns the bytes of
// both directions as well.
func (s *sshd) rsyncCounted(ctx context.Context, from, to string, options ...string) (time.Duration, int64, error) {
	before := bytesOf(s.link)
	took, err := s.run(ctx, s.link.Addr(), from, to, options)
	return took, bytesOf(s.link) - before, err
}

func (s *sshd) run(ctx context.Context, addr, from, to string, options []string) (time.Duration, error) {
	args := append([]string{"-a", "-e", s.shell(addr)}, options...)
	start := time.Now()
	out, err := exec.CommandContext(ctx, "rsync", append(args, from+"/", remote+":"+to+"/")...).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("rsync: %w: %s", err, out)
	}
	syscall.Sync()
	return time.Since(start), nil
}

// bytesOf returns what has passed in both directions.
func bytesOf(link *proxy.Proxy) int64 {
	sent, received := link.Bytes()
	return sent + received
}

func (s *sshd) stop() {
	if s.link != nil {
		_ = s.link.Close() // it is only a helper's helper
	}
	if err := s.cmd.Process.Kill(); err == nil || errors.Is(err, os.ErrProcessDone) {
		_ = s.cmd.Wait() // it was killed
	}
}
