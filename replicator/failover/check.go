package failover

import (
	"context"
	"fmt"

	"github.com/mailtwin/mailtwin/replicator/status"
)

// What the checks hold to be too little.
const (
	lowShare      = 20       // a twentieth
	clockAhead    = 5.0      // seconds that clocks may differ by before it is said
	enoughFree    = 10 << 30 // bytes that are enough, however large the disk is
	enoughInodes  = 1 << 20
	checkReason   = "a dry run"
	unknownDetail = "not known: "
)

// Verdict is the outcome of a check.
type Verdict string

// The verdicts.
const (
	Good    Verdict = "good"
	Warning Verdict = "warning" // a person should know
	Bad     Verdict = "bad"     // the promotion would fail, or be refused without force
	Unknown Verdict = "unknown" // it could not be found out
)

// Check is one thing that a promotion needs.
type Check struct {
	Name    string  `json:"name"`
	Verdict Verdict `json:"verdict"`
	Detail  string  `json:"detail"`
}

// DryRun plans a promotion and checks what it needs. It changes nothing, but writes a
// small file into the store and removes it, as Plan and Run do. It runs
// the promote hook as a promotion does before the point of no return, when the
// hook tests the mail server's settings and may not change anything; note gets
// what it writes.
func (p *Promoter) DryRun(ctx context.Context, note func(string)) (Plan, error) {
	plan, err := p.Plan(ctx)
	if err != nil {
		return Plan{}, err
	}
	checks := []Check{p.checkPrimary(&plan), checkSync(&plan), checkStore(&plan)}
	checks = append(checks, p.checkHook(HookFence, &plan), p.checkHook(HookPromote, &plan), p.checkServer(ctx, &plan, note))
	if why := p.cfg.Machine.Apart(); why != "" {
		checks = append(checks, Check{Name: "UIDs", Verdict: Warning, Detail: why})
	}
	checks = append(checks, p.checkSpace()...)
	plan.Checks = append(checks, checkClocks(&plan)...)
	return plan, nil
}

func (p *Promoter) checkPrimary(plan *Plan) Check {
	c := Check{Name: "peers", Verdict: Good, Detail: fmt.Sprintf("%s answers, and is the primary", plan.Primary)}
	switch {
	case len(plan.Refusals) > 0:
		c.Verdict, c.Detail = Bad, plan.Refusals[0]
	case plan.Kind == Switchover || plan.Kind == Finish:
	case plan.Kind == Evacuation:
		c.Verdict, c.Detail = Warning, fmt.Sprintf("%s answers, but cannot observe its store", plan.Primary)
	case len(plan.Peers) == 0:
		c.Verdict, c.Detail = Unknown, unknownDetail+"no peer is known by its address"
	default:
		c.Verdict, c.Detail = Warning, fmt.Sprintf("%s does not answer as the primary: it would be a %s", orUnknown(plan.Primary), plan.Kind)
	}
	return c
}

func checkSync(plan *Plan) Check {
	c := Check{Name: "completeness", Verdict: Good, Detail: "this node has all that it knows of"}
	l := &plan.Loss
	switch {
	case plan.Kind == Finish || plan.Kind == Takeback:
		c.Detail = "this node was the primary"
	case l.Unknown != "":
		c.Verdict, c.Detail = Unknown, unknownDetail+l.Unknown
	case !l.Whole:
		c.Verdict, c.Detail = Bad, "the initial sync is not finished"
	case l.Assumed > 0:
		c.Verdict, c.Detail = Warning, status.AssumedWords(l.Assumed)
		if plan.Kind == Switchover {
			c.Verdict = Bad
		}
	case l.Missing > 0 && plan.Kind == Switchover:
		c.Verdict, c.Detail = Warning, fmt.Sprintf("the content of %d files is not here yet", l.Missing)
	case l.Missing > 0:
		c.Verdict, c.Detail = Bad, fmt.Sprintf("the content of %d files never came", l.Missing)
	case l.Entries == nil:
		c.Verdict, c.Detail = Unknown, unknownDetail+"the primary was not heard of since the daemon started"
	case *l.Entries > 0:
		c.Verdict, c.Detail = Warning, fmt.Sprintf("%d changes are known of that are not here yet", *l.Entries)
	}
	return c
}

func checkStore(plan *Plan) Check {
	if plan.Unfit != "" {
		return Check{Name: "own store", Verdict: Bad, Detail: plan.Unfit}
	}
	return Check{Name: "own store", Verdict: Good, Detail: "it is there, and can be written and read"}
}

func (p *Promoter) checkHook(e HookEvent, plan *Plan) Check {
	c := Check{Name: fmt.Sprintf("%s hook", e), Verdict: Good, Detail: "it can be run"}
	switch err := p.cfg.Hooks.Check(e); {
	case err != nil:
		c.Verdict, c.Detail = Bad, err.Error()
	case !p.cfg.Hooks.Set(e) && e == HookFence:
		c.Verdict, c.Detail = Warning, fmt.Sprintf("none is set: a person has to make sure that %s is off", orUnknown(plan.Primary))
	case !p.cfg.Hooks.Set(e):
		c.Verdict, c.Detail = Warning, "none is set: a person has to start the mail server here"
	}
	return c
}

// checkServer asks the operator's program for the mail server's own test.
func (p *Promoter) checkServer(ctx context.Context, plan *Plan, note func(string)) Check {
	c := Check{Name: "mail server", Verdict: Good, Detail: "the promote hook has nothing against it"}
	if !p.cfg.Hooks.Set(HookPromote) {
		c.Verdict, c.Detail = Unknown, unknownDetail+"there is no promote hook that could test it"
		return c
	}
	call := Call{
		Event: HookPromote, Phase: PhaseBefore, Epoch: plan.Epoch, Peer: plan.Primary, Address: plan.Address,
		Planned: plan.Kind.Planned(), Reason: checkReason,
	}
	if err := p.cfg.Hooks.Run(ctx, call, note); err != nil {
		c.Verdict, c.Detail = Bad, err.Error()
	}
	return c
}

func (p *Promoter) checkSpace() []Check {
	spaces, err := p.cfg.Machine.Space()
	if err != nil {
		return []Check{{Name: "disk space", Verdict: Unknown, Detail: unknownDetail + err.Error()}}
	}
	checks := make([]Check, len(spaces))
	for i, s := range spaces {
		c := Check{Name: "space for " + s.What, Verdict: Good}
		c.Detail = fmt.Sprintf("%s of %s free", status.Bytes(s.Free), status.Bytes(s.Total))
		if s.Free < min(s.Total/lowShare, enoughFree) {
			c.Verdict = Warning
		}
		if s.Inodes > 0 && s.FreeInodes < min(s.Inodes/lowShare, enoughInodes) {
			c.Verdict, c.Detail = Warning, c.Detail+fmt.Sprintf(", %d of %d inodes", s.FreeInodes, s.Inodes)
		}
		if s.Free == 0 || s.Inodes > 0 && s.FreeInodes == 0 {
			c.Verdict = Bad
		}
		checks[i] = c
	}
	return checks
}

func checkClocks(plan *Plan) []Check {
	var checks []Check
	for i := range plan.Peers {
		peer := &plan.Peers[i]
		c := Check{Name: "clock of " + peer.Name, Verdict: Good}
		switch ahead := peer.Clock; {
		case !peer.Answers:
			c.Verdict, c.Detail = Unknown, unknownDetail+peer.Error
		case ahead > clockAhead:
			c.Verdict, c.Detail = Warning, status.Age(ahead)+" ahead of the one here"
		case ahead < -clockAhead:
			c.Verdict, c.Detail = Warning, status.Age(-ahead)+" behind the one here"
		default:
			c.Detail = "agrees with the one here"
		}
		checks = append(checks, c)
	}
	return checks
}
