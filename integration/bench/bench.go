package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/mailtwin/mailtwin/integration/compare"
	"github.com/mailtwin/mailtwin/integration/pair"
	"github.com/mailtwin/mailtwin/integration/tree"
)

// settings are what the command line says.
type settings struct {
	messages, many, rounds int
	only, dir, binary      string
	reads                  string // where it is noted how long each read of the case h took; "" is nowhere
}

// row is one line of the table.
type row struct {
	what, ours, peers, ratio, bar string
	met                           bool
}

// bench is one run.
type bench struct {
	settings
	ssh     *sshd
	source  string // the tree, made when it is first needed
	serial  int
	rows    []row
	removed time.Time // when something was deleted last
	peaks   []peak
}

// besideRsync are the cases that need an sshd.
const besideRsync = "bcdf"

// measure runs the cases in an order that lets one use what another made.
func (s settings) measure(ctx context.Context) (err error) {
	b := &bench{settings: s}
	if b.binary == "" {
		b.say("building mailtwin")
		if b.binary, err = pair.Build(ctx, b.dir, false); err != nil {
			return err
		}
	}
	if strings.ContainsAny(b.only, besideRsync) {
		if b.ssh, err = startSSH(ctx, filepath.Join(b.dir, "ssh")); err != nil {
			return err
		}
		defer b.ssh.stop()
	}
	cases := []struct {
		letters string
		run     func(context.Context) error
	}{
		{"a", b.latency},
		{"d", b.firstSync},
		{"k", b.governing},
		{"bc", b.changesOfAPair},
		{"f", b.oneBody},
		{"e", b.memory},
		{"g", b.failover},
		{"hi", b.foreground},
		{"j", b.live},
	}
	for _, c := range cases {
		if !strings.ContainsAny(b.only, c.letters) {
			continue
		}
		if err := c.run(ctx); err != nil {
			return err
		}
	}
	b.print(os.Stdout, os.Stderr)
	return nil
}

// wants reports whether a case was asked for.
func (b *bench) wants(letter string) bool { return strings.Contains(b.only, letter) }

// say tells on stderr what is going on; stdout has the table.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}

// print writes the table. That a bar was missed is no error of the benchmark, which
// may have run beside other work: it is said last, where nobody overlooks it.
func (b *bench) print(table, words io.Writer) {
	fmt.Fprintln(table, "| | mailtwin | beside it | ratio | bar | |")
	fmt.Fprintln(table, "|---|---|---|---|---|---|")
	for _, r := range b.rows {
		fmt.Fprintf(table, "| %s | %s | %s | %s | %s | %s |\n", r.what, r.ours, r.peers, r.ratio, r.bar, r.verdict())
	}
	for _, line := range verdict(b.rows) {
		fmt.Fprintln(words, line)
	}
}

func (r row) verdict() string {
	switch {
	case r.bar == "":
		return ""
	case r.met:
		return "met"
	}
	return "**missed**"
}

// verdict says how many bars there were, and which were missed.
func verdict(rows []row) []string {
	bars := 0
	var lines []string
	for _, r := range rows {
		if r.bar == "" {
			continue
		}
		bars++
		if !r.met {
			lines = append(lines, fmt.Sprintf("missed: %s: %s beside %s, ratio %s; the bar is %s",
				r.what, cmp.Or(r.ours, "—"), cmp.Or(r.peers, "—"), cmp.Or(r.ratio, "—"), r.bar))
		}
	}
	switch {
	case bars == 0:
		return nil
	case len(lines) == 0:
		return []string{fmt.Sprintf("all bars are met: %d", bars)}
	}
	return append(lines, fmt.Sprintf("%d of %d bars were missed; was the machine doing anything else?", len(lines), bars))
}

// path returns a new path in the working directory.
func (b *bench) path(name string) string {
	b.serial++
	return filepath.Join(b.dir, fmt.Sprintf("%s-%d", name, b.serial))
}

// tree returns the path of the tree, which is made at the first call.
func (b *bench) tree(ctx context.Context) (string, error) {
	if b.source != "" {
		return b.source, nil
	}
	path := b.path("source")
	b.say("making a tree of %d messages", b.messages)
	made, err := tree.Generate(ctx, path, tree.Default(b.messages))
	if err != nil {
		return "", err
	}
	b.say("%d messages, %d MB, in %d directories", made.Messages, made.Bytes/1e6, made.Directories)
	b.source = path
	return path, nil
}

// pair makes a pair of daemons on two stores, with the pace of the settings.
func (b *bench) pair(ctx context.Context, primary, mirror string, direct bool) (*pair.Pair, error) {
	return b.pairWith(ctx, pair.Options{PrimaryStore: primary, MirrorStore: mirror, Direct: direct})
}

// pairWith makes a pair with options, but for what is the same in all measurements.
func (b *bench) pairWith(ctx context.Context, opt pair.Options) (*pair.Pair, error) {
	opt.Binary, opt.Dir = b.binary, b.path("nodes")
	if err := os.Mkdir(opt.Dir, 0o755); err != nil {
		return nil, err
	}
	p, err := pair.Start(ctx, opt)
	if err != nil {
		if p != nil {
			_ = p.Close() // the first error is the one to tell
		}
		return nil, err
	}
	return p, nil
}

// equal is the check that a measurement was of the whole work.
func equal(ctx context.Context, primary, mirror string) error {
	result, err := compare.Trees(ctx, primary, mirror, compare.Options{})
	if err != nil {
		return err
	}
	if !result.Equal() {
		return fmt.Errorf("measured, but not equal: %v", result)
	}
	return nil
}

// cold writes everything to disk and empties the caches.
func cold() error {
	syscall.Sync()
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
		return fmt.Errorf("emptying the caches: %w", err)
	}
	return nil
}

// reuse is how long ext4 gives out no inode again that was deleted: who makes files
// meanwhile has to look past those, and takes longer.
const reuse = 61 * time.Second

// rested waits until what was deleted slows nobody down.
func (b *bench) rested(ctx context.Context) error {
	select {
	case <-time.After(time.Until(b.removed.Add(reuse))):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// remove deletes what was measured and lets the disk come to rest.
func (b *bench) remove(paths ...string) error {
	for _, path := range paths {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	syscall.Sync()
	b.removed = time.Now()
	return nil
}

// inTurn makes the two measurements a number of rounds, each of them first in
// every other round, and returns the medians.
func inTurn(rounds int, ours, peers func() (time.Duration, error)) (time.Duration, time.Duration, error) {
	var times [2][]time.Duration
	for round := range rounds {
		for i := range 2 {
			which := (round + i) % 2
			took, err := []func() (time.Duration, error){ours, peers}[which]()
			if err != nil {
				return 0, 0, err
			}
			times[which] = append(times[which], took)
		}
	}
	return percentile(times[0], 50), percentile(times[1], 50), nil
}

// percentile returns the value that p of 100 are not above.
func percentile(values []time.Duration, p int) time.Duration {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	return sorted[min(len(sorted)-1, len(sorted)*p/100)]
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}

func megabytes(n int64) string { return fmt.Sprintf("%.2f MB", float64(n)/1e6) }
