package replicator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/failover"
	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/hook"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/pairing"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// HookEvent is what a hook is run for.
type HookEvent struct {
	Event string // fence, promote or demote
	Phase string // before or after
	// Peer is the other node that it is about, and where it is; "" if there is
	// none.
	Peer, PeerAddress string
	Epoch             journal.Epoch // that begins, or has begun
	Planned           bool          // both nodes take part
	Reason            string        // a sentence
	// Line gets each line that the hook writes; may be nil.
	Line func(string)
}

// hook runs a hook of the operator's, if there is one.
func (n *node) hook(ctx context.Context, e HookEvent) error {
	if e.Peer != "" && e.PeerAddress == "" {
		e.PeerAddress = n.peers.Address(e.Peer)
	}
	if n.opt.Hook != nil {
		return n.opt.Hook(ctx, e)
	}
	return n.hooks.Run(ctx, hook.Event(e.Event), hook.Phase(e.Phase), hook.Call{
		Peer: e.Peer, PeerAddress: e.PeerAddress, Epoch: e.Epoch, Planned: e.Planned, Reason: e.Reason,
	}, e.Line)
}

// yield does a step of yielding to another node, and tells of it.
func (n *node) yield(step failover.Step, do func() error) error {
	tell := n.opt.Yielding
	if tell == nil {
		return do()
	}
	tell(failover.Event{Step: step, Phase: failover.Begun})
	if err := do(); err != nil {
		tell(failover.Event{Step: step, Phase: failover.Failed, Text: err.Error()})
		return err
	}
	tell(failover.Event{Step: step, Phase: failover.Done})
	return nil
}

// state returns what the node knows of itself.
func (n *node) state() identity.State {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.st
}

// decide changes the state. What decision returns is durable before anything
// knows of it; if that is the state as it was, nothing happens. But who is primary no
// more ends at once, also where that cannot be written down, as on an array that has
// failed: after a crash it asks before it serves. There is an error then too, and the
// next decision tries to write it down again.
func (n *node) decide(decision func(identity.State) (identity.State, error)) (was, is identity.State, err error) {
	n.deciding.Lock()
	defer n.deciding.Unlock()
	was = n.state()
	is, err = decision(was)
	if err != nil || is == was && !n.unsaved {
		return was, was, err
	}
	err = identity.SaveState(n.cfg.StateDir, is)
	n.noteStateTrouble(err)
	if err != nil {
		n.problem(err.Error())
		if is == was || was.Role != identity.Primary || is.Role != identity.Fenced {
			return was, was, err
		}
	}
	n.unsaved = err != nil
	if is == was {
		return was, is, nil
	}
	n.mu.Lock()
	n.st = is
	n.mu.Unlock()
	if is.Role != was.Role || was.Sealed && !is.Sealed {
		n.endPart()
	}
	n.server.Changed()
	return was, is, err
}

// noteStateTrouble notes whether the state could be written down when that was
// tried last.
func (n *node) noteStateTrouble(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stateTrouble = ""; err != nil {
		n.stateTrouble = err.Error()
	}
}

// endPart has the part that is played, or put together now, end, and that of the
// state begin.
func (n *node) endPart() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.recast != nil {
		n.recast(errRecast)
		n.recast = nil // what is in n.part until the next one is ending
	}
}

// awaitPart returns the part of a role once it is played and is as wanted:
// between two parts, as after a seal that failed, there is none for a moment.
func awaitPart[P part](ctx context.Context, n *node, role identity.Role, as func(P) bool) (P, error) {
	var none P
	for {
		n.mu.Lock()
		p, ending, played, st, noStore := n.part, n.recast == nil, n.played, n.st, n.noStore
		n.mu.Unlock()
		if noStore != "" {
			return none, errors.New(noStore)
		}
		if st.Role != role {
			return none, refuse("", "%s is not %s, but %s: %v leads", n.id.Name(), role, st.Role, st.Leads())
		}
		if p, ok := p.(P); ok && !ending && as(p) {
			return p, nil
		}
		select {
		case <-played:
		case <-n.lifetime.Done():
			return none, fmt.Errorf("its work as %s has not begun, and the daemon ends", role)
		case <-ctx.Done():
			return none, fmt.Errorf("its work as %s has not begun: %w", role, context.Cause(ctx))
		}
	}
}

// awaitPrimary returns the part of a primary of the epoch that the state says.
func (n *node) awaitPrimary(ctx context.Context, as func(*primaryPart) bool) (*primaryPart, error) {
	return awaitPart(ctx, n, identity.Primary, func(p *primaryPart) bool {
		return p.st.Epoch == n.state().Epoch && as(p)
	})
}

// succeeded is what becomes of a node that learns of a primary of a claim that
// beats what it knew: a primary is fenced, the others know who leads. exact says
// of a primary that it has sealed its journal for that very claim, and that the
// new journal begins where its own ended: then there is nothing that it would
// have to bring over, and it is a mirror at once.
func succeeded(s identity.State, by identity.Claim, exact bool) identity.State {
	if !by.Beats(s.Leads()) {
		return s
	}
	switch {
	case s.Role == identity.Primary && s.Sealed && s.Promised == by && exact:
		s.Role = identity.Mirror
	case s.Role == identity.Primary:
		s.Role = identity.Fenced
	}
	s.Epoch, s.Leader, s.Sealed = by.Epoch, by.Name, false
	if s.Promised.Epoch <= s.Epoch {
		s.Promised = identity.Claim{}
	}
	return s
}

// learn takes note of a primary, durably. A primary that is beaten by it journals
// nothing more from here on.
func (n *node) learn(c pairing.Crown, from string) (identity.State, error) {
	n.meet(identity.Peer{Name: c.Claim.Name, Address: c.Address})
	beaten := func(s identity.State) bool {
		return s.Role == identity.Primary && c.Claim.Name != s.Name && c.Claim.Beats(s.Leads())
	}
	var was, is identity.State
	note := func() (err error) {
		was, is, err = n.decide(func(s identity.State) (identity.State, error) {
			if c.Claim.Name == s.Name {
				return s, nil // of an epoch that this node has forgotten: it cannot follow itself
			}
			if beaten(s) {
				n.loseAuthority() // it may have begun just now
			}
			return succeeded(s, c.Claim, n.endsAt(c.Start)), nil
		})
		return err
	}
	var err error
	if beaten(n.state()) {
		n.loseAuthority() // at once: a decision that writes to an array that hangs holds up the next
		err = n.yield(failover.StepDemote, note)
	} else {
		err = note()
	}
	if err == nil && is != was {
		if was.Role == identity.Mirror {
			n.endPart() // it follows the new one
		}
		n.opt.Log.Warn("another primary is known now", "leads", is.Leads(), "before", was.Leads(), "role", is.Role, "told by", from)
	}
	return is, err
}

// loseAuthority ends what is journaled, at once.
func (n *node) loseAuthority() {
	n.door.Shut(n.id.Name() + " is not primary any more")
	if p, ok := n.current().(*primaryPart); ok {
		if _, err := p.journal.Seal(); err != nil && !errors.Is(err, journal.ErrClosed) {
			n.problem(err.Error())
		}
	}
}

// endsAt reports whether this node is a primary whose journal is sealed and ends
// at a place, all of which its catalog has, durably, and beyond which there is
// nothing in its store, which can be used.
func (n *node) endsAt(start journal.Position) bool {
	p, ok := n.current().(*primaryPart)
	if !ok || start == (journal.Position{}) || p.journal.Head() != start || p.doubtful() || n.trial.try(n.lifetime, p.root) != nil {
		return false
	}
	var at journal.Position
	err := n.catalog.View(func(t *catalog.Tx) error { at = t.Position(); return nil })
	return err == nil && at == start && n.catalog.Sync() == nil
}

// promise decides on a claim to a coming epoch: what is granted is durable. It
// is for the node's own claims too.
func (n *node) promise(c identity.Claim) (pairing.Answer, error) {
	var a pairing.Answer
	_, _, err := n.decide(func(s identity.State) (identity.State, error) {
		a = judgeClaim(s, c)
		if a.Granted && s.Promised != c {
			s.Promised = c
		}
		return s, nil
	})
	if err == nil && a.Granted {
		n.opt.Log.Info("a claim was agreed to", "claim", c)
	}
	return a, err
}

// judgeClaim decides on a claim.
func judgeClaim(s identity.State, c identity.Claim) pairing.Answer {
	switch {
	case c.Epoch <= s.Epoch:
		return pairing.Answer{Known: s.Leads(), Why: fmt.Sprintf("epoch %d has begun already (%v leads)", s.Epoch, s.Leads())}
	case c == s.Promised, s.Promised == identity.Claim{}:
	case s.Sealed && c.Name != s.Promised.Name:
		return pairing.Answer{Known: s.Promised, Why: fmt.Sprintf("%s is sealed for %v", s.Name, s.Promised)}
	case !c.Beats(s.Promised):
		return pairing.Answer{Known: s.Promised, Why: fmt.Sprintf("%v was promised before", s.Promised)}
	}
	return pairing.Answer{Granted: true}
}

// Inspect implements pairing.Node.
func (n *node) Inspect(ctx context.Context, by pairing.Caller) pairing.Report {
	n.meet(append(by.Peers, identity.Peer{Name: by.Name, Address: by.Address})...)
	st := n.state()
	d := n.Status()
	r := pairing.Report{
		Name: st.Name, Role: st.Role, Leads: st.Leads(), Promised: st.Promised, Sealed: st.Sealed,
		State: string(d.State), Detail: d.Detail, Now: d.Time, Peers: n.peers.All(),
		Modseq: n.highestModseq(),
	}
	if st.Role == identity.Primary {
		p, err := n.inspected(ctx)
		if err == nil {
			r.Position, r.Start, r.Suspended = p.journal.Head(), p.journal.Start(), p.trouble(ctx)
			if r.Suspended != "" {
				r.Doubts = p.doubts()
			}
			for _, m := range p.server.Mirrors() {
				if m.Name == by.Name {
					r.Lag, r.LagBytes = m.Lag, uint64(max(m.LagBytes, 0))
				}
			}
			return r
		}
		r.Suspended = err.Error()
	}
	_ = n.catalog.View(func(t *catalog.Tx) error { r.Position = t.Position(); return nil }) // else it is not known
	return r
}

// betweenParts is how long whoever asks how the node is waits for the part that
// follows one which has just ended.
const betweenParts = time.Second

// inspected returns the part of a primary, or why there is none.
func (n *node) inspected(ctx context.Context) (*primaryPart, error) {
	ctx, cancel := context.WithTimeout(ctx, betweenParts)
	defer cancel()
	return n.awaitPrimary(ctx, func(*primaryPart) bool { return true })
}

// Claim implements pairing.Node.
func (n *node) Claim(_ context.Context, c identity.Claim) (a pairing.Answer, err error) {
	err = n.yield(failover.StepPromise, func() error {
		a, err = n.promise(c)
		return err
	})
	return a, err
}

// Crown implements pairing.Node.
func (n *node) Crown(_ context.Context, c pairing.Crown) (pairing.Crowned, error) {
	st, err := n.learn(c, c.Claim.Name)
	return pairing.Crowned{Role: st.Role, Leads: st.Leads()}, err
}

// describeRole says in the status what a person has to know of the role.
func describeRole(d *status.Document, st identity.State) {
	leader := st.Leader
	if leader == "" {
		leader = "another node"
	}
	switch {
	case st.Role == identity.Fenced:
		d.Fenced = fmt.Sprintf("fenced: %s is primary since epoch %d; nothing that is delivered here is replicated: run `mailtwin rejoin` here", leader, st.Epoch)
	case st.Sealed:
		d.Fenced = fmt.Sprintf("sealed for a switchover to %s (epoch %d) that is not complete: run `mailtwin failover` there again",
			st.Promised.Name, st.Promised.Epoch)
	}
}

// refuse says that the node does not do what it is asked for, and why.
func refuse(remedy, format string, args ...any) error {
	err := fmt.Errorf("%w: %s", pairing.ErrRefused, fmt.Sprintf(format, args...))
	if remedy != "" {
		return hint.Add(err, "%s", remedy)
	}
	return err
}
