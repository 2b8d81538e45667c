package scenario

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"

	"github.com/mailtwin/mailtwin/integration/site"
)

// crashVariable makes a daemon kill itself at a step of a promotion.
const crashVariable = "MAILTWIN_CRASH_AT="

func willCrash(ctx context.Context, r *run, args []string) error {
	m := r.Machines[args[0]]
	if err := m.Node.Stop(); err != nil {
		return err
	}
	m.Node.Env = []string{crashVariable + args[1]}
	return m.Boot(ctx)
}

// failover runs the command, and says what it says.
func (r *run) failover(ctx context.Context, m *site.Machine, args ...string) error {
	report, err := r.Failover(ctx, m, args...)
	if err == nil {
		r.loss = report.Loss
		r.opt.Say("%s on %s in %.2f s: %v %q", report.Kind, m.Name, report.Seconds, report.Steps, report.Loss.Words)
	}
	return err
}

func switchOver(ctx context.Context, r *run, args []string) error {
	m := r.Machines[args[0]]
	if err := r.failover(ctx, m); err != nil {
		return err
	}
	// Both have all there is, and whichever is promoted next has it too.
	r.Returned(m)
	r.primary = m
	return nil
}

func failOver(ctx context.Context, r *run, args []string) error {
	return r.failOver(ctx, r.Machines[args[0]])
}

// failOverWhereMoreIs does what the command says when the other mirror has more.
func failOverWhereMoreIs(ctx context.Context, r *run, args []string) error {
	err := r.failOver(ctx, r.Machines[args[0]])
	if err != nil && strings.Contains(err.Error(), args[1]+" has ") && strings.Contains(err.Error(), "run the command there") {
		err = r.failOver(ctx, r.Machines[args[1]])
	}
	return err
}

func failOverByForce(ctx context.Context, r *run, args []string) error {
	return r.failOver(ctx, r.Machines[args[0]], "--force")
}

// failOver is a failover that nobody planned.
func (r *run) failOver(ctx context.Context, m *site.Machine, args ...string) error {
	r.abandon(m)
	if err := r.failover(ctx, m, args...); err != nil {
		return err
	}
	r.primary = m
	return nil
}

// abandon writes down, once, that the primary is to be replaced by m.
func (r *run) abandon(m *site.Machine) {
	if r.primary != m && !r.primary.Abandoned() {
		r.Unplanned(r.primary)
	}
}

func failOverCrashes(ctx context.Context, r *run, args []string) error {
	m := r.Machines[args[0]]
	r.abandon(m)
	return r.crashes(ctx, m)
}

func switchOverCrashes(ctx context.Context, r *run, args []string) error {
	return r.crashes(ctx, r.Machines[args[0]])
}

// crashes runs a failover in which the daemon is to crash, and starts the
// daemon again.
func (r *run) crashes(ctx context.Context, m *site.Machine) error {
	if err := r.failover(ctx, m); err == nil {
		return errors.New("it succeeded")
	}
	select {
	case <-m.Node.Exited():
	case <-ctx.Done():
		return fmt.Errorf("the daemon was to crash: %w", ctx.Err())
	}
	m.Node.Env = nil
	return errors.Join(m.Node.Kill(), m.Boot(ctx))
}

// failOverTwice has two operators promote a host each at the same time. One may
// find the other's host promoted when he begins, and take over from it as planned;
// and both may give way, when one of them has to give the command again.
func failOverTwice(ctx context.Context, r *run, args []string) error {
	both := []*site.Machine{r.Machines[args[0]], r.Machines[args[1]]}
	r.abandon(both[0])
	var reports [2]site.Report
	var errs [2]error
	var all sync.WaitGroup
	for i, m := range both {
		all.Go(func() { reports[i], errs[i] = r.Failover(ctx, m) })
	}
	all.Wait()
	for i, m := range both {
		r.opt.Say("on %s: %s in %.2f s: %v %q; %v", m.Name, reports[i].Kind, reports[i].Seconds, reports[i].Steps, reports[i].Loss.Words, errs[i])
		if errs[i] == nil && reports[i].Kind == "failover" {
			r.loss = reports[i].Loss
		}
	}
	if errs[0] != nil && errs[1] != nil {
		return r.failover(ctx, both[0])
	}
	return nil
}

// failOverTooLate has an operator agree to the failover of one host when another host
// has been promoted, and is followed. He is asked again, and says no.
func failOverTooLate(ctx context.Context, r *run, args []string) error {
	late, first := r.Machines[args[0]], r.Machines[args[1]]
	asked := 0
	var promoted error
	t, err := r.TypeThinking(ctx, late, func() string {
		if asked++; asked > 1 {
			return "no"
		}
		if promoted = r.failOver(ctx, first); promoted == nil {
			promoted = r.WaitInSync(ctx, first, late)
		}
		return "yes"
	}, "failover")
	r.opt.Say("%s# %s\n%s", t.Host, t.Command, t.Seen)
	switch _, refused := errors.AsType[*exec.ExitError](err); {
	case promoted != nil:
		return promoted
	case !refused && err != nil:
		return err
	case !refused || asked != 2:
		return fmt.Errorf("he was to be asked twice, and was %d times", asked)
	}
	return nil
}

func failOverRefused(ctx context.Context, r *run, args []string) error {
	err := r.failover(ctx, r.Machines[args[0]])
	switch {
	case err == nil:
		return errors.New("it was to be refused, and was not")
	case !strings.Contains(err.Error(), args[1]):
		return fmt.Errorf("it was to be refused for another reason: %w", err)
	}
	return nil
}

// byHand does what can be done without the command.
func byHand(ctx context.Context, r *run, args []string) error {
	m := r.Machines[args[0]]
	r.abandon(m)
	r.primary = m
	// Of what may be lost nobody tells.
	r.loss = site.Loss{}
	return errors.Join(m.Node.Kill(), m.StartMailByHand(ctx, r.Ledger.Users()))
}

func rejoins(ctx context.Context, r *run, args []string) error {
	m := r.Machines[args[0]]
	t, err := r.Type(ctx, m, "rejoin")
	r.opt.Say("rejoin on %s says:\n%s", m.Name, t.Seen)
	if err != nil {
		return fmt.Errorf("%w: %s", err, t.Seen)
	}
	if err := r.untilRole(ctx, m, "mirror"); err != nil {
		return err
	}
	r.Returned(m)
	t, err = r.Type(ctx, m, "accept", "kept", "--yes")
	r.opt.Say("accept on %s says: %s", m.Name, t.Seen)
	if err != nil {
		return err
	}
	// What it did not have either, such as mail that was expunged before anybody
	// had replicated it, never comes: so says the runbook.
	t, err = r.Type(ctx, r.primary, "accept", "missing", "--yes")
	r.opt.Say("accept on %s says: %s", r.primary.Name, t.Seen)
	return err
}

// types types a command, whatever comes of it: the runbook tells.
func types(ctx context.Context, r *run, args []string) error {
	t, err := r.Type(ctx, r.Machines[args[0]], strings.Fields(args[1])...)
	r.opt.Say("%s# %s\n%s", t.Host, t.Command, t.Seen)
	if _, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil
	}
	return err
}

// saysOf waits until the status of a host has some words.
func saysOf(ctx context.Context, r *run, args []string) error {
	var last []byte
	err := site.WaitFor(ctx, fmt.Sprintf("the status of %s says %q", args[0], args[1]), func() bool {
		last, _ = r.Machines[args[0]].Node.Run(ctx, "status") // its exit code is no error
		return strings.Contains(string(last), args[1])
	})
	if err != nil {
		return fmt.Errorf("%w; it says\n%s", err, last)
	}
	return nil
}
