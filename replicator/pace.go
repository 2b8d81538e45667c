package replicator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mailtwin/mailtwin/replicator/config"
	"github.com/mailtwin/mailtwin/replicator/governor"
	"github.com/mailtwin/mailtwin/replicator/governor/disks"
	"github.com/mailtwin/mailtwin/replicator/governor/health"
	"github.com/mailtwin/mailtwin/replicator/operator"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// healthInterval is between two looks at the array's health.
const healthInterval = 10 * time.Second

// pacing is the governor of a primary with what it sees by.
type pacing struct {
	*governor.Governor
	n       *node
	set     disks.Set
	checker *health.Checker
	note    string // what it cannot see
}

// newPacing finds the devices of the store and makes their governor.
func newPacing(n *node) *pacing {
	p := &pacing{n: n}
	c := n.cfg.Pace
	var err error
	if p.set, err = disks.Find(disks.Roots{}, n.cfg.Store.Path); err != nil {
		p.note = "the devices of the store are not seen, only how long reads take: " + err.Error()
		n.opt.Log.Warn("the governor does not see the devices of the store", "error", err)
	}
	if c.MailCgroup != "" {
		if err := disks.CheckCgroup(c.MailCgroup); err != nil {
			p.note = "how long the mail server waits is not seen: " + err.Error()
			n.opt.Log.Warn("the governor does not see the mail server", "error", err)
		}
	}
	p.Governor = governor.New(governor.Config{
		Clock: n.opt.Clock, Log: n.opt.Log.Named("pace"), Changed: n.server.Changed,
		Sensors: disks.NewSensors(p.set, c.MailCgroup), Settings: paceSettings(c),
	})
	p.checker = health.New(health.Config{
		Set: p.set, Command: c.HealthCommand, Runner: health.Programs{}, Now: n.opt.Clock.Now,
	})
	return p
}

func paceSettings(c config.Pace) governor.Settings {
	return governor.Settings{
		Profile: c.Profile, BytesPerSecond: int64(c.BytesPerSecond), ReadsPerSecond: c.ReadsPerSecond,
		ReadsInFlight: c.ReadsInFlight, Hours: c.Hours, OnDegraded: c.OnDegraded, OnFailing: c.OnFailing,
	}
}

// watchHealth asks for the array's health again and again until ctx ends.
func (p *pacing) watchHealth(ctx context.Context) error {
	for {
		p.SetHealth(health.Sum(p.checker.Check(ctx)))
		select {
		case <-ctx.Done():
			return nil
		case <-p.n.opt.Clock.After(healthInterval):
		}
	}
}

// change changes the pace as an operator has asked.
func (p *pacing) change(c operator.PaceChange) error {
	var hours governor.Hours
	var err error
	if c.Hours != nil {
		if hours, err = governor.ParseHours(*c.Hours); err != nil {
			return err
		}
	}
	if c.Profile != nil && !slices.Contains(governor.Profiles(), governor.Profile(*c.Profile)) {
		return fmt.Errorf("there is no profile %q; choose one of %v", *c.Profile, governor.Profiles())
	}
	const most = 1 << 40
	p.Change(func(s *governor.Settings) {
		if c.Profile != nil {
			s.Profile = governor.Profile(*c.Profile)
			// Who says evacuate while the array is failing means just that; in the
			// settings it may have been meant for an array that is well.
			if s.OnFailing = p.n.cfg.Pace.OnFailing; s.Profile == governor.Evacuate {
				s.OnFailing = governor.Rescue
			}
		}
		if c.BytesPerSecond != nil {
			s.BytesPerSecond = int64(min(*c.BytesPerSecond, most))
		}
		if c.ReadsPerSecond != nil {
			s.ReadsPerSecond = int(min(*c.ReadsPerSecond, most))
		}
		if c.Hours != nil {
			s.Hours = hours
		}
		if c.Paused != nil {
			s.Paused = *c.Paused
		}
	})
	return nil
}

// proving reports whether the array may be asked now for what is only to be
// proven: not while anything else but live mail has to wait. Where it makes haste
// the proofs come behind all else by themselves.
func (p *pacing) proving() bool {
	s := p.Status()
	return !s.Paused && s.Health.State != governor.Degraded && s.Health.State != governor.Failing &&
		p.n.cfg.Pace.Prove.Contains(p.n.opt.Clock.Now())
}

// evacuating reports whether the array is about to be lost.
func (p *pacing) evacuating() bool { return p.Status().Profile == governor.Evacuate }

// document is the pace for the status.
func (p *pacing) document() *status.Pace {
	s := p.Status()
	out := &status.Pace{
		Profile: string(s.Settings.Profile), InForce: string(s.Profile), Paused: s.Paused, InFlight: s.InFlight,
		UsedReads: s.UsedReads, UsedBytes: s.UsedBytes, Capacity: s.Capacity, Others: s.Others,
		Latency: s.Latency, Normal: s.Normal, Reason: s.Reason,
		Health: string(s.Health.State), HealthWords: s.Health.Words,
		BytesPerSecond: uint64(s.Settings.BytesPerSecond), ReadsPerSecond: uint64(s.Settings.ReadsPerSecond),
		Hours: s.Settings.Hours.String(), OnDegraded: string(s.Settings.OnDegraded), OnFailing: string(s.Settings.OnFailing),
		BulkBytes: s.BulkBytes, LiveBytes: s.LiveBytes, Devices: p.set.Members, Note: p.note,
	}
	if !s.Unbound {
		out.Allowed = &s.ReadsPerSecond
	}
	return out
}

// paced is a part that has a pace.
type paced interface{ pacing() *pacing }

// Pace implements operator.Node.
func (n *node) Pace(change operator.PaceChange) (status.Pace, error) {
	n.mu.Lock()
	p, ok := n.part.(paced)
	n.mu.Unlock()
	if !ok {
		return status.Pace{}, errors.New("this node reads no array for others now: the pace is the primary's")
	}
	if err := p.pacing().change(change); err != nil {
		return status.Pace{}, err
	}
	return *p.pacing().document(), nil
}
