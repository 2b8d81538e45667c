package replicator

import (
	"context"
	"errors"
	"fmt"
	"sync"
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

	changing sync.Mutex // held over a change, which may wait for the disk of the state
	mu       sync.Mutex // never held over that: the status tells of the rest
	byHand   byHand
	unread   string // why it is not known what was changed by hand
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
	if p.byHand, err = loadByHand(n.cfg.StateDir); err != nil {
		p.unread = "not known what was set by hand, so no content but of live mail is read until `mailtwin pace reset`: " + err.Error()
		n.opt.Log.Error("no content but of live mail is read until the pace is set again", "error", err)
	}
	settings, err := p.byHand.over(paceSettings(c))
	if err != nil {
		n.opt.Log.Error("what was set by hand of the pace does not hold", "error", err) // it was checked when it was set
	}
	p.Governor = governor.New(governor.Config{
		Clock: n.opt.Clock, Log: n.opt.Log.Named("pace"), Changed: n.server.Changed,
		Sensors: disks.NewSensors(p.set, c.MailCgroup), Settings: settings,
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

// change changes the pace as an operator has asked, and keeps that for the next
// start. Where it cannot be kept it holds all the same, and the error says so.
func (p *pacing) change(c operator.PaceChange) error {
	p.changing.Lock()
	defer p.changing.Unlock()
	p.mu.Lock()
	was, unread := p.byHand, p.unread != ""
	p.mu.Unlock()
	changed := was.with(c, p.n.opt.Clock.Now())
	settings, err := changed.over(paceSettings(p.n.cfg.Pace))
	if err != nil || changed == was && !unread {
		return err
	}
	p.Change(func(s *governor.Settings) { *s = settings })
	p.mu.Lock()
	p.byHand, p.unread = changed, ""
	p.mu.Unlock()
	if err := changed.save(p.n.cfg.StateDir); err != nil {
		return fmt.Errorf("the pace is changed, but only until the daemon ends: %w", err)
	}
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
	p.mu.Lock()
	out.ByHand, out.Changes = p.byHand.changes()
	if p.unread != "" {
		out.Note, out.Changes = p.unread, nil // nobody has set what holds
	}
	p.mu.Unlock()
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
		return status.Pace{}, n.askPrimary(errors.New("this node reads no array for others now: the pace is the primary's"))
	}
	if err := p.pacing().change(change); err != nil {
		return status.Pace{}, err
	}
	return *p.pacing().document(), nil
}
