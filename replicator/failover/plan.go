package failover

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/mailboxes"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// Kind is which of the promotions it would be.
type Kind string

// The kinds of promotions.
const (
	// Switchover is planned: the primary answers, and nothing is lost.
	Switchover Kind = "switchover"
	// Evacuation is a failover whose primary answers, but cannot observe its
	// store: what its journal holds is fetched first.
	Evacuation Kind = "evacuation"
	// Failover is unplanned: no primary answers.
	Failover Kind = "failover"
	// Takeback makes a primary that sealed its journal for another go on.
	Takeback Kind = "takeback"
	// Finish does what is left of a promotion that this node has survived.
	Finish Kind = "finish"
)

// Planned reports whether nothing can be lost.
func (k Kind) Planned() bool { return k == Switchover || k == Finish }

// one is the kind with its article.
func (k Kind) one() string {
	if k == Evacuation {
		return "an " + string(k)
	}
	return "a " + string(k)
}

// Plan is what a promotion would do now.
type Plan struct {
	Kind  Kind          `json:"kind"`
	Epoch journal.Epoch `json:"epoch"` // that the node would be the primary of
	// Primary is who is to be replaced; "" is not known. Answers says that it
	// answered as a primary.
	Primary string `json:"primary"`
	Address string `json:"address"`
	Answers bool   `json:"answers"`
	// Position is the place that this node would go on from; zero if that is
	// where its own journal ends.
	Position Place       `json:"position"`
	Loss     Loss        `json:"loss"`
	Peers    []PeerState `json:"peers"`
	// Warnings are what a person should have read before confirming.
	Warnings []string `json:"warnings,omitempty"`
	// Refusals are why it would not be done without force.
	Refusals []string `json:"refusals,omitempty"`
	// Unfit is what is wrong with this node's own store: with that it would not be
	// done, by force neither. "" is nothing.
	Unfit string `json:"unfit,omitempty"`
	// Checks are those of a dry run.
	Checks []Check `json:"checks,omitempty"`

	unsealed bool // it was to be sealed, and could not be
	vouched  bool // its primary has journaled all that was in its store
	proven   bool // the promotion that it finishes began with all that the former primary had
}

// Place is a journal.Position, for people and programs.
type Place struct {
	Epoch    journal.Epoch    `json:"epoch"`
	Sequence journal.Sequence `json:"sequence"`
	Digest   string           `json:"digest"` // hexadecimal
}

func placeOf(p journal.Position) Place {
	return Place{Epoch: p.Epoch, Sequence: p.Sequence, Digest: p.Digest.String()}
}

// beyond reports whether it is a later place in the journal of the same epoch.
func (p Place) beyond(q Place) bool { return p.Epoch == q.Epoch && p.Sequence > q.Sequence }

// PeerState is what a peer answered.
type PeerState struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	// Answers says that it did; else Error says why not, and the rest is empty.
	Answers bool          `json:"answers"`
	Error   string        `json:"error,omitempty"`
	Role    identity.Role `json:"role,omitempty"`
	Epoch   journal.Epoch `json:"epoch,omitempty"`
	// Clock is how many seconds its clock is ahead of ours, as well as the
	// time that the answer took lets us know.
	Clock float64 `json:"clock_ahead_seconds"`

	answer Inspection
	asked  bool // now, and not a moment ago
}

// Confirmed is what a person agreed to.
type Confirmed struct {
	Kind     Kind
	Primary  string
	Position Place
}

// Confirm returns what a person agrees to who agrees to the plan.
func (p *Plan) Confirm() Confirmed {
	return Confirmed{Kind: p.Kind, Primary: p.Primary, Position: p.Position}
}

// holds reports whether a plan is still what was confirmed. Where a primary
// answers, positions move on between the question and the answer, and what is
// lost can only become less. Where none does, what had come to this node may still
// become durable; else they stand still, or what was read before was something else.
func (c Confirmed) holds(p *Plan) error {
	switch {
	case c.Kind != p.Kind:
		return anotherKind(c.Kind, p.Kind)
	case c.Primary != p.Primary:
		return fmt.Errorf("%w: the primary was %q and is %q now", ErrStale, c.Primary, p.Primary)
	case p.Kind == Failover && c.Position != p.Position && !p.Position.beyond(c.Position):
		return fmt.Errorf("%w: this node was at %d and is at %d now", ErrStale, c.Position.Sequence, p.Position.Sequence)
	}
	return nil
}

func anotherKind(was, is Kind) error {
	return fmt.Errorf("%w: it was to be %s and would be %s now", ErrStale, was.one(), is.one())
}

// NoWorse returns nil if whoever agreed to an earlier plan without being asked again
// agrees to this one too: it replaces the same primary, and it is of the same kind and
// no more is known to be lost, or of a kind that loses less, and what is here is no
// less. Else it is ErrStale, with why.
func (p *Plan) NoWorse(than *Plan) error {
	better := []Kind{Switchover, Evacuation, Failover} // the first is the best
	was, is := slices.Index(better, than.Kind), slices.Index(better, p.Kind)
	l, before := &p.Loss, &than.Loss
	switch {
	case p.Kind != than.Kind && (is < 0 || is > was):
		return anotherKind(than.Kind, p.Kind)
	case p.Primary != than.Primary:
		return fmt.Errorf("%w: the primary was %q and is %q now", ErrStale, than.Primary, p.Primary)
	case l.Assumed > before.Assumed || before.Whole && !l.Whole || l.Unknown != before.Unknown,
		p.Kind == Failover && p.Position != than.Position && !p.Position.beyond(than.Position),
		// One that answers sends what is missing, and tells of more: that was lost before.
		p.Kind == than.Kind && p.Kind != Switchover && l.more(before):
		return fmt.Errorf("%w: more may be lost", ErrStale)
	}
	return nil
}

// more reports whether more is known to be lost than before. A change that comes to
// be here without its content lacked before, too.
func (l *Loss) more(before *Loss) bool {
	lacks, lacked := l.Missing, before.Missing
	if l.Entries != nil && before.Entries != nil {
		lacks, lacked = lacks+*l.Entries, lacked+*before.Entries
	}
	return lacks > lacked || before.Entries != nil && l.Entries == nil ||
		l.Unreadable > before.Unreadable || l.Pending > before.Pending || more(l.InDoubt, before.InDoubt)
}

// more reports whether a number is larger than it was, or is no longer known.
func more(is, was *uint64) bool { return was != nil && (is == nil || *is > *was) }

// Plan looks at this node and its peers and says what a promotion would do.
// It changes nothing. It fails if there is nothing to promote.
func (p *Promoter) Plan(ctx context.Context) (Plan, error) { return p.look(ctx, 0) }

// look makes a plan. Peers that were found to be silent not longer ago than
// recent are not asked again.
func (p *Promoter) look(ctx context.Context, recent time.Duration) (Plan, error) {
	own := p.cfg.Own.State()
	unfinished, proven, err := p.cfg.Own.Unfinished()
	if err != nil {
		return Plan{}, fmt.Errorf("read what was begun: %w", err)
	}
	plan := Plan{Peers: p.inspect(ctx, own, recent), Primary: own.Leader, proven: proven}
	plan.Epoch = nextEpoch(own, plan.Peers)
	if err := p.cfg.Machine.Store(ctx); err != nil {
		plan.Unfit = err.Error()
	}
	leader := plan.primary(p.cfg.Name)
	switch own.Role {
	case identity.Primary:
		err = plan.ofPrimary(own, unfinished, leader)
	case identity.Fenced:
		plan.Kind = Takeback
		if leader != nil {
			err = fmt.Errorf("%w: %s answers as the primary of epoch %d", ErrFenced, leader.Name, leader.Epoch)
		}
		plan.refuse("this node is fenced: what was taken elsewhere since would be missing here; `mailtwin rejoin` is the way back")
		err = hint.Add(err, "make it a mirror with `mailtwin rejoin` first")
	default:
		err = p.ofMirror(&plan, own, leader)
	}
	if err != nil {
		return Plan{}, err
	}
	p.warnUnfenced(&plan)
	p.findAddress(&plan)
	plan.Loss.say(&plan)
	return plan, nil
}

func (p *Plan) warn(format string, args ...any) {
	p.Warnings = append(p.Warnings, fmt.Sprintf(format, args...))
}

func (p *Plan) refuse(format string, args ...any) {
	p.Refusals = append(p.Refusals, fmt.Sprintf(format, args...))
}

// Fit returns ErrStore if no mail could be served of the node's own store. A mail
// server on it does harm: clients drop their copies of what an empty directory lacks,
// and mail that is delivered there is hidden when the store is mounted. That is no
// matter of judgement, and so Force changes nothing.
func (p *Plan) Fit() error {
	if p.Unfit == "" {
		return nil
	}
	return hint.Add(fmt.Errorf("%w: %s", ErrStore, p.Unfit), "mount or repair the store, and run the command again; --force does not help here")
}

// ofPrimary plans for a node that is the primary already.
func (p *Plan) ofPrimary(own State, unfinished journal.Epoch, leader *PeerState) error {
	switch {
	case leader != nil && leader.claim().Beats(identity.Claim{Epoch: own.Epoch, Name: own.Leader}):
		return hint.Add(fmt.Errorf("%w: %s answers as the primary of epoch %d", ErrFenced, leader.Name, leader.Epoch),
			"make this node a mirror with `mailtwin rejoin`")
	case own.Sealed:
		p.Kind, p.Primary = Takeback, own.To
		if !p.answered(own.To) {
			p.warn("%s, which this node handed over to, does not answer: if it has become the primary, there will be two until they meet, "+
				"and the one of the higher epoch, this one, wins", own.To)
		}
	case unfinished == own.Epoch:
		p.Kind, p.Epoch, p.Primary = Finish, own.Epoch, ""
	default:
		return hint.Add(fmt.Errorf("%w, of epoch %d", ErrPrimary, own.Epoch),
			"give the command on the node that is to take over; `mailtwin status` names it")
	}
	return nil
}

// ofMirror plans for a node that follows, or followed, a primary.
func (p *Promoter) ofMirror(plan *Plan, own State, leader *PeerState) error {
	f := p.cfg.Follower.Following()
	if f.Unknown != "" && plan.Unfit == "" {
		// Its store is in order: it is about to follow, or was until a moment ago.
		return hint.Add(fmt.Errorf("%w: what this node has is not known now: %s", ErrNotReady, f.Unknown), "run the command again in a moment")
	}
	if plan.Primary == "" || own.Leader == "" {
		plan.Primary = f.Primary
	}
	plan.Position = placeOf(f.Position)
	plan.Kind = Failover
	if leader != nil {
		plan.Primary, plan.Answers = leader.Name, true
		plan.Kind = Switchover
		if why := leader.answer.Suspended; why != "" {
			plan.Kind = Evacuation
			plan.warn("%s answers, but cannot observe its store: %s", leader.Name, why)
		}
	}
	var doubts *mailboxes.Doubts
	if plan.Kind == Evacuation {
		doubts = leader.answer.Doubts
	}
	plan.Loss = lossOf(&f, doubts, p.cfg.Clock.Now())
	plan.judge(&f, own)
	return nil
}

// judge finds what speaks against the promotion of a mirror.
func (p *Plan) judge(f *Following, own State) {
	switch {
	case f.Unknown != "":
	case p.Kind == Switchover && !f.Whole:
		p.refuse("the initial sync is not finished, and %s still has the rest: wait for it", p.Primary)
	case p.Kind == Switchover && !f.Connected:
		p.refuse("%s answers, but this node is not connected to follow it: see `mailtwin status`", p.Primary)
	case p.Kind == Switchover && f.Assumed > 0:
		p.refuse("%s: wait until they are, as pace.prove of %s allows", status.AssumedWords(f.Assumed), p.Primary)
	case p.Kind == Switchover && f.Missing > 0:
		// Under load there is always something on its way.
		p.warn("the content of %d files is not here yet: it is waited for when the mail server of %s is stopped, "+
			"and if it does not come, that one goes on", f.Missing, p.Primary)
	}
	for i := range p.Peers {
		peer := &p.Peers[i]
		if !peer.Answers || peer.Name == p.Primary {
			continue
		}
		at := &peer.answer
		switch {
		case at.Epoch > own.Epoch && at.Leader != "":
			p.refuse("%s says that %s is the primary of epoch %d; this node took part in epoch %d only", peer.Name, at.Leader, at.Epoch, own.Epoch)
		case p.Kind != Switchover && at.Role == identity.Mirror && at.Position.Epoch == f.Position.Epoch && at.Position.Sequence > f.Position.Sequence:
			p.refuse("%s has %d changes more than this node: run the command there; if this one is promoted instead, they are put aside there", peer.Name, at.Position.Sequence-f.Position.Sequence)
		}
	}
}

// warnUnfenced says what it means that no fence hook is set, where it is needed.
func (p *Promoter) warnUnfenced(plan *Plan) {
	unless := ""
	switch {
	case p.cfg.Hooks.Set(HookFence):
		return
	case plan.Kind == Evacuation:
		unless = ", if it cannot stop it itself"
	case plan.Kind == Failover || plan.Kind == Takeback && !plan.answered(plan.Primary):
	default:
		return
	}
	plan.warn("no fence hook is set: nobody stops the mail server of %s%s. If it still runs, both nodes take mail, and what each has "+
		"the other lacks: make sure that it is off first", orUnknown(plan.Primary), unless)
}

// inspect asks all peers at once.
func (p *Promoter) inspect(ctx context.Context, own State, recent time.Duration) []PeerState {
	var followed Following // whose stream of changes tells of its primary as well
	if own.Role == identity.Mirror {
		followed = p.cfg.Follower.Following()
	}
	lost := "" // of whom it tells that it is not there
	if !followed.Connected && !followed.LastHeard.IsZero() {
		lost = followed.Primary
	}
	peers := p.cfg.Peers()
	out := make([]PeerState, len(peers))
	var all sync.WaitGroup
	for i := range peers {
		limit, since := p.patience(peers[i].Name, lost, recent)
		if limit == 0 {
			out[i] = PeerState{Name: peers[i].Name, Address: peers[i].Address, Error: since.err}
			continue
		}
		all.Go(func() { out[i] = p.askWithin(ctx, &peers[i], limit, &followed) })
	}
	all.Wait()
	p.remember(out)
	return out
}

// patience returns how long a peer's answer is waited for; 0 for one that is
// silent and need not be asked. Nothing is waited for at its full length twice.
func (p *Promoter) patience(name, lost string, recent time.Duration) (time.Duration, silence) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, silent := p.silent[name]
	switch passed := p.cfg.Clock.Now().Sub(s.found); {
	case silent && passed >= 0 && passed < recent:
		return 0, s
	case silent || name == lost:
		return p.cfg.Limits.Silent, s
	}
	return p.cfg.Limits.Answer, s
}

// remember notes who did not answer, and of others that they do.
func (p *Promoter) remember(peers []PeerState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, before := p.cfg.Clock.Now(), p.silent
	p.silent = make(map[string]silence, len(peers))
	for i := range peers {
		peer := &peers[i]
		switch s, known := before[peer.Name]; {
		case peer.Answers:
		case known && !peer.asked:
			p.silent[peer.Name] = s
		default:
			p.silent[peer.Name] = silence{found: now, err: peer.Error}
		}
	}
}

// askWithin asks a peer, and waits for a primary that is followed only as long
// as it gives any sign of life: one that is dead is not waited for until the limit.
func (p *Promoter) askWithin(ctx context.Context, peer *Peer, limit time.Duration, f *Following) PeerState {
	if peer.Name != f.Primary || !f.Connected || f.LastHeard.IsZero() || limit <= p.cfg.Limits.Sign {
		return p.ask(ctx, peer, limit)
	}
	out := p.ask(ctx, peer, p.cfg.Limits.Sign)
	if !out.Answers && p.cfg.Follower.Following().LastHeard.After(f.LastHeard) {
		out = p.ask(ctx, peer, limit)
	}
	return out
}

func (p *Promoter) ask(ctx context.Context, peer *Peer, limit time.Duration) PeerState {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	out := PeerState{Name: peer.Name, Address: peer.Address, asked: true}
	asked := p.cfg.Clock.Now()
	answer, err := peer.Link.Inspect(ctx)
	if err != nil {
		out.Error = err.Error()
		return out
	}
	answered := p.cfg.Clock.Now()
	out.Answers, out.Role, out.Epoch, out.answer = true, answer.Role, answer.Epoch, answer
	out.Clock = answer.Now.Sub(asked.Add(answered.Sub(asked) / 2)).Seconds()
	return out
}

// primary returns the peer that answers as a primary and has the best claim,
// or nil.
func (p *Plan) primary(self string) *PeerState {
	var best *PeerState
	for i := range p.Peers {
		peer := &p.Peers[i]
		if peer.Role != identity.Primary || peer.Name == self {
			continue
		}
		if best == nil || peer.claim().Beats(best.claim()) {
			best = peer
		}
	}
	return best
}

// claim is that of a peer that answers as a primary.
func (s *PeerState) claim() identity.Claim { return identity.Claim{Epoch: s.Epoch, Name: s.Name} }

func (p *Plan) answered(name string) bool {
	for i := range p.Peers {
		if p.Peers[i].Name == name {
			return p.Peers[i].Answers
		}
	}
	return false
}

func (p *Promoter) findAddress(plan *Plan) {
	for i := range plan.Peers {
		if plan.Peers[i].Name == plan.Primary {
			plan.Address = plan.Peers[i].Address
		}
	}
}

// nextEpoch is above all that any node is known to have taken part in, or to
// have promised. An epoch is never claimed twice, not by the same node either:
// an order that belongs to an attempt which was given up, and comes late, must
// not be taken for one of this attempt.
func nextEpoch(own State, peers []PeerState) journal.Epoch {
	top := max(own.Epoch, own.Promised)
	for i := range peers {
		top = max(top, peers[i].answer.Epoch, peers[i].answer.Promised)
	}
	return top + 1
}
