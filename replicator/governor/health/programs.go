package health

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os/exec"
	"strings"
	"time"

	"github.com/mailtwin/mailtwin/replicator/governor"
)

// zfs looks at a pool: its state by the kernel, and whether it is being
// rebuilt by zpool, where that is there.
func (c *Checker) zfs(ctx context.Context, pool string) []Finding {
	f := Finding{Source: "zfs " + pool, State: zfsState(attribute(c.proc("spl", "kstat", "zfs", pool, "state")))}
	if f.State != governor.Healthy && f.State != governor.Unknown {
		f.Words = "the pool is not online in full"
	}
	if c.cfg.Runner == nil {
		return []Finding{f}
	}
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	out, _, err := c.cfg.Runner.Run(ctx, "zpool", "status", "-x", pool)
	if err != nil {
		return []Finding{f}
	}
	state, words := parseZpool(string(out))
	if state != governor.Unknown {
		f.State, f.Words = state, words
	}
	return []Finding{f}
}

func zfsState(s string) governor.HealthState {
	switch s {
	case "ONLINE":
		return governor.Healthy
	case "DEGRADED":
		return governor.Degraded
	case "FAULTED", "SUSPENDED", "UNAVAIL", "REMOVED", "OFFLINE":
		return governor.Failing
	}
	return governor.Unknown
}

// parseZpool reads what `zpool status -x` prints: one line if the pool is
// healthy, else a report with the lines "state:", "status:" and "scan:".
func parseZpool(text string) (governor.HealthState, string) {
	if strings.HasSuffix(strings.TrimSpace(text), "is healthy") {
		return governor.Healthy, ""
	}
	state, words := governor.Unknown, ""
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		switch {
		case !ok:
		case key == "state":
			state = zfsState(value)
		case key == "status":
			words = firstLine([]byte(value))
		case key == "scan" && strings.HasPrefix(value, "resilver in progress"):
			if state == governor.Healthy {
				state = governor.Degraded
			}
			words = "it is being resilvered"
		}
	}
	if state == governor.Healthy && words != "" {
		state = governor.Degraded // -x tells only of pools that are not well
	}
	return state, words
}

// smartInterval is between two looks at the disks themselves.
const smartInterval = 10 * time.Minute

// smartctl asks each disk whether it thinks that it will fail. What cannot be
// asked (a loop device, a volume of a controller) is left out.
func (c *Checker) smartctl(ctx context.Context) []Finding {
	now := c.cfg.Now()
	if !c.smarts.IsZero() && now.Sub(c.smarts) < smartInterval {
		return c.smart
	}
	c.smarts, c.smart = now, nil
	for _, name := range c.cfg.Set.Members {
		ctx, cancel := context.WithTimeout(ctx, commandTimeout)
		out, _, err := c.cfg.Runner.Run(ctx, "smartctl", "-H", "-n", "standby", "-j", "/dev/"+name)
		cancel()
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			continue
		}
		if passed, ok := parseSmart(out); ok {
			f := Finding{Source: "smart " + name, State: governor.Healthy}
			if !passed {
				f.State, f.Words = governor.Failing, "the disk says that it is failing"
			}
			c.smart = append(c.smart, f)
		}
	}
	return c.smart
}

// parseSmart reads the verdict from what `smartctl -j` prints.
func parseSmart(out []byte) (passed, ok bool) {
	var answer struct {
		Status *struct {
			Passed *bool `json:"passed"`
		} `json:"smart_status"`
	}
	if json.Unmarshal(out, &answer) != nil || answer.Status == nil || answer.Status.Passed == nil {
		return false, false
	}
	return *answer.Status.Passed, true
}

// Programs is a Runner that runs them.
type Programs struct{}

// maxOutput bounds what is kept of what a program prints.
const maxOutput = 64 << 10

// Run implements Runner.
func (Programs) Run(ctx context.Context, name string, args ...string) ([]byte, int, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	out := &bounded{}
	cmd.Stdout = out
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		return out.data, exit.ExitCode(), nil
	}
	if err != nil {
		return out.data, -1, err
	}
	return out.data, 0, nil
}

// bounded keeps the beginning of what is written to it.
type bounded struct{ data []byte }

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	b.data = append(b.data, p[:min(len(p), maxOutput-len(b.data))]...)
	return len(p), nil
}
