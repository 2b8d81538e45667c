package replicator

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/config"
	"github.com/mailtwin/mailtwin/replicator/failover"
	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/hook"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/modseq"
	"github.com/mailtwin/mailtwin/replicator/operator"
	"github.com/mailtwin/mailtwin/replicator/primary"
	"github.com/mailtwin/mailtwin/replicator/salvage"
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
	// Boot names the present boot of the machine; "" if that is not known, which
	// costs reading again what may not have reached the disk.
	Boot string
	// Ready is called once: when the node plays its part, or waits for a store
	// that is not there and can be asked why. nil: nobody is told.
	Ready func()
	// Hook runs what the operator wants to be run when a role changes, and
	// returns when it has ended. nil: there is nothing.
	Hook func(ctx context.Context, e HookEvent) error
	// Promoting is told of each event of this node's promotion as it happens,
	// before anybody else is. nil: nothing is to be told.
	Promoting func(failover.Event)
	// Yielding is told of what this node does when another is promoted, in the same
	// way; see failover.YieldSteps. It may be called concurrently.
	Yielding func(failover.Event)
}

// part is what a node does in its role.
type part interface {
	// run does it until ctx ends, and returns when nothing of it goes on.
	run(ctx context.Context) error
	// describe adds to the status.
	describe(d *status.Document)
	// log returns the journal, or why there is none.
	log() (*journal.Log, error)
}

// node is what is the same in every role.
type node struct {
	cfg         config.Config
	opt         Options
	id          *identity.Identity
	catalog     *catalog.Catalog
	server      *operator.Server
	modseq      *modseq.Raiser
	ready       func()
	door        *primary.Door
	salvageDoor *salvage.Door
	peers       *identity.Peers
	vigil       *vigil
	damaged     damaged
	hooks       *hook.Hooks
	trial       trial
	looks       looks
	glances     *glances
	promoter    *failover.Promoter
	listen      string // where the node listens, host:port as others are told
	// lifetime ends with the daemon, and not with a role.
	lifetime context.Context //nolint:containedctx // a part's own context ends before what it has to wait for

	deciding  sync.Mutex // held over a change of the state file
	unsaved   bool       // that the node is fenced could not be written down. Guarded by deciding
	rejoining sync.Mutex // held while the node rejoins
	modseqs   sync.Mutex // held over a change of what is known of HIGHESTMODSEQ
	trying    sync.Mutex // held while it is tried whether the state can be written down

	mu        sync.Mutex
	st        identity.State
	part      part                    // nil until the store is there, and between two roles
	recast    context.CancelCauseFunc // ends the part
	played    chan struct{}           // closed when another part is played
	waiting   string                  // for what, when there is no part
	noStore   string                  // why the store cannot be opened; "": it is open, or was not looked for yet
	stopped   journal.Epoch           // of metaStopped
	lastError *status.Problem
	// stateTrouble says why the state could not be written down when that was tried
	// last; "": it could.
	stateTrouble string
}

// Run runs the daemon of a node in its role until ctx ends. It returns nil
// after a clean stop.
func Run(ctx context.Context, cfg config.Config, opt Options) error {
	n, err := newNode(cfg, opt)
	if err != nil {
		return err
	}
	err = n.run(ctx)
	if cerr := n.catalog.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("close the catalog: %w", cerr)
	}
	return err
}

// newNode reads what the node is from its state directory. Its catalog has to be
// closed.
func newNode(cfg config.Config, opt Options) (*node, error) {
	state, err := identity.LoadState(cfg.StateDir)
	if err != nil {
		return nil, err
	}
	id, err := identity.Load(cfg.StateDir, opt.Clock.Now)
	if err != nil {
		return nil, err
	}
	peers, err := identity.OpenPeers(cfg.StateDir)
	if err != nil {
		return nil, err
	}
	cat, err := catalog.Open(filepath.Join(cfg.StateDir, "catalog"), catalog.Options{
		DigestKey: id.DigestKey(), Log: opt.Log.Named("catalog"),
	})
	if errors.Is(err, catalog.ErrInUse) {
		return nil, hint.Add(fmt.Errorf("another daemon runs with the state directory %q", cfg.StateDir),
			"ask it with `mailtwin status`; for a second node on this machine, give it a state directory of its own")
	}
	if err != nil {
		return nil, fmt.Errorf("open the catalog: %w", err)
	}
	n := &node{
		cfg: cfg, opt: opt, id: id, st: state, catalog: cat, peers: peers,
		waiting: "starting", played: make(chan struct{}), glances: newGlances(),
	}
	if n.stopped, err = n.epochOf(metaStopped); err != nil {
		return nil, errors.Join(err, cat.Close())
	}
	n.promoter = newPromoter(n)
	n.modseq, err = modseq.New(modseq.Config{
		Doveadm: cfg.IMAP.Doveadm, Users: cfg.IMAP.Users, StateDir: cfg.StateDir, Store: cfg.Store.Path,
		Catalog: cat, Clock: opt.Clock, Log: opt.Log.Named("modseq"), Changed: func() { n.server.Changed() },
		Highest: n.knownModseq, Raising: n.noteModseq,
	})
	if err != nil {
		return nil, errors.Join(err, cat.Close())
	}
	n.server = operator.NewServer(n, n.modseq, n.promoter)
	n.hooks = hook.New(hook.Config{
		Fence: cfg.Hooks.Fence, Promote: cfg.Hooks.Promote, Demote: cfg.Hooks.Demote,
		Timeout: time.Duration(cfg.Hooks.Timeout), Node: id.Name(), Store: cfg.Store.Path, Log: opt.Log.Named("hook"),
	})
	n.door = primary.NewDoor(id.Name() + " is starting")
	n.salvageDoor = salvage.NewDoor(id.Name() + " is not primary now")
	n.vigil = newVigil(n)
	n.ready = sync.OnceFunc(func() {
		if opt.Ready != nil {
			opt.Ready()
		}
	})
	return n, nil
}

// run serves commands and the other nodes, and plays the part of the node's
// role, which begins when the store is there.
func (n *node) run(ctx context.Context) error {
	listener, err := listen(ctx, n.cfg.Node.Listen)
	if err != nil {
		return err
	}
	n.listen = listensAt(n.cfg.Node.Listen, listener.Addr())
	n.warn()
	defer n.vigil.close()
	group, ctx := errgroup.WithContext(ctx)
	n.lifetime = ctx
	group.Go(func() error { return n.server.Serve(ctx, n.cfg.StateDir) })
	group.Go(func() error { return n.serve(ctx, listener) })
	group.Go(func() error {
		// Who was primary may be so no longer: it neither serves nor journals
		// anything before it has asked.
		n.vigil.first(ctx)
		group.Go(func() error { return n.vigil.run(ctx) })
		root, err := n.openStore(ctx)
		if err != nil || root == nil {
			return err
		}
		defer func() { _ = root.Close() }()
		return n.play(ctx, root)
	})
	return group.Wait()
}

// errRecast ends the part of a node whose role has changed.
var errRecast = errors.New("the node's role has changed")

// play plays the part of the node's role, and that of another one when the role
// has changed: nothing of the old part goes on then.
func (n *node) play(ctx context.Context, root *beneath.Root) error {
	if n.cfg.Store.Layout == config.LayoutAuto {
		if err := detectLayout(root); err != nil {
			return hint.Add(err, "if mailtwin is wrong about %q, set layout = \"maildir\" under [store]", n.cfg.Store.Path)
		}
	}
	for {
		partCtx, recast := context.WithCancelCause(ctx)
		err := n.playOnce(partCtx, recast, root)
		recast(nil)
		if ctx.Err() != nil || !errors.Is(context.Cause(partCtx), errRecast) {
			return err
		}
		if err != nil {
			n.problem("end of the former role: " + err.Error())
			n.opt.Log.Error("the former role did not end as it should", "error", err)
		}
	}
}

// playOnce puts the part of the role together and plays it until ctx ends.
func (n *node) playOnce(ctx context.Context, recast context.CancelCauseFunc, root *beneath.Root) error {
	// From here on a change of the role ends this part.
	n.mu.Lock()
	n.recast = recast
	st := n.st
	n.mu.Unlock()
	p, err := n.cast(ctx, st, root)
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.part = p
	close(n.played)
	n.played = make(chan struct{})
	n.mu.Unlock()
	n.server.Changed()
	err = p.run(ctx)
	n.mu.Lock()
	n.part, n.waiting = nil, "the role is changing"
	n.mu.Unlock()
	n.server.Changed()
	return err
}

// cast puts together the part of a role.
func (n *node) cast(ctx context.Context, st identity.State, root *beneath.Root) (part, error) {
	switch st.Role {
	case identity.Primary:
		return newPrimary(ctx, n, st, root)
	case identity.Mirror:
		return newMirror(n, st, root)
	case identity.Fenced:
		return newFenced(n, st), nil
	}
	return nil, fmt.Errorf("this node's role is %s", st.Role)
}

// StoreFree returns an error if another daemon on this machine has the store that a
// node is to have, or one in it, or one around it.
func StoreFree(path string) error {
	root, err := lockStore(path)
	if err != nil {
		return hint.Add(err, "give each node on this machine a store of its own, beside the other's")
	}
	return root.Close()
}

// lockStore opens the store's root for this daemon alone: a mirror of a store that
// is the primary's own would say for ever that both are equal, and one of a store
// around its own would copy each copy again.
func lockStore(path string) (*beneath.Root, error) {
	root, err := beneath.Open(path)
	if err != nil {
		return nil, err
	}
	if err := root.Lock(); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return root, nil
}

// openStore opens the store's root, and waits for it if it is not there: an
// array that is not mounted yet is no reason to give up.
func (n *node) openStore(ctx context.Context) (*beneath.Root, error) {
	logged := ""
	for {
		root, err := lockStore(n.cfg.Store.Path)
		text := ""
		if err != nil {
			text = fmt.Sprintf("the store cannot be opened: %v", err)
		}
		n.mu.Lock()
		n.waiting, n.noStore = text, text
		n.mu.Unlock()
		if err == nil {
			return root, nil
		}
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

// current returns the part that is played; nil if there is none now.
func (n *node) current() part {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.part
}

// Status implements operator.Node.
func (n *node) Status() status.Document {
	// Before the role: the answer that makes it known changes the role first.
	unconfirmed := n.vigil.unconfirmed()
	n.mu.Lock()
	st, p, lastError, waiting := n.st, n.part, n.lastError, n.waiting
	n.mu.Unlock()
	d := status.Document{
		Version: status.Version, Time: n.opt.Clock.Now(),
		Pair: n.id.Pair(), Name: n.id.Name(), Role: string(st.Role), Epoch: uint64(st.Epoch), Leader: st.Leader,
		Store:     status.Store{Path: n.cfg.Store.Path, State: "missing", Detail: waiting},
		LastError: lastError,
	}
	if err := n.catalog.View(func(t *catalog.Tx) error {
		totals := t.Totals()
		d.Store.Files, d.Store.Bytes, d.Store.Directories = totals.Files, uint64(totals.Bytes), totals.Directories
		d.Store.Unread, d.Store.Missing = totals.Unread, totals.Missing
		missing, err := t.Missing(status.FewNames)
		for _, p := range missing {
			d.Store.MissingFiles = append(d.Store.MissingFiles, string(p))
		}
		return err
	}); err != nil {
		d.Store.Detail = err.Error()
	}
	if p != nil {
		p.describe(&d)
	} else {
		d.Loss.Words = "unknown: the store is not there"
	}
	n.vigil.describe(&d)
	if unconfirmed != "" && st.Role == identity.Primary {
		d.Role, d.Unasked = status.Unconfirmed, unconfirmed
	}
	describeRole(&d, st)
	n.describeUnfinished(&d, st)
	n.describeKept(&d)
	d.MailStopped = n.mailStopped(st)
	status.Judge(&d)
	return d
}

// Journal implements operator.Node.
func (n *node) Journal() (*journal.Log, error) {
	p := n.current()
	if p == nil {
		return nil, errors.New("the node is still starting")
	}
	return p.log()
}

// Durability implements operator.Node.
func (n *node) Durability() (operator.Durability, error) {
	if p, ok := n.current().(*primaryPart); ok {
		return p.durability(), nil
	}
	n.mu.Lock()
	role, playing := n.st.Role, n.part != nil
	n.mu.Unlock()
	if !playing {
		return operator.Durability{}, errors.New("the node is still starting")
	}
	return operator.Durability{}, fmt.Errorf("this node is %s: ask the primary", role)
}

// Invite implements operator.Node.
func (n *node) Invite(validFor time.Duration) (string, time.Time, error) {
	if !n.id.CanInvite() {
		return "", time.Time{}, errors.New("this node has no authority to invite: it joined one that had none")
	}
	if err := n.MayJoin(); err != nil {
		return "", time.Time{}, n.askPrimary(fmt.Errorf("this node cannot invite: %w", err))
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
