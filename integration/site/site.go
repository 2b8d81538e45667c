package site

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/mailtwin/mailtwin/integration/compare"
	"github.com/mailtwin/mailtwin/integration/hosts"
	"github.com/mailtwin/mailtwin/integration/ledger"
	"github.com/mailtwin/mailtwin/integration/pair"
)

// Options say what site to make.
type Options struct {
	Binary string // the mailtwin command
	// Names are the mail hosts.
	Names []string
	// ArraySize is the size of the disk that a store is on, in bytes; 0 is
	// 1 GiB.
	ArraySize int64
	// Hooks gives the nodes hooks; a mailtwin without failover has none.
	Hooks bool
	// Keep is the directory for what Keep is to keep; "": nothing.
	Keep string
}

// Site is a mail service. Its methods are for one script; the traffic that
// they start goes on beside it.
type Site struct {
	Network  *hosts.Network
	Machines map[string]*Machine
	Client   *hosts.Host
	Ledger   *ledger.Ledger

	answers sync.Mutex // held while it is decided what an answer is worth, and written down

	opt       Options
	record    record
	traffic   *traffic
	copies    copies
	downloads downloads
}

// New makes the hosts of a site. Who calls it ends the site with Close, also
// after an error.
func New(ctx context.Context, opt Options) (*Site, error) {
	if opt.ArraySize == 0 {
		opt.ArraySize = 1 << 30
	}
	s := &Site{Machines: map[string]*Machine{}, Ledger: ledger.New("m"), opt: opt, downloads: downloads{}}
	var err error
	if s.Network, err = hosts.New(ctx); err != nil {
		return s, err
	}
	if err := os.Mkdir(s.powerDir(), 0o755); err != nil {
		return s, err
	}
	if s.Client, err = s.Network.Host(ctx, "client"); err != nil {
		return s, err
	}
	for _, name := range opt.Names {
		if s.Machines[name], err = s.machine(ctx, name); err != nil {
			return s, err
		}
	}
	return s, nil
}

// Close ends everything, and removes it.
func (s *Site) Close() error {
	if s.traffic != nil {
		s.traffic.end()
	}
	var err error
	for _, m := range s.Machines {
		if m != nil && m.Node != nil {
			err = errors.Join(err, m.Node.Kill())
		}
	}
	if s.Network != nil {
		err = errors.Join(err, s.Network.Close())
	}
	return err
}

func (s *Site) powerDir() string { return filepath.Join(s.Network.Dir, "power") }

// StartPrimary makes the first node and starts it, with its mail server.
func (s *Site) StartPrimary(ctx context.Context, m *Machine) error {
	if _, err := m.Node.Run(ctx, "init", "--json", "--store", m.Node.Store, "--name", m.Name,
		"--listen", m.Node.Listen, "--state", m.Node.State); err != nil {
		return err
	}
	return s.bootFirst(ctx, m)
}

// bootFirst starts a host whose node was just made.
func (s *Site) bootFirst(ctx context.Context, m *Machine) error {
	if err := m.Node.SetProfile(pair.Unbound); err != nil {
		return err
	}
	if s.opt.Hooks {
		if err := m.AddHooks(); err != nil {
			return err
		}
	}
	return m.Boot(ctx)
}

// Join makes a mirror of a host and starts it.
func (s *Site) Join(ctx context.Context, m, p *Machine) error {
	if err := s.waitUntilListens(ctx, p); err != nil {
		return err
	}
	t, err := s.Type(ctx, p, "invite")
	if err != nil {
		return fmt.Errorf("mailtwin invite: %w: %s", err, t.Seen)
	}
	_, token, _ := strings.Cut(t.Seen, "--token ")
	token, _, _ = strings.Cut(token, " ")
	if t, err := s.Type(ctx, m, "join", p.Node.Listen, "--token", token, "--store", m.Node.Store,
		"--name", m.Name, "--listen", m.Node.Listen, "--state", m.Node.State); err != nil {
		return fmt.Errorf("mailtwin join: %w: %s", err, t.Seen)
	}
	return s.bootFirst(ctx, m)
}

func (s *Site) waitUntilListens(ctx context.Context, m *Machine) error {
	return WaitFor(ctx, m.Name+" can be dialled", func() bool {
		conn, err := s.Client.Dial(ctx, m.Node.Listen)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
}

// WaitInSync returns when a mirror has what is in the store of the primary
// now. There must be no traffic.
func (s *Site) WaitInSync(ctx context.Context, primary, mirror *Machine) error {
	// Only a change of one's own tells that the last one was seen.
	probe := fmt.Appendf(nil, "%d\n", time.Now().UnixNano())
	if err := os.WriteFile(filepath.Join(primary.Node.Store, ".probe.tmp"), probe, 0o600); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(primary.Node.Store, ".probe.tmp"), filepath.Join(primary.Node.Store, ".probe")); err != nil {
		return err
	}
	err := WaitFor(ctx, mirror.Name+" is in sync with "+primary.Name, func() bool {
		got, err := os.ReadFile(filepath.Join(mirror.Node.Store, ".probe"))
		if err != nil || string(got) != string(probe) {
			return false
		}
		p, err := primary.Node.Status(ctx)
		if err != nil {
			return false
		}
		for _, its := range p.Mirrors {
			if its.Name == mirror.Name && its.State == pair.InSync && its.LagEntries == 0 {
				m, err := mirror.Node.Status(ctx)
				return err == nil && m.State == pair.InSync
			}
		}
		return false
	})
	if err == nil {
		err = waitUntilEqual(ctx, primary.Node.Store, mirror.Node.Store)
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, s.Describe())
	}
	return nil
}

// waitUntilEqual reads both stores of nodes that say they are in sync. A
// difference that stays is an error; one that goes away is a change that the
// kernel had not yet told the watcher.
func waitUntilEqual(ctx context.Context, primary, mirror string) error {
	var result compare.Result
	var failed error
	err := WaitFor(ctx, "stores that are said to be in sync are equal", func() bool {
		r, err := compare.Trees(ctx, primary, mirror, compare.Options{IgnoreLinks: true, Ignored: comesLater})
		if ctx.Err() == nil { // else what was found before says more
			result, failed = r, err
		}
		return err == nil && r.Equal()
	})
	if err != nil {
		return errors.Join(fmt.Errorf("%w; %v", err, result), failed)
	}
	return nil
}

// comesLater reports whether a path is not replicated, or behind all others: the
// index of the list of folders is, as those of the folders are.
func comesLater(path string, dir bool) bool {
	return compare.NotReplicated(path, dir) || !dir && strings.HasPrefix(filepath.Base(path), "dovecot.list.index")
}

// Replicated waits until a mirror has everything and writes down in the
// ledger that it does. Traffic pauses meanwhile.
func (s *Site) Replicated(ctx context.Context, primary, mirror *Machine) error {
	resume := s.Pause()
	if err := s.WaitInSync(ctx, primary, mirror); err != nil {
		return err
	}
	// It must also survive at home: Dovecot does not sync what it removes. The
	// mirror has to see to that itself.
	if err := primary.Run(ctx, "sync", "-f", primary.Array.Path); err != nil {
		return err
	}
	s.Ledger.Replicated()
	resume()
	return nil
}

// Unplanned writes down that what a host acknowledges from now on is not
// replicated, nor is what it has acknowledged since the last time that all
// was. It is to be called before another host is promoted.
func (s *Site) Unplanned(old *Machine) {
	s.answers.Lock()
	defer s.answers.Unlock()
	old.setAbandoned(true)
	s.Ledger.Unplanned()
}

// Returned writes down that a host is a mirror again, so that a later
// promotion of it is like any other.
func (s *Site) Returned(m *Machine) { m.setAbandoned(false) }

// Describe tells how all nodes are, for errors.
func (s *Site) Describe() string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	text := ""
	for _, name := range s.opt.Names {
		status, err := s.Machines[name].Node.Status(ctx)
		if err != nil {
			text += fmt.Sprintf("%s: %v\n", name, err)
			continue
		}
		text += fmt.Sprintf("%s: %s\n", name, status.Document)
	}
	return text
}

// Logs returns the ends of all logs, for a test that has failed.
func (s *Site) Logs() string {
	text := ""
	for _, name := range s.opt.Names {
		m := s.Machines[name]
		if m == nil || m.Node == nil {
			continue
		}
		log := m.Dovecot.Log()
		text += fmt.Sprintf("== mailtwin on %s\n%s\n== dovecot on %s\n%s\n", name, m.Node.Log(), name, log[max(0, len(log)-3000):])
	}
	return text
}
