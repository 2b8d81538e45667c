package failover

import (
	"errors"
	"fmt"

	"github.com/mailtwin/mailtwin/replicator/hint"
)

var (
	// ErrBusy says that a promotion of this node is under way already.
	ErrBusy = errors.New("a promotion of this node is under way already")
	// ErrPrimary says that there is nothing to promote.
	ErrPrimary = errors.New("this node is the primary already")
	// ErrFenced says that the node may not become primary as it is.
	ErrFenced = errors.New("this node is fenced: it was the primary, and another node has taken over since")
	// ErrStale says that what was confirmed is no longer what would be done.
	ErrStale = errors.New("things have changed since this was confirmed")
	// ErrNotReady says that the promotion would lose something that it need
	// not lose, or that this cannot be known now.
	ErrNotReady = errors.New("not ready to be promoted")
	// ErrStore says that no mail could be served of the node's own store.
	ErrStore = errors.New("the store of this node is not fit to serve mail")
	// ErrClaimed says that another promotion came first.
	ErrClaimed = errors.New("another promotion came first")
	// ErrFence says that the former primary may still be writing.
	ErrFence = errors.New("the former primary could not be fenced")
	// ErrStalled says that the rest of the journal did not come.
	ErrStalled = errors.New("no progress")
	// ErrUnproven says that the node is not known to be equal to the primary.
	ErrUnproven = errors.New("not proven equal to the primary")
)

// StepError is the failure of a step.
type StepError struct {
	Step Step
	Err  error
	// Left says in which state the nodes are now and how to go on, in words.
	Left string
	// Raised says that the node is the primary in spite of it.
	Raised bool
}

func (e *StepError) Error() string {
	return fmt.Sprintf("the promotion failed at the step %s: %v; %s", e.Step, e.Err, e.Left)
}

// Unwrap returns why the step failed.
func (e *StepError) Unwrap() error { return e.Err }

// Hint implements hint.Hinted.
func (e *StepError) Hint() string { return hint.Of(e.Err) }
