package failover

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/mailboxes"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// confirm plans anew and makes sure that it is what was agreed to. Who did not
// answer when that was planned, a moment ago, is not waited for again.
func (r *run) confirm(ctx context.Context) error {
	plan, err := r.look(ctx, r.cfg.Limits.Recent)
	if err != nil {
		return err
	}
	if err := r.request.Confirmed.holds(&plan); err != nil {
		return err
	}
	if err := plan.Fit(); err != nil {
		return err
	}
	if len(plan.Refusals) > 0 && !r.request.Force {
		return hint.Add(fmt.Errorf("%w: %s", ErrNotReady, strings.Join(plan.Refusals, "; ")),
			"--force promotes it nevertheless, as it is")
	}
	r.plan = plan
	for _, p := range r.cfg.Peers() {
		if p.Name == plan.Primary {
			r.peer = &p
		}
	}
	r.result = Result{Kind: plan.Kind, Epoch: plan.Epoch, Primary: plan.Primary, Position: plan.Position, Loss: plan.Loss}
	r.notef("%s to epoch %d", plan.Kind, plan.Epoch)
	if r.cfg.Watch != nil {
		// Who asked has seen it; a log remembers it when his terminal is gone.
		for _, words := range plan.Loss.Words {
			r.cfg.Watch(Event{Step: StepPlan, Phase: Note, Text: words})
		}
	}
	return nil
}

// claim promises the epoch to this node, durably: first here, then wherever a
// peer answers. From then on no other promotion gets this epoch there.
func (r *run) claim(ctx context.Context) error {
	if r.plan.Kind == Finish {
		return skip("epoch %d is this node's already", r.plan.Epoch)
	}
	if err := r.cfg.Own.Claim(r.plan.Epoch); err != nil {
		return r.refused("this node", err)
	}
	for _, p := range r.cfg.Peers() {
		if !r.plan.answered(p.Name) {
			r.notef("%s does not answer", p.Name)
			continue
		}
		ask, cancel := context.WithTimeout(ctx, r.cfg.Limits.Answer)
		err := p.Link.Claim(ask, r.order())
		cancel()
		refusal := new(RefusedError)
		switch {
		case errors.As(err, &refusal) && r.request.Force:
			r.warn("%s refuses its promise (%v); forced", p.Name, err)
		case errors.As(err, &refusal):
			return r.refused(p.Name, err)
		case err != nil && p.Name == r.plan.Primary && r.plan.Kind == Switchover:
			if why := r.suspended(ctx); why != "" {
				return fmt.Errorf("%w: %s is in trouble (%s)", ErrStale, p.Name, why)
			}
			return fmt.Errorf("%s, which answered a moment ago: %w", p.Name, err)
		case err != nil:
			r.warn("%s was not reached: %v", p.Name, err)
		}
	}
	return nil
}

func (r *run) refused(who string, err error) error {
	if refusal := new(RefusedError); !errors.As(err, &refusal) {
		return fmt.Errorf("%s could not promise epoch %d: %w", who, r.plan.Epoch, err)
	}
	return hint.Add(fmt.Errorf("%w: %s does not promise epoch %d: %w", ErrClaimed, who, r.plan.Epoch, err),
		"look at `mailtwin status` on both nodes, and run the command again if this one is still to be promoted")
}

// fence makes sure that the former primary takes no more mail: it does so
// itself if it can be asked to, else the hook sees to it from here.
func (r *run) fence(ctx context.Context) error {
	switch r.plan.Kind {
	case Finish:
		return r.fenceReturned(ctx)
	case Switchover:
		err := r.seal(ctx)
		if err != nil {
			if why := r.suspended(ctx); why != "" {
				return fmt.Errorf("%w: %s cannot observe its store any more (%s)", ErrStale, r.plan.Primary, why)
			}
		}
		return err
	case Evacuation:
		err := r.seal(ctx)
		if err == nil {
			return nil
		}
		r.warn("%s could not seal its journal: %v", r.plan.Primary, err)
	case Failover, Takeback:
	}
	return r.fenceFromHere(ctx)
}

// fenceReturned tells a former primary that came back while this node, which
// has taken over, was away.
func (r *run) fenceReturned(ctx context.Context) error {
	former := r.plan.primary(r.cfg.Name)
	if former == nil || former.answer.Sealed {
		return skip("that was done before")
	}
	for _, p := range r.cfg.Peers() {
		if p.Name != former.Name {
			continue
		}
		if err := r.crownOne(ctx, &p); err != nil {
			return fmt.Errorf("%w: %s works as the primary of epoch %d: %w", ErrFence, p.Name, former.Epoch, err)
		}
		r.notef("%s was told that it is no longer the primary", p.Name)
	}
	return nil
}

// suspended asks the primary why it cannot observe its store; "" if it can, or
// does not answer.
func (r *run) suspended(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Limits.Answer)
	defer cancel()
	answer, err := r.peer.Link.Inspect(ctx)
	if err != nil {
		return ""
	}
	return answer.Suspended
}

func (r *run) seal(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Limits.Seal)
	defer cancel()
	r.tried = true
	sealed, err := r.peer.Link.Seal(ctx, r.order(), r.note)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrFence, r.plan.Primary, err)
	}
	r.sealed = &sealed
	r.notef("%s is sealed at change %d", r.plan.Primary, sealed.Position.Sequence)
	return nil
}

func (r *run) fenceFromHere(ctx context.Context) error {
	if r.plan.Kind == Takeback && r.plan.answered(r.plan.Primary) {
		return skip("%s answers, and will not become the primary of a lower epoch any more", r.plan.Primary)
	}
	if !r.cfg.Hooks.Set(HookFence) {
		r.warn("no fence hook is set: see to it yourself that %s takes no more mail", orUnknown(r.plan.Primary))
		return nil
	}
	err := r.cfg.Hooks.Run(ctx, r.call(HookFence, PhaseBefore), r.note)
	if err == nil {
		err = r.cfg.Hooks.Run(ctx, r.call(HookFence, PhaseAfter), r.note)
	}
	switch {
	case err == nil:
		return nil
	case r.request.Force && ctx.Err() == nil:
		r.warn("%v; forced", err)
		return nil
	}
	return hint.Add(fmt.Errorf("%w: %w", ErrFence, err),
		"make sure that %s is off, and run the command again; --force goes on in spite of the hook", orUnknown(r.plan.Primary))
}

func orUnknown(name string) string {
	if name == "" {
		return "the former primary"
	}
	return name
}

// drain waits until all that the sealed journal holds is durable here, with
// the contents that are on their way.
func (r *run) drain(ctx context.Context) error {
	if r.sealed == nil {
		return skip("there is no journal to be had")
	}
	lacking := r.sealed.Missing
	if r.plan.Kind == Evacuation {
		lacking = math.MaxUint64
	}
	err := r.cfg.Follower.Drain(ctx, r.sealed.Position, lacking, r.cfg.Limits.Stall)
	if err == nil && r.plan.Kind == Evacuation {
		// Of what lacks, some can be read still, as where nothing can be written any
		// more; but for what cannot nobody waits for long.
		err = r.cfg.Follower.Drain(ctx, r.sealed.Position, r.sealed.Missing, r.cfg.Limits.Owed)
	}
	if err == nil {
		return nil
	}
	if (r.plan.Kind == Evacuation || r.request.Force) && ctx.Err() == nil {
		r.warn("not all that %s held could be fetched: %v", r.plan.Primary, err)
		return nil
	}
	return fmt.Errorf("the rest of the journal of %s did not come: %w", r.plan.Primary, err)
}

// prove makes sure that this node has what the sealed primary has. In an
// evacuation there is nothing to prove it by, and it says instead what is
// known to be lost now.
func (r *run) prove(context.Context) error {
	if r.plan.Kind == Finish || r.plan.Kind == Takeback {
		return skip("this node goes on from its own journal")
	}
	if r.plan.Kind == Evacuation {
		return r.assess()
	}
	if r.sealed == nil {
		return skip("there is nobody to be compared with")
	}
	have, err := r.cfg.Follower.Catalog()
	if err != nil {
		return fmt.Errorf("read the catalog: %w", err)
	}
	err = compare(*r.sealed, have)
	switch {
	case err == nil:
		r.proven = true
		r.notef("equal to %s at change %d", r.plan.Primary, have.Position.Sequence)
	case r.request.Force:
		r.warn("%v; forced", err)
		return r.assess()
	default:
		return hint.Add(fmt.Errorf("%w: %w", ErrUnproven, err),
			"%s goes on as the primary: see `mailtwin status` on both for what cannot be read or fetched, and run the command again when "+
				"both are equal; --force goes on without what lacks", r.plan.Primary)
	}
	return nil
}

// compare says in what a mirror differs from the end of the primary's journal.
func compare(want Sealed, have Contents) error {
	switch {
	case have.Position != want.Position:
		return fmt.Errorf("this node is at change %d (%.8s), the sealed journal ends at %d (%.8s)",
			have.Position.Sequence, have.Position.Digest, want.Position.Sequence, want.Position.Digest)
	case have.Missing > want.Missing:
		return fmt.Errorf("the content of %d files never came", have.Missing-want.Missing)
	case have.Assumed > 0:
		return errors.New(status.AssumedWords(have.Assumed))
	case want.Unread > 0:
		return fmt.Errorf("the primary has %d files that it never read", want.Unread)
	case have.Digest != want.Digest:
		return fmt.Errorf("the digests of the two stores differ: %x here, %x there", have.Digest[:4], want.Digest[:4])
	}
	return nil
}

// assess says what is known to be lost by now.
func (r *run) assess() error {
	f := r.cfg.Follower.Following()
	plan := r.plan
	var doubts *mailboxes.Doubts
	if r.sealed != nil {
		f.Head = max(f.Head, r.sealed.Position.Sequence) // it told its last change
		doubts = r.sealed.Doubts
		plan.vouched = r.plan.Kind == Switchover && doubts == nil
	} else {
		plan.unsealed = true
		if former := plan.primary(r.cfg.Name); former != nil {
			doubts = former.answer.Doubts
		}
	}
	plan.Position, plan.Kind = placeOf(f.Position), Evacuation
	plan.Loss = lossOf(&f, doubts, r.cfg.Clock.Now())
	plan.Loss.say(&plan)
	r.result.Loss = plan.Loss
	for _, words := range plan.Loss.Words {
		r.note(words)
	}
	return nil
}

// promoteBefore asks the operator's program whether this node can take over,
// while nothing is lost by a no.
func (r *run) promoteBefore(ctx context.Context) error {
	if r.plan.Kind == Finish {
		return skip("that was done before")
	}
	err := r.cfg.Hooks.Run(ctx, r.call(HookPromote, PhaseBefore), r.note)
	if err != nil && r.request.Force && ctx.Err() == nil {
		r.warn("%v; forced", err)
		return nil
	}
	return err
}

// journal ends the following, after which nothing of the former primary is
// applied any more, and makes the journal that goes on from there.
func (r *run) journal(ctx context.Context) error {
	if r.plan.Kind == Finish || r.plan.Kind == Takeback {
		return skip("this node has its journal")
	}
	r.stopped = true
	at, err := r.cfg.Follower.Stop(ctx)
	if err != nil {
		return fmt.Errorf("stop following: %w", err)
	}
	if r.plan.Kind == Switchover && at != r.sealed.Position && !r.request.Force {
		return fmt.Errorf("%w: following ended at change %d, the sealed journal at %d", ErrUnproven, at.Sequence, r.sealed.Position.Sequence)
	}
	r.proven = r.proven && at == r.sealed.Position
	r.result.Position = placeOf(at)
	if err := r.cfg.Journals.Create(r.plan.Epoch, at); err != nil {
		return fmt.Errorf("make the journal: %w", err)
	}
	return nil
}

// raise is the point of no return: afterwards this node is the primary, and
// stays it through a crash.
func (r *run) raise(context.Context) error {
	if r.plan.Kind == Finish {
		return skip("this node is the primary of epoch %d", r.plan.Epoch)
	}
	if err := r.cfg.Own.SetUnfinished(r.plan.Epoch, r.proven); err != nil {
		return fmt.Errorf("note what is begun: %w", err)
	}
	err := r.cfg.Own.Raise(r.plan.Epoch)
	refusal := new(RefusedError)
	if errors.As(err, &refusal) {
		return r.refused("this node", err) // and so the old state holds
	}
	r.raising = true
	return err
}

// open lets the primary's part begin.
func (r *run) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Limits.Open)
	defer cancel()
	return r.cfg.Stage.Open(ctx)
}

// promoteAfter lets the operator's program start the mail server.
func (r *run) promoteAfter(ctx context.Context) error {
	if own := r.cfg.Own.State(); own.Role != identity.Primary || own.Epoch != r.plan.Epoch || own.Sealed {
		return fmt.Errorf("%w: this node has been the primary of epoch %d, and is none any more", ErrClaimed, r.plan.Epoch)
	}
	if err := r.cfg.Hooks.Run(ctx, r.call(HookPromote, PhaseAfter), r.note); err != nil {
		return err
	}
	r.serves = true
	return nil
}

// crown tells the peers, and is the last thing to be done. The node serves
// already: who did not answer is not waited for, and is told later, by the node
// that asks now and then how all are, or learns it when it asks itself.
func (r *run) crown(ctx context.Context) error {
	for _, p := range r.cfg.Peers() {
		if !r.plan.answered(p.Name) {
			r.warn("%s does not answer: it is told later", p.Name)
			continue
		}
		if err := r.crownOne(ctx, &p); err != nil {
			r.warn("%s was not told (%v): it is told later", p.Name, err)
		}
	}
	if !r.serves {
		return nil
	}
	if err := r.cfg.Own.SetUnfinished(0, false); err != nil {
		return fmt.Errorf("note that it is finished: %w", err)
	}
	return nil
}

func (r *run) crownOne(ctx context.Context, p *Peer) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Limits.Answer)
	defer cancel()
	return p.Link.Crown(ctx, r.order())
}
