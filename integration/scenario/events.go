package scenario

import (
	"context"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"github.com/mailtwin/mailtwin/integration/dovecot"
	"github.com/mailtwin/mailtwin/integration/hosts"
	"github.com/mailtwin/mailtwin/integration/site"
)

func firstPrimary(ctx context.Context, r *run, args []string) error {
	r.primary = r.Machines[args[0]]
	return r.StartPrimary(ctx, r.primary)
}

// stateOnArray has a node that is not made yet keep its state beside the mail.
func stateOnArray(_ context.Context, r *run, args []string) error {
	m := r.Machines[args[0]]
	m.Node.State = filepath.Join(m.Array.Path, "state")
	return nil
}

func joins(ctx context.Context, r *run, args []string) error {
	return r.Join(ctx, r.Machines[args[0]], r.Machines[args[1]])
}

func delivered(ctx context.Context, r *run, args []string) error {
	return r.deliver(ctx, args[0], hosts.ServiceAddress)
}

func deliveredTo(ctx context.Context, r *run, args []string) error {
	return r.deliver(ctx, args[0], r.Machines[args[1]].Address)
}

// deliver delivers so many messages to the users in turn.
func (r *run) deliver(ctx context.Context, number, host string) error {
	n, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	address := net.JoinHostPort(host, dovecot.LMTPPort)
	for i := range n {
		if err := r.deliverOne(ctx, address, site.User(i%site.Users)); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) deliverOne(ctx context.Context, address, user string) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return r.Deliver(ctx, address, user, r.mail, 500+r.rng.IntN(20_000))
}

func usersWork(_ context.Context, r *run, _ []string) error {
	r.StartTraffic(r.rng.Uint64())
	return nil
}

func usersRest(_ context.Context, r *run, _ []string) error {
	r.rest()
	return nil
}

// wait waits for a time of the story's chance: there is no event to wait for.
func wait(ctx context.Context, r *run, args []string) error {
	least, err := time.ParseDuration(args[0])
	if err != nil {
		return err
	}
	most, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	timer := time.NewTimer(least + time.Duration(r.rng.Int64N(int64(most-least)+1)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func replicated(ctx context.Context, r *run, args []string) error {
	return r.Replicated(ctx, r.Machines[args[0]], r.Machines[args[1]])
}

func powerCut(ctx context.Context, r *run, args []string) error {
	return r.Machines[args[0]].PowerCut(ctx)
}

func powerCutLoosely(ctx context.Context, r *run, args []string) error {
	err := r.Machines[args[0]].PowerCut(ctx)
	// What was acknowledged at the last moment is written down by now, too.
	resume := r.Pause()
	r.Ledger.Unplanned()
	resume()
	return err
}

func powerOn(ctx context.Context, r *run, args []string) error {
	return r.Machines[args[0]].PowerOn(ctx)
}

func linkCut(ctx context.Context, r *run, args []string) error {
	return r.Network.Cut(ctx, r.Machines[args[0]].Host, r.Machines[args[1]].Host)
}

func linkMended(ctx context.Context, r *run, args []string) error {
	return r.Network.Mend(ctx, r.Machines[args[0]].Host, r.Machines[args[1]].Host)
}

func unplugged(ctx context.Context, r *run, args []string) error {
	return r.Machines[args[0]].Unplug(ctx)
}

func pluggedIn(ctx context.Context, r *run, args []string) error {
	return r.Machines[args[0]].PlugIn(ctx)
}

func slow(ctx context.Context, r *run, args []string) error {
	kB, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	return r.Machines[args[0]].Slow(ctx, kB*1000)
}

func fast(ctx context.Context, r *run, args []string) error {
	return r.Machines[args[0]].Slow(ctx, 0)
}

func arrayFails(_ context.Context, r *run, args []string) error {
	return r.Machines[args[0]].Array.Fail()
}

func arrayVanishes(ctx context.Context, r *run, args []string) error {
	return r.Machines[args[0]].Array.Vanish(ctx)
}

func arrayReadOnly(ctx context.Context, r *run, args []string) error {
	return r.Machines[args[0]].Array.TurnReadOnly(ctx)
}

func arrayBackedUp(ctx context.Context, r *run, args []string) error {
	return r.Machines[args[0]].Array.BackUp(ctx)
}

func arrayRestored(ctx context.Context, r *run, args []string) error {
	m := r.Machines[args[0]]
	if err := m.PowerCut(ctx); err != nil {
		return err
	}
	if err := m.Array.Restore(ctx); err != nil {
		return err
	}
	return m.PowerOn(ctx)
}

func arrayReturns(ctx context.Context, r *run, args []string) error {
	return r.Machines[args[0]].RepairArray(ctx)
}

func killed(_ context.Context, r *run, args []string) error {
	return r.Machines[args[0]].Node.Kill()
}

func started(ctx context.Context, r *run, args []string) error {
	return r.Machines[args[0]].Boot(ctx)
}
