package health

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/mailtwin/mailtwin/replicator/governor"
	"github.com/mailtwin/mailtwin/replicator/governor/disks"
)

// Finding is what one source says.
type Finding struct {
	Source string // as "md md0"
	State  governor.HealthState
	Words  string
}

// Runner runs a program and returns what it printed and its exit code. The
// error says that it could not be run, or was killed.
type Runner interface {
	Run(ctx context.Context, name string, args ...string) (out []byte, code int, err error)
}

// Config says what is looked at.
type Config struct {
	Roots   disks.Roots
	Set     disks.Set
	Command string // of the operator's, absolute; "": none
	Runner  Runner // nil: neither the command nor smartctl is run
	Now     func() time.Time
}

// Checker looks at an array. It must not be used concurrently.
type Checker struct {
	cfg    Config
	errors map[string]uint64 // counters at the first look
	smart  []Finding         // of the last look
	smarts time.Time         // when that was
}

// New returns a Checker.
func New(cfg Config) *Checker {
	return &Checker{cfg: cfg, errors: make(map[string]uint64)}
}

// commandTimeout is how long a program may take.
const commandTimeout = 20 * time.Second

// Check asks all sources.
func (c *Checker) Check(ctx context.Context) []Finding {
	var all []Finding
	for _, name := range c.cfg.Set.All {
		if f, ok := c.md(name); ok {
			all = append(all, f)
		}
	}
	if c.cfg.Set.Btrfs != "" {
		all = append(all, c.btrfs(c.cfg.Set.Btrfs))
	}
	if c.cfg.Set.Pool != "" {
		all = append(all, c.zfs(ctx, c.cfg.Set.Pool)...)
	}
	if c.cfg.Runner != nil {
		all = append(all, c.smartctl(ctx)...)
		if c.cfg.Command != "" {
			all = append(all, c.command(ctx))
		}
	}
	return all
}

// Sum is the worst of all findings, with the words of those that are not well.
func Sum(all []Finding) governor.Health {
	sum := governor.Health{State: governor.Unknown}
	rank := func(s governor.HealthState) int {
		switch s {
		case governor.Healthy:
			return 1
		case governor.Degraded:
			return 2
		case governor.Failing:
			return 3
		case governor.Unknown:
		}
		return 0
	}
	var words []string
	for _, f := range all {
		if rank(f.State) > rank(sum.State) {
			sum.State = f.State
		}
		if f.Words != "" && f.State != governor.Healthy {
			words = append(words, f.Source+": "+f.Words)
		}
	}
	sum.Words = strings.Join(words, "; ")
	return sum
}

// maxWords bounds what a program says.
const maxWords = 200

// command runs the operator's.
func (c *Checker) command(ctx context.Context) Finding {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	f := Finding{Source: "health command", State: governor.Unknown}
	out, code, err := c.cfg.Runner.Run(ctx, c.cfg.Command)
	f.Words = firstLine(out)
	switch {
	case err != nil:
		f.Words = err.Error()
	case code == 0:
		f.State = governor.Healthy
	case code == 1:
		f.State = governor.Degraded
	case code == 2:
		f.State = governor.Failing
	default:
		f.Words = fmt.Sprintf("it ended with %d, not 0 (well), 1 (degraded) or 2 (failing)", code)
	}
	if f.Words == "" && f.State != governor.Healthy {
		f.Words = "it ended with " + fmt.Sprint(code)
	}
	return f
}

// firstLine returns the first line of what a program printed, of printable
// characters.
func firstLine(out []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	line = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(line, "?"))
	if runes := []rune(line); len(runes) > maxWords {
		line = string(runes[:maxWords])
	}
	return line
}
