package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mailtwin/mailtwin/replicator/failover"
	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/operator"
	"github.com/mailtwin/mailtwin/replicator/status"
)

const (
	planTimeout  = 30 * time.Second // for a plan: peers that are dead do not answer
	checkTimeout = 5 * time.Minute  // for a dry run: it waits for hooks
	maxPlans     = 3                // that are shown until one stays as it was
)

// promotion is what the command failover was asked for.
type promotion struct {
	dryRun, force, yes, json bool
	reason, report           string

	stopped string // the primary whose mail server may be stopped, by what was begun and not finished; "" is none
}

func (p *program) failoverCommand() *cobra.Command {
	var f promotion
	c := &cobra.Command{
		Use:   "failover",
		Short: "Make this mirror the primary",
		Long: "Makes this mirror the primary. When the primary answers, it stops its mail server, the\n" +
			"rest of its changes is fetched, both are proven to be equal, and nothing is lost. When\n" +
			"it does not, the command says what is known to be lost and what is not known, and asks.\n\n" +
			"It refuses, with --force too, where no mail could be served of the store here: it is\n" +
			"not mounted, or cannot be written and read. Nothing is done to the primary then.\n\n" +
			"With --yes it is for programs. The plan that is shown first is agreed to: if things change\n" +
			"before it is carried out, one that is no worse is carried out too (it replaces the same\n" +
			"primary, loses no more, and a switchover stays one), and any other is shown and not done,\n" +
			"with exit code 2. To agree to that one, run the command again.\n" +
			"A switchover goes on in one case though something may be lost then: the store of the\n" +
			"primary fails when its mail server is stopped already. It could not serve mail again,\n" +
			"and so what is in its journal is fetched, and this node takes over. Whatever else is not\n" +
			"done when it is stopped ends with exit code 1: no mail is served. Run the command again.\n\n" +
			"The hooks fence and promote of the settings stop the mail server there and start it here.\n" +
			"A dry run runs the hook promote too, as \"promote before\", which only tests.\n\n" +
			"When the command was interrupted or failed, run it again: it goes on where it was. On\n" +
			"a primary that was sealed for a node which never took over, it takes the mail back.\n\n" + exitCodes,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := p.daemon()
			if err != nil {
				return err
			}
			defer client.Close()
			if f.dryRun {
				return p.dryRun(c.Context(), client, &f)
			}
			return p.failover(c.Context(), client, &f)
		},
	}
	c.Flags().BoolVar(&f.dryRun, "dry-run", false, "say what would be done, check what it needs, and change nothing")
	c.Flags().BoolVar(&f.force, "force", false, "go on in spite of what only a person can judge, such as a fence hook that failed")
	c.Flags().BoolVar(&f.yes, "yes", false, "do not ask: agree to the plan as it is now, and to none that is worse when it is carried out")
	c.Flags().BoolVar(&f.json, "json", false, "print for programs")
	c.Flags().StringVar(&f.report, "report", "", "add a line with what it came to, and what may be lost, to this `file`, as --json prints it")
	c.Flags().StringVar(&f.reason, "reason", "the operator's command", "why, for the hooks and their logs")
	return c
}

// dryRun prints the plan and the checks.
func (p *program) dryRun(ctx context.Context, client *operator.Client, f *promotion) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	plan, raw, err := client.PlanFailover(ctx, true, func(line string) { p.note("  %s", printable(line)) })
	if err != nil {
		return err
	}
	if f.json {
		fmt.Fprintf(p.out, "%s\n", raw)
	} else {
		for _, line := range describePlan(&plan) {
			fmt.Fprintln(p.out, line)
		}
		for _, c := range plan.Checks {
			fmt.Fprintf(p.out, "%-8s %s: %s\n", c.Verdict, printable(c.Name), printable(c.Detail))
		}
	}
	for _, c := range plan.Checks {
		if c.Verdict == failover.Bad {
			return verdict(exitFailed)
		}
	}
	return nil
}

// failover shows the plan, asks, and has it carried out. A plan that changed
// meanwhile is shown and asked for again.
func (p *program) failover(ctx context.Context, client *operator.Client, f *promotion) (err error) {
	var report *os.File
	if f.report != "" {
		// Before anything is done: afterwards it would be too late to find out. What
		// is in it stays, for a second run tells less of what the first one lost.
		if report, err = os.OpenFile(f.report, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
			return fmt.Errorf("nothing was done: the report cannot be written: %w", err)
		}
		defer func() {
			if closed := report.Close(); err == nil {
				err = closed
			}
		}()
	}
	var agreed *failover.Plan
	for range maxPlans {
		plan, err := p.plan(ctx, client)
		if err != nil {
			return err
		}
		for _, line := range describePlan(&plan) {
			p.note("%s", line)
		}
		if err := p.agree(ctx, &plan, f); err != nil {
			return err
		}
		if agreed == nil {
			agreed = &plan
		}
		if err := f.covers(agreed, &plan); err != nil && f.yes {
			complain(p.err, hint.Add(fmt.Errorf("this was not done, for --yes agreed to another plan: %w", err),
				"read it; if it is what you want, run the command again"))
			return p.notDone(f, exitUsage)
		}
		result, raw, err := client.Failover(ctx, failover.Request{
			Confirmed: plan.Confirm(), Force: f.force, Reason: f.reason,
		}, func(e failover.Event) {
			if e.Step == failover.StepFence {
				f.stopped = plan.Primary
			}
			p.tellStep(e)
		})
		if errors.Is(err, failover.ErrStale) {
			p.note("%v", err)
			continue
		}
		if report != nil && raw != nil {
			if _, err := report.Write(append(raw, '\n')); err != nil {
				p.note("the report is not in %q: %v", f.report, err)
			}
		}
		return p.promoted(result, raw, err, f)
	}
	complain(p.err, hint.Add(errors.New("the plan changed each time before it could be carried out"), "wait until `mailtwin status` stays as it is"))
	return p.notDone(f, exitFailed)
}

// covers returns nil if who agreed to a plan with --yes agrees to what it is now, too.
// When the primary's store fails while it is sealed for a switchover, its mail server is
// stopped already, and would take no mail if it were started: to end there would leave
// no node that serves.
func (f *promotion) covers(agreed, plan *failover.Plan) error {
	if f.stopped != "" && f.stopped == plan.Primary && plan.Kind == failover.Evacuation {
		return nil
	}
	return plan.NoWorse(agreed)
}

// notDone says that a plan is not carried out, and returns the exit code of that: the
// one that is given, which is of a command that did nothing, only if it did nothing.
func (p *program) notDone(f *promotion, code verdict) error {
	if f.stopped == "" {
		p.note("nothing was done")
		return code
	}
	p.note("nothing more was done: the mail server of %s stays stopped until the command is run again", f.stopped)
	return verdict(exitFailed)
}

func (p *program) plan(ctx context.Context, client *operator.Client) (failover.Plan, error) {
	ctx, cancel := context.WithTimeout(ctx, planTimeout)
	defer cancel()
	plan, _, err := client.PlanFailover(ctx, false, func(string) {})
	return plan, err
}

// agree makes sure that a person, or --yes, wants the plan.
func (p *program) agree(ctx context.Context, plan *failover.Plan, f *promotion) error {
	if err := plan.Fit(); err != nil {
		complain(p.err, err)
		return p.notDone(f, exitFailed)
	}
	switch {
	case len(plan.Refusals) > 0 && !f.force:
		complain(p.err, fmt.Errorf("%w: %s", failover.ErrNotReady, printable(plan.Refusals[0])))
		return p.notDone(f, exitFailed)
	case f.yes || plan.Kind == failover.Finish:
		return nil
	case !p.interactive:
		complain(p.err, hint.Add(errors.New("nobody confirmed it"), "say --yes to go on without being asked"))
		return p.notDone(f, exitUsage)
	}
	fmt.Fprintf(p.err, "Type yes to go on: ")
	answer := make(chan string, 1)
	go func() {
		answer <- readLine(p.in)
	}()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case a := <-answer:
		if strings.EqualFold(a, "yes") {
			return nil
		}
	}
	return p.notDone(f, exitUsage)
}

// readLine reads up to the end of a line, and not a byte further: what follows
// may be the answer to the next question.
func readLine(r io.Reader) string {
	var line []byte
	for b := make([]byte, 1); ; line = append(line, b[0]) {
		if n, err := r.Read(b); err != nil || n == 0 || b[0] == '\n' {
			return strings.TrimSpace(string(line))
		}
	}
}

// tellStep prints what happens as it does.
func (p *program) tellStep(e failover.Event) {
	switch e.Phase {
	case failover.Begun, failover.Skipped:
	case failover.Note:
		p.note("  %s: %s", e.Step, printable(e.Text))
	case failover.Done:
		p.note("%-14s %s", e.Step, status.Age(e.Took.Seconds()))
	case failover.Failed:
		p.note("%-14s failed after %s", e.Step, status.Age(e.Took.Seconds()))
	}
}

// promoted prints what the promotion came to. The node may be the primary
// though a step failed: then something is left to be done.
func (p *program) promoted(result failover.Result, raw []byte, err error, f *promotion) error {
	if f.json && raw != nil {
		fmt.Fprintf(p.out, "%s\n", raw)
	}
	if err != nil {
		if raw == nil {
			return err
		}
		complain(p.err, err)
		return verdict(exitUnfinished)
	}
	if f.json {
		return nil
	}
	fmt.Fprintf(p.out, "this node is the primary of epoch %d, after %s\n", result.Epoch, status.Age(result.Seconds))
	if result.Loss.Nothing {
		fmt.Fprintln(p.out, "nothing was lost")
	} else {
		for _, words := range result.Loss.Words {
			fmt.Fprintln(p.out, words)
		}
	}
	steps := make([]string, len(result.Steps))
	for i, s := range result.Steps {
		steps[i] = fmt.Sprintf("%s %s", s.Step, status.Age(s.Seconds))
	}
	fmt.Fprintln(p.out, strings.Join(steps, ", "))
	return nil
}

// describePlan puts a plan into lines for people.
func describePlan(plan *failover.Plan) []string {
	who := plan.Primary
	if who == "" {
		who = "the primary"
	}
	first := map[failover.Kind]string{
		failover.Switchover: "planned: this node takes over from %s, as epoch %d",
		failover.Evacuation: "unplanned: this node takes over from %s, whose store is in trouble, as epoch %d",
		failover.Failover:   "unplanned: this node takes the place of %s, which does not answer, as epoch %d",
		failover.Takeback:   "this node takes its mail back from %s, as epoch %d",
	}[plan.Kind]
	lines := []string{fmt.Sprintf("what the promotion to epoch %d left undone is done", plan.Epoch)}
	if first != "" {
		lines[0] = fmt.Sprintf(first, who, plan.Epoch)
	}
	for _, words := range plan.Loss.Words {
		lines = append(lines, "  "+printable(words))
	}
	for _, words := range plan.Warnings {
		lines = append(lines, "  warning: "+printable(words))
	}
	if plan.Unfit != "" {
		lines = append(lines, "  not at all: the store here is not fit to serve mail: "+printable(plan.Unfit))
	}
	for _, words := range plan.Refusals {
		lines = append(lines, "  not without --force: "+printable(words))
	}
	return lines
}

// printable keeps what hooks write, and names that mail users chose, from
// playing with the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}
