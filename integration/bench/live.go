package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/mailtwin/mailtwin/integration/pair"
	"github.com/mailtwin/mailtwin/integration/tree"
)

const (
	liveRate = 20                     // deliveries a second
	liveBar  = 250 * time.Millisecond // for the p99
)

// live is case j: how long a delivery takes to be durable on the mirror while
// its first sync goes on, cold and ungoverned.
func (b *bench) live(ctx context.Context) error {
	source, err := b.tree(ctx)
	if err != nil {
		return err
	}
	// Its name is the last: a sync by names would come to it at its end.
	user := filepath.Join(source, "zz.example.org/live")
	box := filepath.Join(user, "Maildir")
	if err := makeMailbox(box); err != nil {
		return err
	}
	mirror := b.path("mirror")
	if err := cold(); err != nil {
		return err
	}
	p, err := b.pairWith(ctx, pair.Options{PrimaryStore: source, MirrorStore: mirror, Direct: true, Profile: pair.Unbound})
	if err != nil {
		return err
	}
	defer p.Close()
	t, count, err := b.duringSync(ctx, p, box)
	if err != nil {
		return fmt.Errorf("measuring live mail during a first sync: %w", err)
	}
	if err := p.WaitInSync(ctx); err != nil {
		return err
	}
	if err := equal(ctx, source, mirror); err != nil {
		return err
	}
	if err := p.Close(); err != nil {
		return err
	}
	b.rows = append(b.rows, row{
		what:  fmt.Sprintf("delivered to durable on the mirror during its first sync of %d messages, p99", b.messages),
		ours:  fmt.Sprintf("%s (p50 %s, %d deliveries)", milliseconds(t.p99), milliseconds(t.p50), count),
		peers: "—", bar: "≤ " + milliseconds(liveBar), met: t.p99 <= liveBar,
	})
	return errors.Join(b.remove(mirror), os.RemoveAll(filepath.Dir(user)))
}

// duringSync delivers for as long as the first sync goes on.
func (b *bench) duringSync(ctx context.Context, p *pair.Pair, box string) (timing, int, error) {
	following, stop := context.WithCancel(ctx)
	defer stop()
	// Before the first scan is done a delivery is no change, but part of the store.
	var first pair.Status
	if err := p.Primary.Watch(ctx, func(s pair.Status) bool {
		first = s
		return s.Store.State != "watching" || !s.Store.Watch.Complete
	}); err != nil {
		return timing{}, 0, err
	}
	base := first.Journal.Sequence
	m := &meter{count: math.MaxInt, done: make(chan struct{})}
	journaled := &meter{count: math.MaxInt, done: make(chan struct{})}
	over := make(chan struct{}) // the first sync is
	var running sync.WaitGroup
	running.Go(func() {
		syncing, ended := false, false
		err := p.Primary.Watch(following, func(s pair.Status) bool {
			if s.Journal.Sequence >= base {
				journaled.durable(int(s.Journal.Sequence - base))
			}
			if len(s.Mirrors) != 1 {
				return true
			}
			if acked := s.Mirrors[0].AckedSequence; acked >= base {
				m.durable(int(acked - base))
			}
			syncing = syncing || s.Mirrors[0].State == "syncing"
			if syncing && s.Mirrors[0].State != "syncing" && !ended {
				ended = true
				close(over)
			}
			return true
		})
		if err != nil {
			m.fail(err)
		}
	})
	count, err := b.deliverUntil(ctx, box, over, m, journaled)
	if err == nil {
		err = m.waitFor(ctx, count)
	}
	stop()
	running.Wait()
	if err != nil {
		return timing{}, 0, err
	}
	t := timing{rate: liveRate, p50: percentile(m.taken, 50), p99: percentile(m.taken, 99)}
	b.say("live mail during a first sync: %d deliveries, p50 %v, p99 %v; in the journal p50 %v, p99 %v", count, t.p50, t.p99,
		percentile(journaled.taken, 50), percentile(journaled.taken, 99))
	return t, count, nil
}

// deliverUntil delivers at the rate until something is over, and returns how
// many messages that were.
func (b *bench) deliverUntil(ctx context.Context, box string, over <-chan struct{}, meters ...*meter) (int, error) {
	message := tree.NewWriter(liveRate).Message("live@example.org", messageSize)
	b.serial++
	tick := time.NewTicker(time.Second / liveRate)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-tick.C:
		case <-over:
			return i, nil
		case <-ctx.Done():
			return i, ctx.Err()
		}
		data := fmt.Appendf(nil, "X-Serial: %d.%d\n%s", b.serial, i, message)
		if err := deliverTo(box, fmt.Sprintf("%d.M%dP%d.bench", 1_800_000_000, i, b.serial), data); err != nil {
			return i, err
		}
		for _, m := range meters {
			m.delivered()
		}
	}
}

// waitFor returns when so many deliveries are durable.
func (m *meter) waitFor(ctx context.Context, count int) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		m.mu.Lock()
		taken, failure := len(m.taken), m.failure
		m.mu.Unlock()
		switch {
		case failure != nil:
			return failure
		case taken >= count:
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %d of %d in %v", errFarBehind, taken, count, patience)
		}
	}
}
