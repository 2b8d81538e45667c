package main

import (
	"context"
	"fmt"
	"time"

	"github.com/mailtwin/mailtwin/integration/pair"
)

// firstSync is case d: the first copy of a tree, with cold caches, from
// nothing at all to durable and equal; beside rsync and a final sync.
func (b *bench) firstSync(ctx context.Context) error {
	source, err := b.tree(ctx)
	if err != nil {
		return err
	}
	ours := func() (time.Duration, error) {
		if err := b.rested(ctx); err != nil {
			return 0, err
		}
		return b.firstCopy(ctx, "evacuate", source)
	}
	peers := func() (time.Duration, error) {
		if err := b.rested(ctx); err != nil {
			return 0, err
		}
		mirror := b.path("rsync")
		if err := cold(); err != nil {
			return 0, err
		}
		took, err := b.ssh.rsync(ctx, source, mirror)
		if err != nil {
			return 0, err
		}
		b.say("first sync: rsync %v", took)
		return took, b.remove(mirror)
	}
	a, r, err := inTurn(b.rounds, ours, peers)
	if err != nil {
		return fmt.Errorf("measuring a first sync: %w", err)
	}
	ratio := a.Seconds() / r.Seconds()
	b.rows = append(b.rows, row{
		what: fmt.Sprintf("first sync of %d messages, cold, durable, ungoverned", b.messages),
		ours: seconds(a), peers: "rsync -a over ssh: " + seconds(r),
		ratio: fmt.Sprintf("%.2f", ratio), bar: "≤ 1.0", met: ratio <= 1,
	})
	return nil
}

// firstCopy makes the first copy of a tree, with a profile, and returns how long
// that took.
func (b *bench) firstCopy(ctx context.Context, profile, source string) (time.Duration, error) {
	mirror := b.path("mirror")
	if err := cold(); err != nil {
		return 0, err
	}
	start := time.Now()
	p, err := b.pairWith(ctx, pair.Options{PrimaryStore: source, MirrorStore: mirror, Direct: true, Profile: profile})
	if err != nil {
		return 0, err
	}
	defer p.Close()
	if err := p.WaitInSync(ctx); err != nil {
		return 0, err
	}
	took := time.Since(start)
	b.say("first sync: mailtwin, %s: %v", profile, took)
	if err := b.notePeaks(p, b.messages); err != nil {
		return 0, err
	}
	if err := p.Close(); err != nil {
		return 0, err
	}
	if err := equal(ctx, source, mirror); err != nil {
		return 0, err
	}
	return took, b.remove(mirror)
}

// governingRounds is how often a first sync is made with and without a governor:
// more often than others, for what is looked for is small.
const governingRounds = 9

// governing is case k: what it costs on a fast disk that the governor has to
// find out how fast it is.
func (b *bench) governing(ctx context.Context) error {
	source, err := b.tree(ctx)
	if err != nil {
		return err
	}
	with := func(profile string) func() (time.Duration, error) {
		return func() (time.Duration, error) { return b.firstCopy(ctx, profile, source) }
	}
	governed, free, err := inTurn(max(b.rounds, governingRounds), with("gentle"), with("evacuate"))
	if err != nil {
		return fmt.Errorf("measuring the cost of governing: %w", err)
	}
	ratio := governed.Seconds() / free.Seconds()
	b.rows = append(b.rows, row{
		what: fmt.Sprintf("first sync of %d messages on a fast disk, gentle", b.messages),
		ours: seconds(governed), peers: "ungoverned: " + seconds(free),
		ratio: fmt.Sprintf("%.3f", ratio), bar: "≤ 1.03", met: ratio <= 1.03,
	})
	return nil
}

// changesOfAPair is the cases b and c: a pair in sync, with an rsync mirror
// of the same source.
func (b *bench) changesOfAPair(ctx context.Context) error {
	source, err := b.tree(ctx)
	if err != nil {
		return err
	}
	mirror, copied := b.path("mirror"), b.path("rsync")
	b.say("making a pair and an rsync mirror")
	if _, err := b.ssh.rsync(ctx, source, copied); err != nil {
		return err
	}
	p, err := b.pair(ctx, source, mirror, false)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := p.WaitInSync(ctx); err != nil {
		return err
	}
	if b.wants("c") {
		if err := b.flagChanges(ctx, p, copied); err != nil {
			return fmt.Errorf("measuring flag changes: %w", err)
		}
	}
	if b.wants("b") {
		if err := b.restart(ctx, p, copied); err != nil {
			return fmt.Errorf("measuring a restart: %w", err)
		}
	}
	if err := p.Close(); err != nil {
		return err
	}
	return b.remove(mirror, copied)
}

// restart is case b: both daemons are down while 100 changes are made.
func (b *bench) restart(ctx context.Context, p *pair.Pair, copied string) error {
	change := newChanger(p.Primary.Store, 1)
	nodes := []*pair.Node{p.Primary, p.Mirror}
	ours := func() (time.Duration, error) {
		for _, n := range nodes {
			if err := n.Stop(); err != nil {
				return 0, err
			}
		}
		if err := change.mixed(100); err != nil {
			return 0, err
		}
		if err := cold(); err != nil {
			return 0, err
		}
		start := time.Now()
		for _, n := range nodes {
			if err := n.Start(); err != nil {
				return 0, err
			}
		}
		for _, n := range nodes {
			if err := n.WaitUntilAnswers(ctx); err != nil {
				return 0, err
			}
		}
		if err := p.WaitInSync(ctx); err != nil {
			return 0, err
		}
		took := time.Since(start)
		b.say("restart: mailtwin %v", took)
		if err := equal(ctx, p.Primary.Store, p.Mirror.Store); err != nil {
			return 0, err
		}
		_, err := b.ssh.rsync(ctx, p.Primary.Store, copied, "--delete") // these were our changes
		return took, err
	}
	peers := func() (time.Duration, error) {
		if err := change.mixed(100); err != nil {
			return 0, err
		}
		if err := p.WaitInSync(ctx); err != nil { // so that the pair is at rest
			return 0, err
		}
		if err := cold(); err != nil {
			return 0, err
		}
		took, err := b.ssh.rsync(ctx, p.Primary.Store, copied, "--delete")
		b.say("restart: rsync %v", took)
		return took, err
	}
	if _, err := b.ssh.rsync(ctx, p.Primary.Store, copied, "--delete"); err != nil {
		return err
	}
	a, r, err := inTurn(b.rounds, ours, peers)
	if err != nil {
		return err
	}
	ratio := a.Seconds() / r.Seconds()
	b.rows = append(b.rows, row{
		what: fmt.Sprintf("restart of a pair with %d messages, 100 changes meanwhile, cold", b.messages),
		ours: seconds(a), peers: "rsync -a --delete over ssh: " + seconds(r),
		ratio: fmt.Sprintf("%.2f", ratio), bar: "≤ 0.5", met: ratio <= 0.5,
	})
	return nil
}

// flagChanges is case c: a tenth of the mail, at most 10,000 messages, gets
// another flag.
func (b *bench) flagChanges(ctx context.Context, p *pair.Pair, copied string) error {
	change := newChanger(p.Primary.Store, 2)
	count := min(10_000, b.messages/5)
	var ourBytes, peerBytes int64
	ours := func() (time.Duration, error) {
		before, start := bytesOf(p.Link), time.Now()
		if err := change.flags(count); err != nil {
			return 0, err
		}
		if err := p.WaitInSync(ctx); err != nil {
			return 0, err
		}
		took := time.Since(start)
		ourBytes += bytesOf(p.Link) - before
		b.say("flags: mailtwin %v, %d bytes so far", took, ourBytes)
		return took, equal(ctx, p.Primary.Store, p.Mirror.Store)
	}
	peers := func() (time.Duration, error) {
		// The changes are those of ours since the last time, so that rsync has
		// as many of them.
		took, n, err := b.ssh.rsyncCounted(ctx, p.Primary.Store, copied, "--delete")
		peerBytes += n
		b.say("flags: rsync %v, %d bytes so far", took, peerBytes)
		return took, err
	}
	var a, r []time.Duration
	for range b.rounds { // never the other way round: rsync needs the changes
		for _, m := range []struct {
			f     func() (time.Duration, error)
			times *[]time.Duration
		}{{ours, &a}, {peers, &r}} {
			took, err := m.f()
			if err != nil {
				return err
			}
			*m.times = append(*m.times, took)
		}
	}
	ourTime, peerTime := percentile(a, 50), percentile(r, 50)
	rounds := int64(b.rounds)
	ratio := float64(ourBytes) / float64(peerBytes)
	b.rows = append(b.rows,
		row{
			what:  fmt.Sprintf("%d flag changes, bytes on the wire", count),
			ours:  fmt.Sprintf("%s (%d bytes each)", megabytes(ourBytes/rounds), ourBytes/rounds/int64(count)),
			peers: "rsync -a --delete over ssh: " + megabytes(peerBytes/rounds),
			ratio: fmt.Sprintf("1/%.0f", 1/ratio), bar: "≤ 1/100", met: ratio <= 0.01,
		},
		row{
			what: fmt.Sprintf("%d flag changes, time from the first of them", count),
			ours: seconds(ourTime), peers: "rsync, after the last of them: " + seconds(peerTime),
			ratio: fmt.Sprintf("%.2f", ourTime.Seconds()/peerTime.Seconds()),
		})
	return nil
}
