package replicator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/journal/watch"
	"github.com/mailtwin/mailtwin/replicator/failover"
	"github.com/mailtwin/mailtwin/replicator/hook"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/mailboxes"
	"github.com/mailtwin/mailtwin/replicator/mirror"
	"github.com/mailtwin/mailtwin/replicator/pairing"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// What follows makes the node and its peers what the package failover knows
// them as.

// drainPoll is how often a mirror that is drained is looked at, though it has not
// told of anything new.
const drainPoll = 100 * time.Millisecond

// missingListed bounds the files without content that are named.
const missingListed = 100

// newPromoter returns what can make the node the primary.
func newPromoter(n *node) *failover.Promoter {
	return failover.New(failover.Config{
		Name: n.id.Name(), Own: ownState{n}, Peers: n.links,
		Follower: following{n}, Journals: ownJournal{n}, Stage: stage{n}, Hooks: operatorHooks{n}, Machine: machine{n},
		Clock: n.opt.Clock, Limits: failover.DefaultLimits(), Watch: n.promoting,
	})
}

// promoting is told of each event of a promotion. The log has what it is and what it
// may lose.
func (n *node) promoting(e failover.Event) {
	if e.Step == failover.StepPlan && e.Phase == failover.Note {
		n.opt.Log.Info("a promotion of this node", "what", e.Text)
	}
	if n.opt.Promoting != nil {
		n.opt.Promoting(e)
	}
}

// ownState is the node's state file, and what its catalog remembers of a
// promotion.
type ownState struct{ n *node }

// State implements failover.Own.
func (o ownState) State() failover.State { return stateOf(o.n.state()) }

func stateOf(s identity.State) failover.State {
	return failover.State{
		Role: s.Role, Epoch: s.Epoch, Leader: s.Leader,
		Promised: s.Promised.Epoch, To: s.Promised.Name, Sealed: s.Sealed,
	}
}

// Claim implements failover.Own. A sealed primary promises nothing to itself:
// while it is sealed it promises nothing to others either, and to take its mail
// back takes the seal away and raises it in one.
func (o ownState) Claim(e journal.Epoch) error {
	if s := o.n.state(); s.Sealed && e > s.Promised.Epoch {
		return nil
	}
	a, err := o.n.promise(identity.Claim{Epoch: e, Name: o.n.id.Name()})
	if err == nil && !a.Granted {
		err = &failover.RefusedError{Why: a.Why}
	}
	return err
}

// Raise implements failover.Own.
func (o ownState) Raise(e journal.Epoch) error {
	if o.n.state().Role == identity.Mirror {
		return refusal(o.n.raise(e))
	}
	return refusal(o.n.takeBack(e))
}

// refusal makes a refusal of the node one that failover knows.
func refusal(err error) error {
	if errors.Is(err, pairing.ErrRefused) {
		return &failover.RefusedError{Why: err.Error()}
	}
	return err
}

// What the catalog remembers of promotions: epochs, in decimal.
const (
	metaUnfinished = "failover.unfinished" // of the one that was begun
	metaProven     = "failover.proven"     // of the last one that lost nothing
)

// Unfinished implements failover.Own.
func (o ownState) Unfinished() (journal.Epoch, bool, error) {
	e, err := o.n.epochOf(metaUnfinished)
	return e, o.n.proven(e), err
}

// proven reports whether this node became the primary of an epoch with all that
// the former one had. Where that is not known, it did not.
func (n *node) proven(epoch journal.Epoch) bool {
	e, err := n.epochOf(metaProven)
	return err == nil && e == epoch
}

// epochOf returns an epoch that the catalog remembers; 0 if there is none.
func (n *node) epochOf(key string) (e journal.Epoch, err error) {
	err = n.catalog.View(func(t *catalog.Tx) error {
		v, err := t.Meta(key)
		if errors.Is(err, catalog.ErrNotFound) {
			return nil
		}
		if err == nil {
			var number uint64
			number, err = strconv.ParseUint(string(v), 10, 64)
			e = journal.Epoch(number)
		}
		return err
	})
	return e, err
}

// epochValue is what the catalog remembers of an epoch; nothing of 0.
func epochValue(e journal.Epoch) []byte {
	if e == 0 {
		return nil
	}
	return strconv.AppendUint(nil, uint64(e), 10)
}

// noteEpoch has the catalog remember an epoch, or forget it if it is 0, durably.
func (n *node) noteEpoch(key string, e journal.Epoch) error {
	return n.catalog.UpdateDurably(func(t *catalog.Tx) error { return t.SetMeta(key, epochValue(e)) })
}

// SetUnfinished implements failover.Own.
func (o ownState) SetUnfinished(e journal.Epoch, proven bool) error {
	defer o.n.server.Changed()
	return o.n.catalog.UpdateDurably(func(t *catalog.Tx) error {
		if e > 0 && proven {
			if err := t.SetMeta(metaProven, epochValue(e)); err != nil {
				return err
			}
		}
		return t.SetMeta(metaUnfinished, epochValue(e))
	})
}

// describeUnfinished says in the status that a promotion has to be finished.
func (n *node) describeUnfinished(d *status.Document, st identity.State) {
	if st.Role != identity.Primary || n.promoter.Busy() {
		return
	}
	if e, err := n.epochOf(metaUnfinished); err == nil && e == st.Epoch {
		d.Fenced = "the promotion of this node is not finished: run `mailtwin failover` here again"
	}
}

// takeBack makes a primary that sealed its journal, or was fenced, the primary
// of a higher epoch. Its journal and its catalog go on as they are.
func (n *node) takeBack(epoch journal.Epoch) error {
	_, _, err := n.decide(func(s identity.State) (identity.State, error) {
		own := identity.Claim{Epoch: epoch, Name: s.Name}
		switch {
		case s.Role == identity.Mirror || s.Role == identity.Primary && !s.Sealed:
			return s, refuse("", "%s has nothing to take back", s.Name)
		case !own.Beats(s.Leads()) || s.Promised != own && !own.Beats(s.Promised):
			return s, refuse("run the command again: it makes a new claim", "epoch %d is not enough any more: %v leads, %v is promised",
				epoch, s.Leads(), s.Promised)
		}
		s.Role, s.Epoch, s.Leader, s.Promised, s.Sealed = identity.Primary, epoch, s.Name, identity.Claim{}, false
		return s, nil
	})
	return err
}

// following is the mirror that the node is.
type following struct{ n *node }

// Following implements failover.Follower.
func (f following) Following() failover.Following {
	s, err := f.n.standing()
	if err != nil {
		return failover.Following{Unknown: f.n.notFollowing(err)}
	}
	w := f.n.lastWord(s.Primary, s.Epoch, s.Said, s.Beat)
	out := failover.Following{
		Primary: s.Primary, Connected: s.Connected, LastHeard: w.said,
		Position: s.Position, Applied: s.Applied,
		Head: w.head, LagBytes: w.lagBytes, Lag: w.lag,
		Observed: s.Beat.State == string(watch.PhaseWatching) && s.Beat.Doubtful == "" && s.Beat.JournalError == "" && s.Beat.Polling == "",
		Pending:  s.Beat.Pending, Whole: s.Whole, Missing: s.Totals.Missing, Assumed: s.Totals.Guessed,
		FilesLeft: s.Beat.Files - min(s.Beat.Files, s.Totals.Files),
		BytesLeft: s.Beat.Bytes - min(s.Beat.Bytes, uint64(s.Totals.Bytes)),

		Unreadable: s.Beat.Unreadable,
	}
	if out.Missing > 0 || out.Assumed > 0 {
		// The lists are for people; the numbers stand without them.
		_ = f.n.catalog.View(func(t *catalog.Tx) error { return listUnsure(t, &out) })
	}
	return out
}

// notFollowing says why nothing is known of what a mirror has, which failed with err.
func (n *node) notFollowing(err error) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.part == nil {
		return cmp.Or(n.waiting, "the daemon is starting")
	}
	return err.Error()
}

// listUnsure lists what of a mirror's catalog is not sure.
func listUnsure(t *catalog.Tx, out *failover.Following) (err error) {
	if out.MissingFiles, err = t.Missing(missingListed); err != nil {
		return err
	}
	missing, assumed, err := mailboxes.Unsure(t)
	if err != nil {
		return err
	}
	var more uint64
	out.MissingIn, out.MoreIn = missing.Most(mailboxes.MaxDoubts)
	out.AssumedIn, more = assumed.Most(mailboxes.MaxDoubts)
	out.MoreIn += more
	return nil
}

// Drain implements failover.Follower.
func (f following) Drain(ctx context.Context, to journal.Position, lacking uint64, stalled time.Duration) error {
	best, least, since := journal.Sequence(0), uint64(math.MaxUint64), f.n.opt.Clock.Now()
	for {
		changed := f.n.server.Next()
		s, err := f.n.standing()
		if err != nil {
			return err
		}
		there := s.Position == to && s.Applied == to.Sequence
		switch {
		case s.Applied > to.Sequence:
			return fmt.Errorf("this node is at change %d, beyond %d", s.Applied, to.Sequence)
		case there && s.Totals.Missing <= lacking:
			return nil
		case s.Applied > best || s.Totals.Missing < least:
			best, least, since = s.Applied, s.Totals.Missing, f.n.opt.Clock.Now()
		case f.n.opt.Clock.Now().Sub(since) <= stalled:
		case there:
			return nil // nothing but contents lacks
		default:
			return fmt.Errorf("%w in %v: this node is at change %d of %d", failover.ErrStalled, stalled, s.Applied, to.Sequence)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		case <-f.n.opt.Clock.After(drainPoll):
		}
	}
}

// Catalog implements failover.Follower.
func (f following) Catalog() (failover.Contents, error) {
	s, err := f.n.standing()
	return contentsOf(s), err
}

func contentsOf(s mirror.Standing) failover.Contents {
	return failover.Contents{Position: s.Position, Digest: s.Digest, Missing: s.Totals.Missing, Assumed: s.Totals.Guessed}
}

// Stop implements failover.Follower.
func (f following) Stop(ctx context.Context) (journal.Position, error) {
	s, err := f.n.stopFollowing(ctx)
	return s.Position, err
}

// Resume implements failover.Follower.
func (f following) Resume() { f.n.resumeFollowing() }

// ownJournal makes the node's journal.
type ownJournal struct{ n *node }

// Create implements failover.Journals. The place is that at which the mirror
// has stopped, which the node knows.
func (j ownJournal) Create(e journal.Epoch, _ journal.Position) error { return j.n.prepareJournal(e) }

// stage is where the node plays its role.
type stage struct{ n *node }

// Open implements failover.Stage. Whoever promotes a node, or finishes that, has
// decided that it is the primary.
func (s stage) Open(ctx context.Context) error {
	s.n.vigil.confirm()
	_, err := s.n.awaitPrimary(ctx, (*primaryPart).works)
	return err
}

// operatorHooks are the programs that the settings name.
type operatorHooks struct{ n *node }

// Set implements failover.Hooks.
func (h operatorHooks) Set(e failover.HookEvent) bool { return h.n.hooks.Set(hook.Event(e)) }

// Check implements failover.Hooks.
func (h operatorHooks) Check(e failover.HookEvent) error { return h.n.hooks.Check(hook.Event(e)) }

// Run implements failover.Hooks.
func (h operatorHooks) Run(ctx context.Context, c failover.Call, note func(string)) error {
	return h.n.hooks.Run(ctx, hook.Event(c.Event), hook.Phase(c.Phase), hook.Call{
		Peer: c.Peer, PeerAddress: c.Address, Epoch: c.Epoch, Planned: c.Planned, Reason: c.Reason,
	}, note)
}

// machine is what the node runs on.
type machine struct{ n *node }

// Store implements failover.Machine.
func (m machine) Store(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probePatience)
	defer cancel()
	return m.n.checkStore(ctx)
}

// checkStore reports why the mail of the node's own store could not be served: it is
// not there, another is in its place, or it cannot be written and read. A node that is
// fenced keeps its hands off the store and knows nothing of it, and one whose part is
// about to begin does not yet.
func (n *node) checkStore(ctx context.Context) error {
	var root *beneath.Root
	switch p := n.current().(type) {
	case *mirrorPart:
		if err := n.looks.await(ctx, p.mirror.CheckStore); err != nil {
			return err
		}
		root = p.root
	case *primaryPart:
		if why := p.watcher.Status().Suspended; why != "" {
			return errors.New(why)
		}
		root = p.root
	default:
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.noStore != "" {
			return errors.New(n.noStore)
		}
		return nil
	}
	if err := n.trial.try(ctx, root); err != nil {
		return fmt.Errorf("it cannot be written and read: %w", err)
	}
	return nil
}

// Space implements failover.Machine.
func (m machine) Space() ([]failover.Space, error) {
	store, err := spaceOf("the mail", m.n.cfg.Store.Path)
	if err != nil {
		return nil, err
	}
	state, err := spaceOf("the journal", m.n.cfg.StateDir)
	return []failover.Space{store, state}, err
}

// Apart implements failover.Machine.
func (m machine) Apart() string {
	if UIDsApart(m.n.cfg.Store.Path) {
		return ApartWords
	}
	return ""
}

func spaceOf(what, path string) (failover.Space, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return failover.Space{}, fmt.Errorf("look at the file system of %q: %w", path, err)
	}
	unit := uint64(fs.Bsize)
	return failover.Space{
		What: what, Free: fs.Bavail * unit, Total: fs.Blocks * unit, FreeInodes: fs.Ffree, Inodes: fs.Files,
	}, nil
}

// links returns the peers, and how they are reached.
func (n *node) links() []failover.Peer {
	var all []failover.Peer
	for _, p := range n.peers.All() {
		all = append(all, failover.Peer{Name: p.Name, Address: p.Address, Link: link{n, p.Address}})
	}
	return all
}

// link reaches the peer at an address.
type link struct {
	n       *node
	address string
}

func claimOf(o failover.Order) identity.Claim { return identity.Claim{Epoch: o.Epoch, Name: o.By} }

// Inspect implements failover.Link.
func (l link) Inspect(ctx context.Context) (failover.Inspection, error) {
	c, err := l.n.vigil.client(l.address)
	if err != nil {
		return failover.Inspection{}, err
	}
	r, err := c.Inspect(ctx, l.n.listen, l.n.peers.All())
	return failover.Inspection{
		State: failover.State{
			Role: r.Role, Epoch: r.Leads.Epoch, Leader: r.Leads.Name,
			Promised: r.Promised.Epoch, To: r.Promised.Name, Sealed: r.Sealed,
		},
		Position: r.Position, Suspended: r.Suspended, Doubts: r.Doubts, Now: r.Now,
	}, err
}

// Claim implements failover.Link.
func (l link) Claim(ctx context.Context, o failover.Order) error {
	c, err := l.n.vigil.client(l.address)
	if err != nil {
		return err
	}
	a, err := c.Claim(ctx, claimOf(o))
	if err == nil && !a.Granted {
		return &failover.RefusedError{Why: a.Why}
	}
	return refusal(err)
}

// Seal implements failover.Link.
func (l link) Seal(ctx context.Context, o failover.Order, note func(string)) (failover.Sealed, error) {
	c, err := l.n.vigil.client(l.address)
	if err != nil {
		return failover.Sealed{}, err
	}
	s, err := c.Seal(ctx, pairing.SealOrder{Claim: claimOf(o), Blind: o.Blind}, note)
	return failover.Sealed{Position: s.Position, Digest: s.Digest, Unread: s.Unread, Missing: s.Missing, Doubts: s.Doubts}, refusal(err)
}

// Unseal implements failover.Link.
func (l link) Unseal(ctx context.Context, o failover.Order) error {
	c, err := l.n.vigil.client(l.address)
	if err != nil {
		return err
	}
	return refusal(c.Unseal(ctx, claimOf(o)))
}

// Crown implements failover.Link.
func (l link) Crown(ctx context.Context, _ failover.Order) error {
	return refusal(l.n.crown(ctx, l.address))
}
