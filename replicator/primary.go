package replicator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/vfs"
	"github.com/mailtwin/mailtwin/journal/watch"
	"github.com/mailtwin/mailtwin/replicator/config"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
	"github.com/mailtwin/mailtwin/replicator/operator"
	"github.com/mailtwin/mailtwin/replicator/pairing"
	"github.com/mailtwin/mailtwin/replicator/primary"
	"github.com/mailtwin/mailtwin/replicator/salvage"
	"github.com/mailtwin/mailtwin/replicator/status"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// The rhythm of keeping the journal short.
const trimInterval = 10 * time.Second

// primaryPart is a node that has the mail server.
type primaryPart struct {
	n       *node
	st      identity.State
	root    *beneath.Root
	journal *journal.Log
	watcher *watch.Watcher
	server  *primary.Server
	reign   salvage.Reign
	reigns  []wire.Reign
	pace    *pacing
	tracker *tracker

	sealing       sync.Mutex // held while the journal is sealed for a switchover
	isSealed      bool       // it is done, and durable. Guarded by sealing
	sealTried     time.Time  // when it was tried last, or the mail server was to be started again. Guarded by sealing
	enough        chan struct{}
	stopObserving func()        // closes enough
	observed      chan struct{} // closed when the observer has ended

	apart atomic.Bool // the UIDs of its mail seem to be elsewhere

	opening sync.Mutex // held while fenced nodes are let in, or out
	ending  bool       // they are not let in any more. Guarded by opening

	mu           sync.Mutex
	resumeFailed string // why the mail server could not be started again
	rates        map[string]rate
}

// rate measures how much a mirror is sent.
type rate struct {
	at        time.Time
	bytes     uint64
	perSecond float64
}

// journalOptions are those of the node's journal; one that is made has the epoch.
func (n *node) journalOptions(epoch journal.Epoch) journal.Options {
	return journal.Options{
		SegmentSize: int64(n.cfg.Journal.SegmentSize), MaxSize: int64(n.cfg.Journal.MaxSize),
		MaxAge: time.Duration(n.cfg.Journal.MaxAge), Now: n.opt.Clock.Now, Epoch: epoch,
	}
}

// newPrimary opens the journal and puts the parts together.
func newPrimary(ctx context.Context, n *node, st identity.State, root *beneath.Root) (*primaryPart, error) {
	dir := filepath.Join(n.cfg.StateDir, journalDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the journal's directory: %w", err)
	}
	log, err := journal.Open(vfs.OS(), dir, n.journalOptions(st.Epoch))
	if err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	p := &primaryPart{n: n, st: st, root: root, journal: log, rates: make(map[string]rate), isSealed: st.Sealed, sealTried: n.opt.Clock.Now()}
	p.enough, p.observed = make(chan struct{}), make(chan struct{})
	p.pace = newPacing(n)
	p.tracker = newTracker(n.opt.Clock, n.opt.Log.Named("sync"))
	p.stopObserving = sync.OnceFunc(func() { close(p.enough) })
	err = n.inherit(log, root)
	if err == nil && st.Sealed {
		// What a sealed node still serves is what it had when it was sealed.
		if _, err = log.Seal(); err == nil {
			err = watch.Replay(ctx, n.catalog, log)
		}
	}
	if err == nil {
		p.watcher, err = watch.New(watch.Config{
			Root: root, Catalog: n.catalog, Journal: log, Rules: mailstore.Maildir{}, Snapshots: mailstore.Maildir{},
			Pace: p.pace, Ahead: func(e []journal.Entry) { p.server.Ahead(e) }, // there is no server yet
			Boot: n.opt.Boot, Clock: n.opt.Clock, Log: n.opt.Log.Named("watch"), Timing: timing(n.cfg.Store),
		})
	}
	if err != nil {
		_ = log.Close()
		return nil, fmt.Errorf("watch the store: %w", err)
	}
	first, err := mailstore.ParseFirst(n.cfg.Sync.First)
	if err != nil {
		_ = log.Close()
		return nil, fmt.Errorf("what is copied first: %w", err)
	}
	p.reign = salvage.LoadReign(n.salvageDir(), st.Epoch, log.Start())
	if p.reigns, err = n.reigns(&p.reign); err != nil {
		// Who hears of none takes nothing for certain that they would tell.
		n.opt.Log.Warn("which promotions this store has behind it is not known any more", "error", err)
		p.reigns = nil
	}
	p.server = primary.New(primary.Config{
		Name: n.id.Name(), Epoch: st.Epoch, Root: root, Catalog: n.catalog, Journal: log, Began: p.reign.Start.Sequence, Reigns: p.reigns,
		Log: n.opt.Log.Named("primary"), Now: n.opt.Clock.Now,
		Store: p.storeState, Peer: n.id.RequirePeer, Superseded: p.superseded, Changed: n.server.Changed,
		Order: primary.Order{First: first, Messages: n.cfg.Sync.Order},
		Pace:  p.pace, Idle: p.pace.set.HonoursPriority(), Unseen: p.unseen, Evacuating: p.pace.evacuating,
		Proving: p.pace.proving,
	})
	return p, nil
}

// superseded is told that a mirror has followed a higher epoch.
func (p *primaryPart) superseded(mirror string, epoch journal.Epoch) {
	if _, err := p.n.learn(pairing.Crown{Claim: identity.Claim{Epoch: epoch}}, mirror); err != nil {
		p.n.opt.Log.Error("that another node is primary cannot be noted", "error", err)
	}
}

// indexQuiet is how long a mailbox is quiet, at most, before its index is
// replicated.
const indexQuiet = 5 * time.Second

// lastRetry is how many times as long as the first time between two attempts at
// what cannot be read the longest one is.
const lastRetry = 30

// timing is how often the observer does what the settings speak of.
func timing(s config.Store) watch.Timing {
	interval := time.Duration(s.IndexInterval)
	retry := time.Duration(s.RetryInterval)
	return watch.Timing{
		Snapshot: min(indexQuiet, interval/12), SnapshotAtLatest: interval,
		Unreadable: retry, UnreadableLast: lastRetry * retry,
	}
}

// storeState says how the store is, for the mirrors.
func (p *primaryPart) storeState() primary.StoreState {
	if p.n.state().Sealed {
		return primary.StoreState{State: "sealed", Detail: "sealed for a switchover", Complete: true}
	}
	s := p.watcher.Status()
	return primary.StoreState{
		State: string(s.Phase), Detail: s.Detail, Reached: s.Reached,
		Complete:    s.Phase == watch.PhaseScanning || s.Phase == watch.PhaseWatching,
		Unreadable:  s.UnreadableCount,
		MailStopped: p.n.mailStopped(p.n.state()),
		Doubtful:    status.DoubtWords(doubtsOf(s)),
		Pending:     s.Pending(), JournalError: s.JournalError, Polling: s.Polling(),
	}
}

// unseen reports whether the catalog may lack names that are in a directory. A
// sealed store was looked at as a whole, or its seal says that it was not.
func (p *primaryPart) unseen(dir journal.Path, observed int64) bool {
	return !p.n.state().Sealed && p.watcher.Unseen(dir, observed)
}

// run observes the store and serves mirrors until ctx ends.
func (p *primaryPart) run(ctx context.Context) (err error) {
	defer func() {
		if cerr := p.journal.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("close the journal: %w", cerr)
		}
	}()
	p.n.opt.Log.Info("primary", "store", p.n.cfg.Store.Path, "listen", p.n.listen, "epoch", p.st.Epoch)
	recast := ctx
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.observe(ctx) })
	group.Go(func() error { return p.server.Run(ctx) })
	group.Go(func() error { p.pace.Run(ctx); return nil })
	group.Go(func() error { return p.pace.watchHealth(ctx) })
	group.Go(func() error { return p.trim(ctx) })
	group.Go(func() error { return p.tracker.run(ctx, p.courses) })
	group.Go(func() error { return p.tell(ctx) })
	group.Go(func() error { return p.resumeMail(ctx) })
	group.Go(func() error {
		p.n.modseq.Run(ctx, p.st.Epoch, p.n.proven(p.st.Epoch))
		return nil
	})
	go p.lookForUIDs(ctx) // which may hang with the array, and must not hold up the end
	p.n.door.Open(p.server)
	if !p.st.Sealed {
		p.letFencedIn()
	}
	defer p.letFencedOut()
	// Shut at once when the part is to end, and before it has ended: what comes
	// later would shut out those who come to the next part.
	shut := sync.OnceFunc(func() { p.n.door.Shut(p.n.id.Name() + " does not serve mirrors now") })
	defer shut()
	defer context.AfterFunc(ctx, shut)()
	p.n.ready()
	err = group.Wait()
	if errors.Is(context.Cause(recast), errRecast) {
		// What still waits for the array must not go on beside the next part.
		werr := p.server.Wait(p.n.lifetime)
		if err == nil && werr != nil {
			err = fmt.Errorf("wait for the mirrors' streams: %w", werr)
		}
	}
	return err
}

// observe watches the store until ctx ends or the journal is sealed.
func (p *primaryPart) observe(ctx context.Context) error {
	defer close(p.observed)
	if p.st.Sealed {
		return nil
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-p.enough:
			stop()
		case <-ctx.Done():
		}
	}()
	return p.watcher.Run(ctx)
}

// trim drops what every mirror has, and what is beyond the limits.
func (p *primaryPart) trim(ctx context.Context) error {
	durable := journal.Sequence(0)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.n.opt.Clock.After(trimInterval):
		}
		// What was removed just before the catalog was made durable is there still: a
		// salvage tells by it what a power cut has brought back.
		before := durable
		durable = p.n.catalog.DurablePosition().Sequence
		if err := p.journal.SaveCursors(); err != nil {
			p.n.problem("save the mirrors' places: " + err.Error())
			p.n.opt.Log.Error("the mirrors' places cannot be saved", "error", err)
			continue
		}
		if err := p.journal.Trim(before); err != nil {
			p.n.problem("trim the journal: " + err.Error())
			p.n.opt.Log.Error("the journal cannot be trimmed", "error", err)
		}
	}
}

// tell wakes those who follow the status when the observer has news.
func (p *primaryPart) tell(ctx context.Context) error {
	changed := p.watcher.Changed()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			changed = p.watcher.Changed() // before they look, so that what changes afterwards is told too
			p.server.StoreChanged()
			p.n.server.Changed()
		}
	}
}

func (p *primaryPart) pacing() *pacing { return p.pace }

func (p *primaryPart) log() (*journal.Log, error) { return p.journal, nil }

// durability tells how far changes are durable on the mirrors.
func (p *primaryPart) durability() operator.Durability {
	d := operator.Durability{Settled: p.watcher.Settled()}
	d.Observed = p.journal.Head().Sequence // after that: what was settled is in it
	for _, c := range p.journal.Cursors() {
		if d.Mirrors == 0 || c.Position.Sequence < d.Durable {
			d.Durable = c.Position.Sequence
		}
		d.Mirrors++
	}
	return d
}
