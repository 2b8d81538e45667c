package modseq

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
)

// The exit codes of doveadm that say that there is nothing to be done.
const (
	exitNoUser   = 67
	exitNotFound = 68
)

// Bounds of one run of doveadm.
const (
	runTimeout = time.Minute
	// lookTimeout is for a run that lists the messages of all folders of a user:
	// the larger ones take as long as the array needs.
	lookTimeout = 10 * time.Minute
	maxOutput   = 64 << 20 // bytes
	maxWords    = 300      // bytes of what it complains of
)

// MaxFolders is the most folders of one user.
const MaxFolders = 100_000

// doveadm is how it is run: a program and its first arguments.
type doveadm []string

// run runs it and returns the lines that it printed. The code is that of its
// exit, and 0 or an error beside it.
func (d doveadm) run(ctx context.Context, args ...string) (lines []string, code int, err error) {
	return d.runFor(ctx, runTimeout, args...)
}

// runFor is run with another limit of time.
func (d doveadm) runFor(ctx context.Context, limit time.Duration, args ...string) (lines []string, code int, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, d[0], slices.Concat(d[1:], args)...)
	// A wrapper may have children; they end with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	out, complaints := &capped{left: maxOutput}, &capped{left: maxWords}
	cmd.Stdout, cmd.Stderr = out, complaints
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	}
	switch {
	case err != nil && ctx.Err() != nil:
		err = fmt.Errorf("`%s %s` was killed: %w", d[0], strings.Join(args, " "), ctx.Err())
	case err != nil:
		err = fmt.Errorf("`%s %s`: %w: %s", d[0], strings.Join(args, " "), err, words(complaints.String()))
	case out.left == 0:
		err = fmt.Errorf("`%s %s` printed more than %d bytes", d[0], strings.Join(args, " "), maxOutput)
	}
	return strings.FieldsFunc(out.String(), func(r rune) bool { return r == '\n' }), code, err
}

// words makes one line of what doveadm complains of.
func words(s string) string {
	return strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
}

// capped keeps the first bytes that it is given.
type capped struct {
	bytes.Buffer
	left int
}

// Write implements io.Writer; it never fails.
func (c *capped) Write(p []byte) (int, error) {
	n, err := c.Buffer.Write(p[:min(len(p), c.left)])
	c.left -= n
	return len(p), err
}

// users lists all users.
func (d doveadm) users(ctx context.Context) ([]string, error) {
	names, _, err := d.run(ctx, "user", "*")
	if err != nil {
		return nil, hint.Add(err, "Dovecot has to run and to be able to list its users; "+
			"where its userdb cannot, set imap.users in the settings")
	}
	return slices.DeleteFunc(names, func(name string) bool { return !mailstore.ValidUser(name) }), nil
}

// homes returns the homes of users, in their order; nil if that cannot be
// told.
func (d doveadm) homes(ctx context.Context, users []string) []string {
	homes, _, err := d.run(ctx, append([]string{"user", "-f", "home"}, users...)...)
	if err != nil || len(homes) != len(users) {
		return nil
	}
	return homes
}

// raise raises all folders of a user, INBOX first. before is called for each
// folder before Dovecot opens it, and after when it is raised; an error of
// theirs ends the work.
func (d doveadm) raise(ctx context.Context, user string, modseq uint64, before, after func(folder string) error) error {
	folders, code, err := d.run(ctx, "mailbox", "list", "-u", user)
	if code == exitNoUser {
		return nil
	}
	if err != nil {
		return err
	}
	if len(folders) > MaxFolders {
		return fmt.Errorf("%s has %d folders, more than %d", user, len(folders), MaxFolders)
	}
	slices.SortStableFunc(folders, func(a, b string) int { return rank(a) - rank(b) })
	least := strconv.FormatUint(modseq, 10)
	for _, folder := range folders {
		if err := before(folder); err != nil {
			return err
		}
		_, code, err := d.run(ctx, "mailbox", "update", "-u", user, "--min-highest-modseq", least, "--", folder)
		if err == nil {
			err = after(folder)
		} else if code == exitNotFound {
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return d.look(ctx, user)
}

// look has Dovecot bring the indexes of all folders of a user up to date, as a
// client does that opens them. See doc.go for why that must not wait for the
// client. STATUS would not do: Dovecot may answer it from the index of the list
// of folders.
func (d doveadm) look(ctx context.Context, user string) error {
	_, code, err := d.runFor(ctx, lookTimeout, "search", "-u", user, "mailbox", "*", "uid", "1")
	if code == exitNoUser || code == exitNotFound {
		return nil
	}
	return err
}

// rank is 0 for the folder that clients open first.
func rank(folder string) int {
	if strings.EqualFold(folder, "INBOX") {
		return 0
	}
	return 1
}
