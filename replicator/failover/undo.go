package failover

import (
	"context"
	"errors"
	"fmt"
)

// giveUp ends a promotion that failed at a step, and says what is left.
//
// A primary that was sealed for this promotion is told to go on, if that is
// safe: nothing here may become primary by this attempt any more. So it is
// told
//
//   - never once the state was to be raised: after an error it may be raised
//     or not, and only a restart shows which;
//   - only by the run that sealed it, which ends with it. The epoch is never
//     claimed again, so that an order to go on which arrives late finds a
//     primary that is sealed for a later epoch, and is refused.
//
// The primary, in turn, goes on for no other reason: neither by itself nor
// after a restart, for it cannot know whether this node was raised.
func (r *run) giveUp(ctx context.Context, at Step, err error) error {
	ctx = context.WithoutCancel(ctx)
	if r.raising {
		return &StepError{Step: at, Err: err, Left: fmt.Sprintf("it is not known whether this node is the primary of epoch %d: "+
			"restart the daemon, look at `mailtwin status`, and run the command again", r.plan.Epoch)}
	}
	if at == StepPlan {
		return err // nothing was done
	}
	if r.stopped {
		r.cfg.Follower.Resume()
	}
	if errors.Is(err, ErrStale) && r.tried {
		// Its store has failed: a mail server there would take no mail.
		return &StepError{Step: at, Err: err, Left: fmt.Sprintf("the mail server of %s stays stopped until the command is run again", orUnknown(r.plan.Primary))}
	}
	return &StepError{Step: at, Err: err, Left: r.release(ctx)}
}

// release lets the primary go on that may be sealed for this promotion, and
// says how things are.
func (r *run) release(ctx context.Context) string {
	name := orUnknown(r.plan.Primary)
	switch {
	case r.plan.Kind == Finish:
		return fmt.Sprintf("this node is the primary of epoch %d, but its promotion is not finished; run the command again", r.plan.Epoch)
	case !r.tried && r.plan.Kind == Takeback:
		return "this node is as it was: it is the primary, and sealed"
	case !r.tried && r.plan.Answers:
		return fmt.Sprintf("nothing has changed: %s is the primary", name)
	case !r.tried:
		return fmt.Sprintf("this node is still a mirror; if the fence hook has switched %s off, it is off still", name)
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Limits.Seal)
	defer cancel()
	err := r.peer.Link.Unseal(ctx, r.order())
	refusal := new(RefusedError)
	switch {
	case err == nil:
		return fmt.Sprintf("%s was told to go on, and is the primary as before", name)
	case errors.As(err, &refusal):
		return fmt.Sprintf("%s was not told to go on: %v", name, err)
	}
	return fmt.Sprintf("%s could not be told to go on (%v): its mail server stays stopped until the command is run again, "+
		"here to go on with it or on %s to take it back", name, err, name)
}
