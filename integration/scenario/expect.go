package scenario

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/mailtwin/mailtwin/integration/dovecot"
	"github.com/mailtwin/mailtwin/integration/site"
)

// untilRole waits until a node has a role.
func (r *run) untilRole(ctx context.Context, m *site.Machine, role string) error {
	last := ""
	if err := site.WaitFor(ctx, fmt.Sprintf("%s is %s", m.Name, role), func() bool {
		status, err := m.Node.Status(ctx)
		if last = status.Role; err != nil {
			last = err.Error()
		}
		return err == nil && status.Role == role
	}); err != nil {
		return fmt.Errorf("%w; it is %s", err, last)
	}
	return nil
}

func onlyPrimary(ctx context.Context, r *run, args []string) error {
	if err := r.untilRole(ctx, r.Machines[args[0]], "primary"); err != nil {
		return err
	}
	for name, m := range r.Machines {
		if name == args[0] {
			continue
		}
		if status, err := m.Node.Status(ctx); err == nil && status.Role == "primary" {
			return fmt.Errorf("%s is a primary too", name)
		}
	}
	return nil
}

// onePrimary waits until one node, whichever it is, is the primary, and no other.
func onePrimary(ctx context.Context, r *run, _ []string) error {
	roles := map[string]string{}
	if err := site.WaitFor(ctx, "there is one primary", func() bool {
		clear(roles)
		var leads []*site.Machine
		for name, m := range r.Machines {
			status, err := m.Node.Status(ctx)
			if err != nil {
				continue // it is off
			}
			if roles[name] = status.Role; status.Role == "primary" {
				leads = append(leads, m)
			}
		}
		if len(leads) != 1 {
			return false
		}
		r.primary = leads[0]
		return true
	}); err != nil {
		return fmt.Errorf("%w; they are %v", err, roles)
	}
	return nil
}

// allInSync waits until all other nodes are mirrors that have everything.
func allInSync(ctx context.Context, r *run, _ []string) error {
	r.rest()
	for _, m := range r.Machines {
		if m == r.primary {
			continue
		}
		short, cancel := context.WithTimeout(ctx, within)
		err := r.untilRole(short, m, "mirror")
		if err == nil {
			err = r.WaitInSync(short, r.primary, m)
		}
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

func isMirror(ctx context.Context, r *run, args []string) error {
	return r.untilRole(ctx, r.Machines[args[0]], "mirror")
}

func isFenced(ctx context.Context, r *run, args []string) error {
	return r.untilRole(ctx, r.Machines[args[0]], "fenced")
}

func inSync(ctx context.Context, r *run, args []string) error {
	r.rest()
	return r.WaitInSync(ctx, r.Machines[args[1]], r.Machines[args[0]])
}

// servesNoMail waits until no mail server answers at the host's own address.
func servesNoMail(ctx context.Context, r *run, args []string) error {
	for _, port := range []string{dovecot.IMAPPort, dovecot.LMTPPort} {
		address := net.JoinHostPort(r.Machines[args[0]].Address, port)
		if err := site.WaitFor(ctx, "nobody answers on "+address, func() bool {
			short, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			c, err := r.Client.Dial(short, address)
			if err == nil {
				_ = c.Close() // it should not be there at all
			}
			return err != nil
		}); err != nil {
			return err
		}
	}
	return nil
}

func nothingLost(ctx context.Context, r *run, _ []string) error {
	_, err := r.check(ctx, true)
	return err
}

func onlyUnreplicatedLost(ctx context.Context, r *run, _ []string) error {
	v, err := r.check(ctx, false)
	if err != nil {
		return err
	}
	r.opt.Say("%d messages are lost that were not replicated", len(v.Lost))
	return told("the loss report is wrong", r.loss.Accounts(v.Lost))
}

// onMail begins what is said of mail that is lost, doubled, back or otherwise wrong.
// .ci/run looks for it: such a story is never told again in the hope of a better end.
const onMail = "verdict on mail: "

// told makes an error of what was found, if anything was.
func told(what string, found []string) error {
	if len(found) == 0 {
		return nil
	}
	const most = 10
	return fmt.Errorf("%s%s, %d times:\n  %s", onMail, what, len(found), strings.Join(found[:min(most, len(found))], "\n  "))
}

func copiesFetched(ctx context.Context, r *run, _ []string) error {
	r.rest()
	return r.FetchCopies(ctx)
}

func copiesCatchUp(ctx context.Context, r *run, _ []string) error {
	r.rest()
	wrong, err := r.CatchUp(ctx)
	if err != nil {
		return err
	}
	return told("the copies of a client are wrong", wrong)
}
