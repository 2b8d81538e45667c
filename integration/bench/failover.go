package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mailtwin/mailtwin/integration/client"
	"github.com/mailtwin/mailtwin/integration/dovecot"
	"github.com/mailtwin/mailtwin/integration/hosts"
	"github.com/mailtwin/mailtwin/integration/site"
	"github.com/mailtwin/mailtwin/integration/tree"
)

const (
	failoverBar   = 3 * time.Second
	failoverGrows = 500 * time.Millisecond // more than that is growth, and not chance
	failoverUsers = 200
	loginTimeout  = time.Minute
	firstSync     = 30 * time.Minute
)

// takeover is how long it took to be served by another host.
type takeover struct {
	command time.Duration // until the command had ended
	served  time.Duration // until a user had logged in and seen his mail
	parts   parts
}

// parts are what the command says that it was busy with. The hook that stops the
// mail server is in the fence.
type parts struct{ fence, drain, prove, epoch, hooks time.Duration }

// partsOf adds the steps of a promotion up.
func partsOf(steps []site.Timing) parts {
	var p parts
	for _, s := range steps {
		of := &p.epoch // plan, claim, journal, raise, open, crown
		switch s.Step {
		case "fence":
			of = &p.fence
		case "drain":
			of = &p.drain
		case "prove":
			of = &p.prove
		case "promote-before", "promote-after":
			of = &p.hooks
		}
		*of += time.Duration(s.Seconds * float64(time.Second))
	}
	return p
}

// String says how long the command took, and each part.
func (t takeover) String() string {
	return fmt.Sprintf("the command alone: %s (fence %s, drain %s, prove %s, epoch %s, hooks %s)", seconds(t.command),
		seconds(t.parts.fence), seconds(t.parts.drain), seconds(t.parts.prove), seconds(t.parts.epoch), seconds(t.parts.hooks))
}

// median returns the middle one, by when it was served.
func median(all []takeover) takeover {
	sorted := slices.SortedFunc(slices.Values(all), func(a, b takeover) int { return cmp.Compare(a.served, b.served) })
	return sorted[len(sorted)/2]
}

// failover is case g: from the command to the first login with mail, planned
// and after a power cut, with the usual number of messages and with many in as
// many mailboxes.
func (b *bench) failover(ctx context.Context) error {
	planned, unplanned := map[int]takeover{}, map[int]takeover{}
	for _, messages := range []int{b.messages, b.many} {
		var err error
		if planned[messages], unplanned[messages], err = b.failoverOf(ctx, messages); err != nil {
			return fmt.Errorf("measuring a failover with %d messages: %w", messages, err)
		}
	}
	for _, kind := range []struct {
		name  string
		taken map[int]takeover
	}{{"switchover", planned}, {"failover after a power cut", unplanned}} {
		few, many := kind.taken[b.messages], kind.taken[b.many]
		b.rows = append(b.rows,
			row{
				what: fmt.Sprintf("%s to the first login with mail, %d messages", kind.name, b.messages),
				ours: seconds(few.served), peers: few.String(),
				bar: "≤ 3 s", met: few.served <= failoverBar,
			},
			row{
				what: fmt.Sprintf("the same with %d messages", b.many),
				ours: seconds(many.served), peers: many.String(),
				ratio: fmt.Sprintf("%+.2f s", (many.served - few.served).Seconds()),
				bar:   "does not grow", met: many.served <= few.served+failoverGrows,
			})
	}
	return nil
}

// failoverOf measures both kinds on hosts with so many messages; of the
// planned ones, the median.
func (b *bench) failoverOf(ctx context.Context, messages int) (planned, unplanned takeover, err error) {
	b.say("failover: making two hosts with %d messages", messages)
	s, err := site.New(ctx, site.Options{
		Binary: b.binary, Names: []string{"mx1", "mx2"}, Hooks: true,
		ArraySize: int64(messages)*16<<10 + 1<<30, // small messages take a block and an inode each
	})
	if s != nil {
		defer func() { err = errors.Join(err, s.Close()) }()
	}
	if err != nil {
		return planned, unplanned, err
	}
	one, other := s.Machines["mx1"], s.Machines["mx2"]
	user, err := b.fillSite(ctx, s, one, other, messages)
	if err != nil {
		return planned, unplanned, err
	}
	var all []takeover
	for range b.rounds {
		taken, err := b.takeOver(ctx, s, other, user)
		if err != nil {
			return planned, unplanned, err
		}
		all = append(all, taken)
		one, other = other, one
		if err := atRest(ctx, s, one, other); err != nil {
			return planned, unplanned, err
		}
	}
	planned = median(all)
	if err := one.PowerCut(ctx); err != nil {
		return planned, unplanned, err
	}
	unplanned, err = b.takeOver(ctx, s, other, user)
	return planned, unplanned, err
}

// fillSite makes the mail and the pair, and waits for its first sync. It
// returns a user who has mail.
func (b *bench) fillSite(ctx context.Context, s *site.Site, primary, mirror *site.Machine, messages int) (string, error) {
	uid, gid, err := dovecot.Owner()
	if err != nil {
		return "", err
	}
	spec := tree.Default(messages)
	spec.Users, spec.Domains, spec.MeanSize, spec.UID, spec.GID = failoverUsers, 20, 3000, uid, gid
	if _, err := tree.Generate(ctx, primary.Node.Store, spec); err != nil {
		return "", err
	}
	if err := s.StartPrimary(ctx, primary); err != nil {
		return "", err
	}
	if err := s.Join(ctx, mirror, primary); err != nil {
		return "", err
	}
	domain, name := filepath.Split(spec.UserDir(1))
	return name + "@" + strings.TrimSuffix(domain, "/"), inSyncWithin(ctx, s, primary, mirror, firstSync)
}

func inSyncWithin(ctx context.Context, s *site.Site, primary, mirror *site.Machine, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return s.WaitInSync(ctx, primary, mirror)
}

// atRest waits until a new primary has done what its promotion left to be done: its
// mailboxes are raised, and their new indexes have reached the mirror. A switchover
// in the midst of that has to do it first.
func atRest(ctx context.Context, s *site.Site, primary, mirror *site.Machine) error {
	ctx, cancel := context.WithTimeout(ctx, firstSync)
	defer cancel()
	if err := site.WaitFor(ctx, primary.Name+" is at rest", func() bool {
		status, err := primary.Node.Status(ctx)
		return err == nil && status.IMAP.State == "complete" && status.Store.Watch.Indexes == 0
	}); err != nil {
		return err
	}
	return s.WaitInSync(ctx, primary, mirror)
}

// takeOver fails over to a host and waits until a user sees his mail there.
func (b *bench) takeOver(ctx context.Context, s *site.Site, m *site.Machine, user string) (takeover, error) {
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	start := time.Now()
	report, err := m.Failover(ctx)
	taken := takeover{command: time.Since(start)}
	if err != nil {
		return taken, err
	}
	taken.parts = partsOf(report.Steps)
	if err := site.WaitFor(ctx, user+" sees mail", func() bool { return sees(ctx, s, user) == nil }); err != nil {
		return taken, errors.Join(err, sees(ctx, s, user))
	}
	taken.served = time.Since(start)
	b.say("failover: served after %v, %v: %v", seconds(taken.served), taken, report.Steps)
	return taken, nil
}

// sees logs in at the service address and opens the INBOX, which has mail.
func sees(ctx context.Context, s *site.Site, user string) error {
	conn, err := s.Client.Dial(ctx, net.JoinHostPort(hosts.ServiceAddress, dovecot.IMAPPort))
	if err != nil {
		return err
	}
	c, err := client.NewIMAP(conn, user, dovecot.Password)
	if err != nil {
		return err
	}
	data, err := c.Select("INBOX")
	if err == nil && data.NumMessages == 0 {
		err = errors.New("there is no mail in the INBOX")
	}
	return errors.Join(err, c.Hangup())
}
