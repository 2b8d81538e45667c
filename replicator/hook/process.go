package hook

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process runs a program to its end, or to its limit.
func (h *Hooks) process(ctx context.Context, path string, p Phase, env []string, tell func(string)) error {
	read, write, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	defer func() { _ = read.Close() }()
	cmd := exec.Command(path, string(p))
	cmd.Env, cmd.Dir = env, "/"
	cmd.Stdout, cmd.Stderr = write, write
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// What Go opens is closed at an exec, but not what the daemon was started
	// with. A kernel that does not know the call leaves it as it was.
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	err = cmd.Start()
	_ = write.Close()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	output := make(chan struct{})
	go func() {
		defer close(output)
		tellLines(read, tell)
	}()
	stopped := h.await(ctx, cmd.Process.Pid)
	err = cmd.Wait()
	// Whoever stayed behind with the output open does not hold us up.
	linger := time.AfterFunc(h.linger, func() { _ = read.Close() })
	<-output
	linger.Stop()
	if stopped != nil {
		return stopped
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return fmt.Errorf("%w with %s", ErrFailed, exit.ProcessState)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFailed, err)
	}
	return nil
}

// await returns once the process pid has ended and can be waited for. If it
// had to be killed, it says why.
func (h *Hooks) await(ctx context.Context, pid int) error {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		// Without being reaped it keeps its number, so that a signal for its
		// group can reach nobody else.
		for {
			err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
			if !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}()
	limit := time.NewTimer(h.cfg.Timeout)
	defer limit.Stop()
	var why error
	select {
	case <-ended:
		return nil
	case <-limit.C:
		why = ErrLimit
	case <-ctx.Done():
		why = context.Cause(ctx)
	}
	_ = unix.Kill(-pid, unix.SIGTERM) // it may end at this moment
	grace := time.NewTimer(h.grace)
	defer grace.Stop()
	select {
	case <-ended:
	case <-grace.C:
	}
	// Also when it has ended itself: others of its group may not have.
	_ = unix.Kill(-pid, unix.SIGKILL)
	<-ended
	return why
}
