package replicator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/config"
	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/modseq"
	"github.com/mailtwin/mailtwin/replicator/operator"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// storeRetry is how often a store that is not there is looked for.
const storeRetry = time.Second

// Clock is where a node gets the time from.
type Clock interface {
	// Now returns the time of day. It may jump.
	Now() time.Time
	// After returns a channel on which the time is sent once d has passed.
	After(d time.Duration) <-chan time.Time
}

// Options are what a daemon is run with beside its settings.
type Options struct {
	Log   hclog.Logger
	Clock Clock
	// Ready is called once: when the node plays its part, or waits for a store
	// that is not there and can be asked why. nil: nobody is told.
	Ready func()
}

// part is what a node does in its role.
type part interface {
	// run does it until ctx ends.
	run(ctx context.Context) error
	// describe adds to the status.
	describe(d *status.Document)
	// log returns the journal, or why there is none.
	log() (*journal.Log, error)
}

// node is what is the same in every role.
type node struct {
	cfg     config.Config
	opt     Options
	id      *identity.Identity
	state   identity.State
	catalog *catalog.Catalog
	server  *operator.Server
	modseq  *modseq.Raiser
	ready   func()

	mu        sync.Mutex
	part      part // nil until the store is there
	waiting   string
	lastError *status.Problem
}

// Run runs the daemon of a node in its role until ctx ends. It returns nil
// after a clean stop.
func Run(ctx context.Context, cfg config.Config, opt Options) error {
	state, err := identity.LoadState(cfg.StateDir)
	if err != nil {
		return err
	}
	id, err := identity.Load(cfg.StateDir, opt.Clock.Now)
	if err != nil {
		return err
	}
	cat, err := catalog.Open(filepath.Join(cfg.StateDir, "catalog"), catalog.Options{
		DigestKey: id.DigestKey(), Log: opt.Log.Named("catalog"),
	})
	if err != nil {
		return fmt.Errorf("open the catalog: %w", err)
	}
	n := &node{cfg: cfg, opt: opt, id: id, state: state, catalog: cat, waiting: "starting"}
	n.modseq, err = modseq.New(modseq.Config{
		Doveadm: cfg.IMAP.Doveadm, Users: cfg.IMAP.Users, StateDir: cfg.StateDir, Store: cfg.Store.Path,
		Catalog: cat, Clock: opt.Clock, Log: opt.Log.Named("modseq"), Changed: func() { n.server.Changed() },
	})
	if err != nil {
		return errors.Join(err, cat.Close())
	}
	n.server = operator.NewServer(n, n.modseq)
	n.ready = sync.OnceFunc(func() {
		if opt.Ready != nil {
			opt.Ready()
		}
	})
	err = n.run(ctx)
	if cerr := cat.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("close the catalog: %w", cerr)
	}
	return err
}

// run serves commands and does the role's part, which begins when the store is
// there.
func (n *node) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return n.server.Serve(ctx, n.cfg.StateDir) })
	group.Go(func() error {
		root, err := n.openStore(ctx)
		if err != nil || root == nil {
			return err
		}
		defer func() { _ = root.Close() }()
		return n.play(ctx, root)
	})
	return group.Wait()
}

// play does the part of the node's role.
func (n *node) play(ctx context.Context, root *beneath.Root) error {
	if n.cfg.Store.Layout == config.LayoutAuto {
		if err := detectLayout(root); err != nil {
			return hint.Add(err, "if mailtwin is wrong about %q, set layout = \"maildir\" under [store]", n.cfg.Store.Path)
		}
	}
	var p part
	var err error
	switch n.state.Role {
	case identity.Primary:
		p, err = newPrimary(n, root)
	case identity.Mirror:
		p, err = newMirror(n, root)
	default:
		return hint.Add(fmt.Errorf("this node's role is %s", n.state.Role), "a fenced primary has to rejoin the pair as a mirror")
	}
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.part = p
	n.mu.Unlock()
	return p.run(ctx)
}

// openStore opens the store's root, and waits for it if it is not there: an
// array that is not mounted yet is no reason to give up.
func (n *node) openStore(ctx context.Context) (*beneath.Root, error) {
	logged := ""
	for {
		root, err := beneath.Open(n.cfg.Store.Path)
		if err == nil {
			return root, nil
		}
		text := fmt.Sprintf("the store cannot be opened: %v", err)
		n.mu.Lock()
		n.waiting = text
		n.mu.Unlock()
		if text != logged {
			n.opt.Log.Error("waiting for the store", "error", err)
			n.ready()
			logged = text
			n.server.Changed()
		}
		select {
		case <-ctx.Done():
			return nil, nil
		case <-n.opt.Clock.After(storeRetry):
		}
	}
}

// Status implements operator.Node.
func (n *node) Status() status.Document {
	d := status.Document{
		Version: status.Version, Time: n.opt.Clock.Now(),
		Pair: n.id.Pair(), Name: n.id.Name(), Role: string(n.state.Role), Epoch: uint64(n.state.Epoch),
		Store: status.Store{Path: n.cfg.Store.Path},
	}
	n.mu.Lock()
	p := n.part
	d.LastError = n.lastError
	d.Store.State, d.Store.Detail = "missing", n.waiting
	n.mu.Unlock()
	if err := n.catalog.View(func(t *catalog.Tx) error {
		totals := t.Totals()
		d.Store.Files, d.Store.Bytes, d.Store.Directories = totals.Files, uint64(totals.Bytes), totals.Directories
		d.Store.Unread, d.Store.Missing = totals.Unread, totals.Missing
		return nil
	}); err != nil {
		d.Store.Detail = err.Error()
	}
	if p != nil {
		p.describe(&d)
	} else {
		d.Loss.Words = "unknown: the store is not there"
	}
	status.Judge(&d)
	return d
}

// Journal implements operator.Node.
func (n *node) Journal() (*journal.Log, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.part == nil {
		return nil, errors.New("the node is still starting")
	}
	return n.part.log()
}

// Invite implements operator.Node.
func (n *node) Invite(validFor time.Duration) (string, time.Time, error) {
	if !n.id.CanInvite() {
		return "", time.Time{}, errors.New("this node has no authority to invite: ask the node that made the pair")
	}
	return n.id.Invite(validFor)
}

// problem remembers the last error, for the status.
func (n *node) problem(text string) {
	n.mu.Lock()
	n.lastError = &status.Problem{Time: n.opt.Clock.Now(), Text: text}
	n.mu.Unlock()
	n.server.Changed()
}

// refused is told of handshakes that failed. Whoever can connect can fail, so
// the log gets one line for each different reason, not for each attempt.
func (n *node) refused() identity.Report {
	var mu sync.Mutex
	last := ""
	return func(remote net.Addr, err error) {
		text := err.Error()
		mu.Lock()
		same := text == last
		last = text
		mu.Unlock()
		n.problem(fmt.Sprintf("connection with %s: %s", remote, text))
		if !same {
			n.opt.Log.Warn("a connection was refused", "remote", remote, "error", err, "hint", hint.Of(err))
		}
	}
}
