package site

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/mailtwin/mailtwin/integration/dovecot"
	"github.com/mailtwin/mailtwin/integration/hosts"
	"github.com/mailtwin/mailtwin/integration/ledger"
	"github.com/mailtwin/mailtwin/integration/pair"
)

const (
	port         = "7420" // of the nodes
	pollInterval = 25 * time.Millisecond
)

// Machine is a mail host.
type Machine struct {
	*hosts.Host
	Node    *pair.Node
	Dovecot *dovecot.Server
	Array   *hosts.Disk // has the store
	System  *hosts.Disk // has the node's state

	power     string // the file with the state of its socket
	base      string // Dovecot's base directory
	mu        sync.Mutex
	abandoned bool // what it acknowledges is replicated no more
	boots     int
}

// durable has a Dovecot keep its promises through a power cut, and tell the tokens of
// messages by their files: its cache is never synced, though the log is that says where
// in it the headers of a message are, so that after a power cut (seen with 2.3.19.1) one
// message is shown with the token of another.
const durable = "mail_fsync = always\nmail_never_cache_fields = imap.envelope hdr." + ledger.Header + "\n"

// machine makes a mail host that runs nothing yet.
func (s *Site) machine(ctx context.Context, name string) (*Machine, error) {
	h, err := s.Network.Host(ctx, name)
	if err != nil {
		return nil, err
	}
	m := &Machine{Host: h, power: filepath.Join(s.powerDir(), name)}
	if m.Array, err = h.Disk(ctx, "array", s.opt.ArraySize); err != nil {
		return nil, err
	}
	if m.System, err = h.Disk(ctx, "system", 512<<20); err != nil {
		return nil, err
	}
	store := filepath.Join(m.Array.Path, "vmail")
	run := filepath.Join(h.Dir, "dovecot")
	for _, dir := range []string{store, run} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, err
		}
	}
	rawLog, err := s.rawLog(run)
	if err != nil {
		return nil, err
	}
	if m.Dovecot, err = dovecot.Prepare(run, dovecot.Options{
		Store: store, Everywhere: true, Wrap: h.Wrap(), Name: name,
		MailOptions: durable + s.waiting(m) + rawLog,
	}); err != nil {
		return nil, err
	}
	m.base = filepath.Join(run, "base")
	m.Node = pair.NewNode(s.opt.Binary, h.Dir, name, store, net.JoinHostPort(h.Address, port))
	if err := writeHooks(s.paths(m)); err != nil {
		return nil, err
	}
	m.Node.State = filepath.Join(m.System.Path, "state")
	m.enter()
	return m, os.WriteFile(m.power, []byte("on\n"), 0o644)
}

// enter has the node's commands run in the host. All hosts are of one machine,
// which does not boot: which boot of the host it is has to be said.
func (m *Machine) enter() {
	m.boots++
	m.Node.Enter = append(m.Host.Wrap(), "env", fmt.Sprintf("MAILTWIN_BOOT=%s-%d", m.Name, m.boots))
}

// waiting returns the settings of a Dovecot that lets clients wait until their
// mailboxes are ready, and mail until all are.
func (s *Site) waiting(m *Machine) string {
	if !s.opt.Hooks {
		return ""
	}
	return fmt.Sprintf(`service imap {
  executable = imap imap-postlogin
}
service imap-postlogin {
  executable = script-login %s
  user = root
  vsz_limit = 4G
  unix_listener imap-postlogin {
  }
}
service pop3 {
  executable = pop3 imap-postlogin
}
service lmtp {
  executable = %s
  vsz_limit = 4G
}
`, filepath.Join(m.hooks(), "postlogin"), filepath.Join(m.hooks(), "lmtp"))
}

// AddHooks writes into the node's settings what a promotion runs: the hooks,
// and how doveadm is run.
func (m *Machine) AddHooks() error {
	data, err := os.ReadFile(m.Node.Config())
	if err != nil {
		return err
	}
	settings, all := string(data), filepath.Join(m.hooks(), "all")
	for table, lines := range map[string]string{
		"hooks": fmt.Sprintf("fence = %q\npromote = %q\ndemote = %q\n", all, all, all),
		"imap":  fmt.Sprintf("doveadm = %q\nusers = \"%%d/%%n/Maildir\"\n", "doveadm -c "+m.Dovecot.Config()),
	} {
		// The table may be there, with nothing but comments in it.
		head := "\n[" + table + "]\n"
		before, after, _ := strings.Cut(settings, head)
		settings = before + head + lines + after
	}
	return os.WriteFile(m.Node.Config(), []byte(settings), 0o600)
}

// StartMail starts the mail server and gives this host the service address.
func (m *Machine) StartMail(ctx context.Context) error {
	return m.Run(ctx, "env", m.hook("promote", "after")...)
}

// StartMailByHand does what a promotion would have done for the mail of users: it
// starts the mail server, has it look at all mailboxes while nobody reaches it, and
// only then gives this host the service address.
func (m *Machine) StartMailByHand(ctx context.Context, users []string) error {
	if err := m.Run(ctx, "env", m.script("mailserver", "promote", "after")...); err != nil {
		return err
	}
	for _, user := range users {
		// It answers a moment after it has started.
		var last error
		if err := WaitFor(ctx, "Dovecot has looked at the mail of "+user, func() bool {
			_, last = m.Dovecot.Doveadm(ctx, "search", "-u", user, "mailbox", "*", "uid", "1")
			return last == nil
		}); err != nil {
			return errors.Join(err, last)
		}
	}
	return m.StartMail(ctx)
}

// StopMail ends both.
func (m *Machine) StopMail(ctx context.Context) error {
	return m.Run(ctx, "env", m.hook("demote", "after")...)
}

// PowerCut cuts the power of the host.
func (m *Machine) PowerCut(ctx context.Context) error {
	if err := m.Host.PowerCut(ctx); err != nil {
		return err
	}
	// The node's process was killed with all others; here it is noted.
	if err := m.Node.Kill(); err != nil {
		return err
	}
	return os.WriteFile(m.power, []byte("off\n"), 0o644)
}

// PowerOn boots the host.
func (m *Machine) PowerOn(ctx context.Context) error {
	if err := os.WriteFile(m.power, []byte("on\n"), 0o644); err != nil {
		return err
	}
	if err := m.Host.PowerOn(ctx); err != nil {
		return err
	}
	m.enter()
	// Booting empties the directories of what runs.
	if err := os.RemoveAll(m.base); err != nil {
		return err
	}
	if err := removeLocks(m.Node.Store); err != nil {
		return err
	}
	return m.Boot(ctx)
}

// removeLocks removes the locks of a Dovecot that is no more. After a power
// cut they do not say whose they were, and the next Dovecot waits two minutes
// for a uidlist.lock, and three for the newlock of a log that was just being
// made, before it takes them for stale. All of the user's clients wait with it.
func removeLocks(store string) error {
	return filepath.WalkDir(store, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if ext := filepath.Ext(path); ext != ".lock" && ext != ".newlock" {
			return nil
		}
		return os.Remove(path)
	})
}

// RepairArray brings the array back after it failed: everything on the host
// is ended for that, as a reboot would, and started again.
func (m *Machine) RepairArray(ctx context.Context) error {
	if err := m.PowerCut(ctx); err != nil {
		return err
	}
	return m.PowerOn(ctx)
}

// Boot starts the node, and the mail server if the node is the primary.
func (m *Machine) Boot(ctx context.Context) error {
	if err := m.Node.Start(); err != nil {
		return err
	}
	if err := m.Node.WaitUntilAnswers(ctx); err != nil {
		return err
	}
	// A primary asks its peers first whether it still is one. Where nobody answers,
	// whoever switched the host on knows that it is.
	var status pair.Status
	if err := WaitFor(ctx, m.Name+" knows its role", func() bool {
		var err error
		status, err = m.Node.Status(ctx)
		return err == nil && (status.Role != "unconfirmed" || status.Store.State != "missing")
	}); err != nil {
		return err
	}
	if !leads(status) {
		return nil
	}
	if err := m.StartMail(ctx); err != nil {
		return err
	}
	// The hook that stops it may have run a moment before it was there.
	status, err := m.Node.Status(ctx)
	if err != nil || leads(status) {
		return err
	}
	return m.StopMail(ctx)
}

// leads reports whether a node takes itself for the primary.
func leads(s pair.Status) bool { return s.Role == "primary" || s.Role == "unconfirmed" }

// Abandoned reports whether what the host acknowledges is replicated no more,
// because another one was promoted.
func (m *Machine) Abandoned() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.abandoned
}

func (m *Machine) setAbandoned(is bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.abandoned = is
}

// WaitFor polls until f is true or the context ends.
func WaitFor(ctx context.Context, what string, f func() bool) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for !f() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}
