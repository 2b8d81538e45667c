package replicator

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/mailtwin/mailtwin/replicator/progress"
	"github.com/mailtwin/mailtwin/replicator/status"
)

const (
	// sampleInterval is how often it is looked at how far a sync is.
	sampleInterval = 5 * time.Second
	// logInterval is how often the log tells of it, at most.
	logInterval = time.Minute
)

// course is how far the sync of one mirror is.
type course struct {
	progress.State
	going   bool // it is not finished
	counted bool // how much there is is known
}

// tracker follows how first syncs go, each under the name of its mirror.
type tracker struct {
	clock Clock
	log   hclog.Logger

	mu   sync.Mutex
	runs map[string]*syncRun
}

// syncRun is a sync that goes on.
type syncRun struct {
	meter  progress.Meter
	logged time.Time
	began  time.Time
}

func newTracker(clock Clock, log hclog.Logger) *tracker {
	return &tracker{clock: clock, log: log, runs: make(map[string]*syncRun)}
}

// run looks at what goes on until ctx ends.
func (t *tracker) run(ctx context.Context, courses func() map[string]course) error {
	for {
		for name, c := range courses() {
			t.note(name, c)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.clock.After(sampleInterval):
		}
	}
}

// note takes a sample of a sync, and logs it when it is time to.
func (t *tracker) note(name string, c course) {
	now := t.clock.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.runs[name]
	switch {
	case r == nil && !c.going:
		return
	case r == nil:
		r = &syncRun{began: now, logged: now}
		t.runs[name] = r
	case !c.going:
		delete(t.runs, name)
		t.log.Info("sync finished", "mirror", name, "files", c.MessagesDone, "bytes", status.Bytes(c.BytesDone),
			"took", now.Sub(r.began).Round(time.Second))
		return
	}
	if !c.counted {
		r.meter.Reset()
		return
	}
	r.meter.Note(now, c.State)
	if now.Sub(r.logged) < logInterval {
		return
	}
	r.logged = now
	p := progressOf(r.meter.Report(now, c.State))
	t.log.Info("sync goes on", "mirror", name, "files", fmt.Sprintf("%d of %d", p.FilesDone, p.Files),
		"bytes", fmt.Sprintf("%s of %s", status.Bytes(p.BytesDone), status.Bytes(p.Bytes)),
		"rate", status.Bytes(uint64(p.BytesPerSecond))+"/s", "left", p.Left())
}

// describe tells how far a sync is; nil if it does not go on.
func (t *tracker) describe(name string, c course) *status.Progress {
	if !c.going {
		return nil
	}
	now := t.clock.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	report := progress.Report{State: c.State, Basis: "unknown: how much there is is being found out"}
	if c.counted {
		var none progress.Meter
		report = none.Report(now, c.State)
		if r := t.runs[name]; r != nil {
			report = r.meter.Report(now, c.State)
		}
	}
	return progressOf(report)
}

func progressOf(r progress.Report) *status.Progress {
	p := &status.Progress{
		Files: r.Messages, FilesDone: min(r.MessagesDone, r.Messages), Bytes: r.Bytes, BytesDone: min(r.BytesDone, r.Bytes),
		FilesPerSecond: r.MessagesPerSecond, BytesPerSecond: r.BytesPerSecond, Basis: r.Basis,
	}
	if r.Known {
		left := r.Remaining.Seconds()
		p.SecondsLeft = &left
	}
	return p
}
