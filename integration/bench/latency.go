package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/mailtwin/mailtwin/integration/pair"
	"github.com/mailtwin/mailtwin/integration/tree"
	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/replicator/operator"
)

// messageSize is that of the messages whose latency is measured.
const messageSize = 20_000

// follower tells how many of the deliveries since it began are durable on the
// other side, each time that it learns so, until the context ends.
type follower func(ctx context.Context, durable func(int)) error

// system is something that mirrors one mailbox.
type system struct {
	name   string
	box    string // where to deliver
	follow func(ctx context.Context) (follower, error)
}

// errFarBehind says that deliveries did not become durable within patience.
var errFarBehind = errors.New("deliveries did not become durable")

// patience is how long after the last delivery a mirror may take.
const patience = 30 * time.Second

// timing is the latencies of a number of deliveries at one rate.
type timing struct {
	rate     int // a second
	p50, p99 time.Duration
}

// kept reports whether the mirror kept up: its lag stayed below a second.
func (t timing) kept() bool { return t.p99 < time.Second }

// latency is case a.
func (b *bench) latency(ctx context.Context) error {
	store, mirror := b.path("primary"), b.path("mirror")
	box := filepath.Join(store, "example.org/ann/Maildir")
	if err := makeMailbox(box); err != nil {
		return err
	}
	p, err := b.pair(ctx, store, mirror, true)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := p.WaitInSync(ctx); err != nil {
		return err
	}
	floorFrom, floorTo := b.path("floor"), b.path("floor")
	systems := []system{
		{"mailtwin", box, func(ctx context.Context) (follower, error) { return followPair(ctx, p) }},
		{"floor", floorFrom, func(context.Context) (follower, error) {
			f, err := newFloor(floorFrom, floorTo)
			if err != nil {
				return nil, err
			}
			return f.follow, nil
		}},
	}
	slow, fast := map[string]timing{}, map[string]timing{}
	for _, s := range systems {
		if slow[s.name], err = b.atRate(ctx, s, 10, 200); err != nil {
			return fmt.Errorf("measuring the latency of %s: %w", s.name, err)
		}
		if fast[s.name], err = b.highestRate(ctx, s); err != nil {
			return fmt.Errorf("measuring the latency of %s: %w", s.name, err)
		}
	}
	if err := p.WaitInSync(ctx); err != nil {
		return err
	}
	if err := equal(ctx, store, mirror); err != nil {
		return err
	}
	b.latencyRows(slow["mailtwin"], slow["floor"], fast["mailtwin"], fast["floor"])
	if err := p.Close(); err != nil {
		return err
	}
	return b.remove(store, mirror, floorFrom, floorTo)
}

func (b *bench) latencyRows(slow, slowFloor, fast, fastFloor timing) {
	ratio := func(a, b time.Duration) float64 { return a.Seconds() / b.Seconds() }
	p50 := ratio(slow.p50, slowFloor.p50)
	b.rows = append(b.rows,
		row{what: "delivered to durable on the mirror, 10/s, p50", ours: milliseconds(slow.p50),
			peers: "floor: " + milliseconds(slowFloor.p50), ratio: fmt.Sprintf("%.1f", p50), bar: "≤ 3.0", met: p50 <= 3},
		row{what: "the same, p99", ours: milliseconds(slow.p99), peers: "floor: " + milliseconds(slowFloor.p99),
			ratio: fmt.Sprintf("%.1f", ratio(slow.p99, slowFloor.p99)), bar: "≤ 50 ms", met: slow.p99 <= 50*time.Millisecond},
		row{what: "highest rate with a lag under 1 s", ours: fmt.Sprintf("%d/s (p50 %s, p99 %s)", fast.rate, milliseconds(fast.p50), milliseconds(fast.p99)),
			peers: fmt.Sprintf("floor: %d/s (p50 %s, p99 %s)", fastFloor.rate, milliseconds(fastFloor.p50), milliseconds(fastFloor.p99)),
			ratio: fmt.Sprintf("%.2f", float64(fast.rate)/float64(max(1, fastFloor.rate)))},
	)
}

// followPair follows what the primary knows to be durable on the mirror. One
// delivery is one entry.
func followPair(ctx context.Context, p *pair.Pair) (follower, error) {
	if err := p.WaitInSync(ctx); err != nil {
		return nil, err
	}
	status, err := p.Primary.Status(ctx)
	if err != nil {
		return nil, err
	}
	base := journal.Sequence(status.Journal.Sequence)
	client, err := operator.Dial(p.Primary.State)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, durable func(int)) error {
		defer client.Close()
		err := client.FollowDurable(ctx, func(d operator.Durability) error {
			if d.Mirrors == 1 && d.Durable >= base {
				durable(int(d.Durable - base))
			}
			return nil
		})
		if ctx.Err() != nil {
			return nil // it was stopped
		}
		return err
	}, nil
}

// highestRate doubles the rate until the mirror does not keep up any more, or
// the deliveries cannot be made faster.
func (b *bench) highestRate(ctx context.Context, s system) (timing, error) {
	const longest, lowest, highest = 4, 100, 12_800 // seconds; a second
	var best timing
	for rate := lowest; rate <= highest; rate *= 2 {
		t, err := b.atRate(ctx, s, rate, rate*longest)
		if errors.Is(err, errFarBehind) {
			break
		}
		if err != nil {
			return best, err
		}
		if !t.kept() || t.rate <= best.rate {
			break
		}
		best = t
		if t.rate < rate*3/4 {
			break // whoever delivers is at the end, not the mirror
		}
	}
	return best, nil
}

// atRate delivers messages at a rate and measures how long each takes to be
// durable. The rate told is that which was reached.
func (b *bench) atRate(ctx context.Context, s system, rate, count int) (timing, error) {
	follow, err := s.follow(ctx)
	if err != nil {
		return timing{}, err
	}
	m := &meter{count: count, done: make(chan struct{})}
	following, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		if err := follow(following, m.durable); err != nil {
			m.fail(err)
		}
	})
	reached, err := b.deliveries(ctx, s.box, rate, count, m)
	if err == nil {
		err = m.wait(ctx)
	}
	stop()
	running.Wait()
	if err != nil {
		return timing{}, err
	}
	t := timing{rate: reached, p50: percentile(m.taken, 50), p99: percentile(m.taken, 99)}
	b.say("latency: %s at %d/s: p50 %v, p99 %v", s.name, t.rate, t.p50, t.p99)
	return t, nil
}

// deliveries makes the deliveries one after another and returns the rate that
// was reached.
func (b *bench) deliveries(ctx context.Context, box string, rate, count int, m *meter) (int, error) {
	writer := tree.NewWriter(uint64(rate))
	messages := make([][]byte, min(count, 64)) // made before the clock runs
	for i := range messages {
		messages[i] = writer.Message("ann@example.org", messageSize)
	}
	b.serial++
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	start := time.Now()
	for i := range count {
		// Each message has a line of its own, or it would not be sent.
		data := fmt.Appendf(nil, "X-Serial: %d.%d\n%s", b.serial, i, messages[i%len(messages)])
		if err := deliverTo(box, fmt.Sprintf("%d.M%dP%d.bench", 1_800_000_000, i, b.serial), data); err != nil {
			return 0, err
		}
		m.delivered()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return int(float64(count)/time.Since(start).Seconds() + 0.5), nil
}

// meter notes when deliveries were made and when they became durable.
type meter struct {
	count int
	done  chan struct{} // closed when all are durable, or when it failed

	mu      sync.Mutex
	failure error
	early   int // how many were durable before their delivery had returned
	times   []time.Time
	taken   []time.Duration
}

// delivered notes that one more message is in the mailbox.
func (m *meter) delivered() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.times = append(m.times, time.Now())
	if m.early > 0 {
		m.early--
		m.take(0)
	}
}

// durable notes that the first n are durable.
func (m *meter) durable(n int) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.taken) < min(n, len(m.times)) {
		m.take(now.Sub(m.times[len(m.taken)]))
	}
	m.early = max(m.early, n-len(m.times))
}

func (m *meter) take(d time.Duration) {
	m.taken = append(m.taken, d)
	if len(m.taken) == m.count && m.failure == nil {
		close(m.done)
	}
}

func (m *meter) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failure == nil && len(m.taken) < m.count {
		m.failure = errors.Join(errors.New("following the mirror"), err)
		close(m.done)
	}
}

// wait returns when all are durable.
func (m *meter) wait(ctx context.Context) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	var err error
	select {
	case <-m.done:
	case <-timer.C:
		err = errFarBehind
	case <-ctx.Done():
		err = ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%w: %d of %d in %v", err, len(m.taken), m.count, patience)
	}
	return m.failure
}
