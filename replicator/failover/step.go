package failover

import "time"

// Step is a named step of a promotion. The names are shown to people and are
// part of the commands' output for programs.
type Step string

// The steps, in their order. What each does is in the package's
// documentation.
const (
	StepPlan          Step = "plan"
	StepClaim         Step = "claim"
	StepFence         Step = "fence"
	StepDrain         Step = "drain"
	StepProve         Step = "prove"
	StepPromoteBefore Step = "promote-before"
	StepJournal       Step = "journal"
	StepRaise         Step = "raise"
	StepOpen          Step = "open"
	StepPromoteAfter  Step = "promote-after"
	StepCrown         Step = "crown"
)

// Steps returns all steps in their order.
func Steps() []Step {
	return []Step{
		StepPlan, StepClaim, StepFence, StepDrain, StepProve, StepPromoteBefore,
		StepJournal, StepRaise, StepOpen, StepPromoteAfter, StepCrown,
	}
}

// What a primary does when another node is promoted, step by step. These are its
// own, and run within those of the other node.
const (
	StepPromise  Step = "promise"   // within claim
	StepStopMail Step = "stop-mail" // within fence, as are the next three
	StepObserve  Step = "observe"
	StepSeal     Step = "seal"
	StepNote     Step = "note"
	StepDemote   Step = "demote"   // within crown, or when it learns of it later
	StepBequeath Step = "bequeath" // before it follows
)

// YieldSteps returns the steps of a primary that yields to another node, in their
// order.
func YieldSteps() []Step {
	return []Step{StepPromise, StepStopMail, StepObserve, StepSeal, StepNote, StepDemote, StepBequeath}
}

// Phase is where a step is.
type Phase string

// The phases of a step.
const (
	Begun   Phase = "begun"
	Note    Phase = "note"    // something to know, or a line that a hook wrote
	Done    Phase = "done"    // with its duration
	Skipped Phase = "skipped" // with why
	Failed  Phase = "failed"  // with why, and its duration
)

// Event tells what a promotion does. The events of one step come together:
// begun, any number of notes, and one of done, skipped and failed.
type Event struct {
	Step  Step
	Phase Phase
	Text  string
	// Took is how long the step took, of a step that is done or failed.
	Took time.Duration
}

// Timing is how long a step took.
type Timing struct {
	Step    Step    `json:"step"`
	Seconds float64 `json:"seconds"`
}
