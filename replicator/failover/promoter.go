package failover

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mailtwin/mailtwin/journal"
)

// Limits are how long a promotion waits.
type Limits struct {
	// Answer is for a peer's answer to a question.
	Answer time.Duration
	// Silent is the same for a peer that is known to be silent: one that did not
	// answer when it was asked last, or whose stream of changes is broken.
	Silent time.Duration
	// Sign is how long a primary that is followed, and so speaks each second, may
	// say nothing at all and not answer either until it is taken to be silent.
	Sign time.Duration
	// Recent is how long it is taken to be silent still, without being asked,
	// when what was planned is carried out.
	Recent time.Duration
	// Seal is for a primary to stop its mail server, to look at its store once
	// more, and to seal its journal.
	Seal time.Duration
	// Stall is how long the rest of the journal may bring nothing.
	Stall time.Duration
	// Owed is how long no content may come of a store that cannot be observed.
	Owed time.Duration
	// Open is for the primary's part to begin.
	Open time.Duration
}

// DefaultLimits returns the limits that are used unless a test has its own.
func DefaultLimits() Limits {
	return Limits{
		Answer: 3 * time.Second, Silent: 250 * time.Millisecond, Sign: 1500 * time.Millisecond, Recent: 3 * time.Second,
		Seal: 3 * time.Minute, Stall: 30 * time.Second, Owed: 5 * time.Second, Open: time.Minute,
	}
}

// Config is what a Promoter is made of. All fields but Watch must be set.
type Config struct {
	Name  string // of this node
	Own   Own
	Peers func() []Peer
	// Follower, Journals and Stage are the node's parts. Follower is asked
	// only while the node is a mirror.
	Follower Follower
	Journals Journals
	Stage    Stage
	Hooks    Hooks
	Machine  Machine
	Clock    Clock
	Limits   Limits
	// Watch is told of each event before who asked for the promotion is; and, as
	// notes of the first step, in words what it may lose.
	Watch func(Event)
}

// Promoter promotes a node. Its methods may be called by many goroutines at
// once; only one promotion runs at a time.
type Promoter struct {
	cfg Config

	mu     sync.Mutex
	busy   bool
	silent map[string]silence // by the names of peers that did not answer
}

// silence is what is known of a peer that did not answer.
type silence struct {
	found time.Time // when it was asked last
	err   string
}

// New returns a Promoter.
func New(cfg Config) *Promoter { return &Promoter{cfg: cfg, silent: make(map[string]silence)} }

// Request is what a person wants done.
type Request struct {
	Confirmed Confirmed
	// Force goes on where nothing but a person can know that it is right: a
	// peer refuses its promise, the fence hook fails, the node is not
	// complete.
	Force bool
	// Reason is told to hooks.
	Reason string
}

// Result is what a promotion came to.
type Result struct {
	Kind     Kind          `json:"kind"`
	Epoch    journal.Epoch `json:"epoch"`
	Primary  string        `json:"former_primary"` // "" is not known
	Position Place         `json:"position"`       // where the new journal begins
	Loss     Loss          `json:"loss"`
	Steps    []Timing      `json:"steps"`
	Seconds  float64       `json:"seconds"` // of all of them
	Warnings []string      `json:"warnings,omitempty"`
}

// Run promotes the node, and calls report with each event, one after the
// other. When ctx ends before the step raise, the promotion is given up as if
// the step had failed; from raise on it goes on to its end.
//
// The error is ErrBusy, ErrPrimary, ErrFenced or ErrStale if nothing was done;
// else a StepError, whose words say what state the nodes are in. If that step
// is raise or a later one, Result tells what was done.
func (p *Promoter) Run(ctx context.Context, q Request, report func(Event)) (Result, error) {
	if !p.begin() {
		return Result{}, ErrBusy
	}
	defer p.end()
	r := &run{Promoter: p, request: q, report: func(e Event) {
		if p.cfg.Watch != nil {
			p.cfg.Watch(e)
		}
		report(e)
	}}
	began := p.cfg.Clock.Now()
	err := r.do(ctx)
	r.result.Seconds = p.cfg.Clock.Now().Sub(began).Seconds()
	return r.result, err
}

// Busy reports whether a promotion of this node is under way. A node that is
// being promoted must not be sealed for another.
func (p *Promoter) Busy() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.busy
}

func (p *Promoter) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy {
		return false
	}
	p.busy = true
	return true
}

func (p *Promoter) end() {
	p.mu.Lock()
	p.busy = false
	p.mu.Unlock()
}

// run is one promotion.
type run struct {
	*Promoter
	request Request
	report  func(Event)

	plan    Plan
	peer    *Peer // the primary that is to be replaced; nil if none is known
	sealed  *Sealed
	proven  bool // this node has all that the sealed primary has
	tried   bool // a seal was asked for: the primary may be sealed for us
	stopped bool // following was stopped
	raising bool // the state may be that of a primary
	serves  bool // the mail server was started
	step    Step
	result  Result
}

// stage is a step with what does it.
type stage struct {
	step Step
	do   func(context.Context) error
}

// errSkip ends a step that has nothing to do, with why.
type errSkip struct{ why string }

func (e errSkip) Error() string { return e.why }

func skip(format string, args ...any) error { return errSkip{fmt.Sprintf(format, args...)} }

// do does all steps in their order. Up to raise the first that fails ends it,
// and what was done is undone as far as that is safe. From raise on there is
// no way back: each step that can still be done is.
func (r *run) do(ctx context.Context) error {
	for _, s := range []stage{
		{StepPlan, r.confirm},
		{StepClaim, r.claim},
		{StepFence, r.fence},
		{StepDrain, r.drain},
		{StepProve, r.prove},
		{StepPromoteBefore, r.promoteBefore},
		{StepJournal, r.journal},
		{StepRaise, r.raise},
	} {
		if err := r.take(ctx, s); err != nil {
			return r.giveUp(ctx, s.step, err)
		}
	}
	return r.complete(context.WithoutCancel(ctx))
}

// complete does what comes after the point of no return. It is all that a
// second run of the command has to do after a crash there.
func (r *run) complete(ctx context.Context) error {
	var first *StepError
	failed := func(s Step, err error, left string) {
		if err != nil && first == nil {
			first = &StepError{Step: s, Err: err, Left: left, Raised: true}
		}
	}
	open := r.take(ctx, stage{StepOpen, r.open})
	failed(StepOpen, open, fmt.Sprintf("this node is the primary of epoch %d, but it does not work as one; see to the cause and run the command again", r.plan.Epoch))
	if open == nil {
		after := r.take(ctx, stage{StepPromoteAfter, r.promoteAfter})
		failed(StepPromoteAfter, after, fmt.Sprintf("this node is the primary of epoch %d, but its mail server may not run; see to the hook and run the command again", r.plan.Epoch))
	}
	// The peers have to know, whatever else failed: it is what keeps the
	// former primary from going on.
	crown := r.take(ctx, stage{StepCrown, r.crown})
	failed(StepCrown, crown, fmt.Sprintf("this node is the primary of epoch %d; run the command again", r.plan.Epoch))
	if first != nil {
		return first
	}
	return nil
}

// take does one step, and tells of it.
func (r *run) take(ctx context.Context, s stage) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("it was called off: %w", err)
	}
	r.step = s.step
	began := r.cfg.Clock.Now()
	r.report(Event{Step: s.step, Phase: Begun})
	err := s.do(ctx)
	took := r.cfg.Clock.Now().Sub(began)
	if skipped, ok := errors.AsType[errSkip](err); ok {
		r.report(Event{Step: s.step, Phase: Skipped, Text: skipped.why})
		return nil
	}
	r.result.Steps = append(r.result.Steps, Timing{s.step, took.Seconds()})
	if err != nil {
		r.report(Event{Step: s.step, Phase: Failed, Text: err.Error(), Took: took})
		return err
	}
	r.report(Event{Step: s.step, Phase: Done, Took: took})
	return nil
}

func (r *run) note(words string) { r.report(Event{Step: r.step, Phase: Note, Text: words}) }

func (r *run) notef(format string, args ...any) { r.note(fmt.Sprintf(format, args...)) }

// warn is a note that belongs to the result too.
func (r *run) warn(format string, args ...any) {
	words := fmt.Sprintf(format, args...)
	r.result.Warnings = append(r.result.Warnings, words)
	r.note(words)
}

func (r *run) order() Order {
	return Order{Epoch: r.plan.Epoch, By: r.cfg.Name, Blind: r.plan.Kind == Evacuation}
}

func (r *run) call(e HookEvent, phase string) Call {
	return Call{
		Event: e, Phase: phase, Epoch: r.plan.Epoch, Peer: r.plan.Primary, Address: r.plan.Address,
		Planned: r.plan.Kind.Planned(), Reason: r.request.Reason,
	}
}
