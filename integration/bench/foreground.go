package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/mailtwin/mailtwin/integration/pair"
	"github.com/mailtwin/mailtwin/integration/tree"
)

// What the foreground is measured on.
const (
	arrayReads      = 200 // a second, that the device manages
	foregroundReads = 20  // messages a second
	idleTime        = 60 * time.Second
	warmUp          = 15 * time.Second // of the foreground, before anything is measured
	presence        = 25 * time.Second // of the foreground, before it is away
	absence         = 15 * time.Second // in the middle of a sync
	unitNice        = "5"              // of mailtwin.service
)

// felt is what a foreground felt beside something.
type felt struct {
	p50, p99 time.Duration
	lasted   time.Duration
	ops      float64 // reads of the device a second
	reads    int     // of the foreground
}

// foreground is case h.
func (b *bench) foreground(ctx context.Context) (err error) {
	array, err := newThrottled(ctx, b.path("array"), 6<<30)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := array.close(); err == nil {
			err = cerr
		}
	}()
	store, others := filepath.Join(array.dir, "store"), filepath.Join(array.dir, "others")
	messages := min(b.messages, 10_000)
	b.say("making %d messages, and as many for the foreground", messages)
	for _, dir := range []string{store, others} {
		spec := tree.Default(messages)
		if dir == others {
			spec.Seed = 2
		}
		if _, err := tree.Generate(ctx, dir, spec); err != nil {
			return err
		}
	}
	idle, err := b.beside(ctx, array, others, func(context.Context, *reader) error {
		pause(ctx, idleTime)
		return nil
	})
	if err != nil {
		return err
	}
	b.say("idle: p50 %v, p99 %v, %.0f reads/s", idle.p50, idle.p99, idle.ops)
	perOpen := idle.ops * idle.lasted.Seconds() / float64(idle.reads)

	var taken, back float64
	mirror := b.path("mirror")
	ours, err := b.beside(ctx, array, others, func(ctx context.Context, r *reader) error {
		p, err := b.pairWith(ctx, pair.Options{PrimaryStore: store, MirrorStore: mirror, Direct: true, Wrap: asTheUnit(), MirrorWrap: asAnotherHost()})
		if err != nil {
			return err
		}
		defer p.Close()
		if taken, back, err = b.absent(ctx, array, r); err != nil {
			return err
		}
		if s, err := p.Primary.Status(ctx); err != nil || s.InSync() {
			return errors.Join(err, errors.New("the sync ended before the foreground was back: take more messages"))
		}
		return p.WaitInSync(ctx)
	})
	if err != nil {
		return err
	}
	used := (ours.ops*ours.lasted.Seconds() - perOpen*float64(ours.reads)) /
		(arrayReads*ours.lasted.Seconds() - perOpen*float64(ours.reads))
	b.say("gentle: p50 %v, p99 %v, %v; used %.2f; taken %.2f, back p99 %.1f ms", ours.p50, ours.p99, ours.lasted, used, taken, back)
	if err := equal(ctx, store, mirror); err != nil {
		return err
	}
	b.rows = append(b.rows, governed(idle, ours, used, taken, back)...)
	if !b.wants("i") {
		return nil
	}
	return b.peersBeside(ctx, array, store, others, ours)
}

// asTheUnit is what starts a daemon with the niceness that mailtwin.service gives
// it: where mail is read on the same processors, that is part of being gentle.
func asTheUnit() []string { return []string{"nice", "-n", unitNice} }

// asAnotherHost is what starts a mirror that gives way on the processors at once: it
// stands for another host, which takes no processor from those who read mail on the
// primary's. The device that is let do so many reads is work of the kernel's threads
// here, and waits for a processor like everyone; no disk does.
func asAnotherHost() []string { return []string{"chrt", "--idle", "0"} }

// governed is the bars of a governed sync.
func governed(idle, ours felt, used, taken, back float64) []row {
	return []row{
		{
			what: "the foreground's p99 beside an initial sync, gentle", ours: milliseconds(ours.p99),
			peers: "idle: " + milliseconds(idle.p99), ratio: fmt.Sprintf("%.2f", ours.p99.Seconds()/idle.p99.Seconds()),
			bar: "≤ 1.25", met: ours.p99.Seconds() <= 1.25*idle.p99.Seconds(),
		},
		{
			what: "what the foreground leaves, used", ours: fmt.Sprintf("%.0f %%", 100*used), ratio: fmt.Sprintf("%.2f", used),
			peers: fmt.Sprintf("%d reads/s in all", arrayReads), bar: "≥ 0.7", met: used >= 0.7,
		},
		{
			what: "used 10 s after the foreground has stopped", ours: fmt.Sprintf("%.0f %%", 100*taken), ratio: fmt.Sprintf("%.2f", taken),
			bar: "≥ 0.7", met: taken >= 0.7,
		},
		{
			what: "the foreground's p90 from 2 s after it has come back", ours: fmt.Sprintf("%.1f ms", back),
			peers: "idle p99: " + milliseconds(idle.p99), bar: "≤ 1.25", ratio: fmt.Sprintf("%.2f", back/1000/idle.p99.Seconds()),
			met: back/1000 <= 1.25*idle.p99.Seconds(),
		},
	}
}

// peersBeside measures what rsync does to the foreground, at full speed and at
// our average one.
func (b *bench) peersBeside(ctx context.Context, array *throttled, store, others string, ours felt) error {
	size, err := sizeOf(store)
	if err != nil {
		return err
	}
	limit := fmt.Sprintf("--bwlimit=%d", max(1, int64(float64(size)/ours.lasted.Seconds())/1024))
	for _, options := range [][]string{nil, {limit}} {
		target := b.path("rsync")
		f, err := b.beside(ctx, array, others, func(ctx context.Context, _ *reader) error {
			_, err := command(ctx, "rsync", append(append([]string{"-a"}, options...), store+"/", target+"/")...)
			return err
		})
		if err != nil {
			return err
		}
		name := "rsync -a"
		if options != nil {
			name += " " + limit
		}
		b.say("%s: p50 %v, p99 %v, %v", name, f.p50, f.p99, f.lasted)
		b.rows = append(b.rows, row{
			what:  "the foreground's p50 and p99, and the time that it takes",
			ours:  fmt.Sprintf("%s, %s, %s", milliseconds(ours.p50), milliseconds(ours.p99), seconds(ours.lasted)),
			peers: fmt.Sprintf("%s: %s, %s, %s", name, milliseconds(f.p50), milliseconds(f.p99), seconds(f.lasted)),
			ratio: fmt.Sprintf("%.3f", ours.p99.Seconds()/f.p99.Seconds()),
		})
		if err := b.remove(target); err != nil {
			return err
		}
	}
	return nil
}

// beside lets a foreground read beside what work does, from cold caches on,
// and tells what it felt.
func (b *bench) beside(ctx context.Context, array *throttled, others string, work func(context.Context, *reader) error) (felt, error) {
	r, err := newReader(others)
	if err != nil {
		return felt{}, err
	}
	if err := cold(); err != nil {
		return felt{}, err
	}
	if err := array.limit(arrayReads); err != nil {
		return felt{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		r.run(ctx, foregroundReads)
		close(done)
	}()
	// Who has nothing in memory, not even the inodes that the file system reads
	// many of at once, is held up by its own first reads.
	pause(ctx, warmUp)
	before, err := array.reads()
	start := time.Now()
	if err == nil {
		err = work(ctx, r)
	}
	end := time.Now()
	after, rerr := array.reads()
	cancel()
	<-done
	for _, e := range []error{err, rerr, array.limit(0)} {
		if e != nil {
			return felt{}, e
		}
	}
	took := r.between(start, end)
	if err := b.noteReads(r, start); err != nil {
		return felt{}, err
	}
	return felt{
		p50: percentile(took, 50), p99: percentile(took, 99), lasted: end.Sub(start),
		ops: float64(after-before) / end.Sub(start).Seconds(), reads: len(took),
	}, nil
}

// noteReads adds to the file of the settings when each read of a foreground began,
// in seconds from start on, and how many milliseconds it took.
func (b *bench) noteReads(r *reader, start time.Time) error {
	if b.reads == "" {
		return nil
	}
	f, err := os.OpenFile(b.reads, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.took {
		fmt.Fprintf(f, "%.3f %.3f\n", s.at.Sub(start).Seconds(), s.took.Seconds()*1000)
	}
	fmt.Fprintln(f)
	return f.Close()
}

// pause lets time pass.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// absent lets the foreground be away in the middle of a sync. It returns which
// share of the device is used 10 s after it has stopped, and the p90 of the
// foreground, in milliseconds, from 2 s after it is back.
func (b *bench) absent(ctx context.Context, array *throttled, r *reader) (taken, back float64, err error) {
	pause(ctx, presence)
	r.off.Store(true)
	pause(ctx, 10*time.Second)
	before, err := array.reads()
	if err != nil {
		return 0, 0, err
	}
	pause(ctx, absence-10*time.Second)
	after, err := array.reads()
	if err != nil {
		return 0, 0, err
	}
	r.off.Store(false)
	pause(ctx, 2*time.Second)
	from := time.Now()
	pause(ctx, 10*time.Second)
	taken = float64(after-before) / (absence - 10*time.Second).Seconds() / arrayReads
	return taken, percentile(r.between(from, time.Now()), 90).Seconds() * 1000, nil
}

// sizeOf adds up the sizes of all files beneath a directory.
func sizeOf(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return size, err
}
