package site

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/mailtwin/mailtwin/integration/ledger"
)

// unseen is how long before the last word of a primary a change may have been
// made that it had not seen then.
const unseen = 2 * time.Second

// Report is what `mailtwin failover --json` says, as far as tests look at it.
type Report struct {
	Kind    string
	Loss    Loss
	Steps   []Timing
	Seconds float64
}

// Timing is how long a step took.
type Timing struct {
	Step    string
	Seconds float64
}

// Loss is what a failover says it may lose.
type Loss struct {
	Nothing bool
	Heard   *time.Time `json:"last_heard"`
	Lag     *float64   `json:"lag_seconds"`
	Whole   bool       `json:"initial_sync_complete"`
	Words   []string
}

// Failover runs the command on a host and returns what it says.
func (m *Machine) Failover(ctx context.Context, args ...string) (Report, error) {
	var r Report
	out, err := m.Node.Run(ctx, append([]string{"failover", "--yes", "--json"}, args...)...)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(out, &r); err != nil {
		return r, fmt.Errorf("understanding the report %q: %w", out, err)
	}
	return r, nil
}

// Accounts returns, in words, the lost messages that the report does not
// account for: those that were acknowledged when the former primary still
// spoke, and before what was known to be lacking.
func (l Loss) Accounts(lost []ledger.Lost) []string {
	if l.Heard == nil && !l.Nothing || !l.Whole {
		return nil // it says that it knows too little
	}
	var wrong []string
	for _, m := range lost {
		if l.Nothing {
			wrong = append(wrong, fmt.Sprintf("message %s is lost, and nothing should be", m.Token))
			continue
		}
		since := l.Heard.Add(-unseen)
		if l.Lag != nil {
			since = since.Add(-time.Duration(*l.Lag * float64(time.Second)))
		}
		if m.Acknowledged.Before(since) {
			wrong = append(wrong, fmt.Sprintf("message %s is lost, though it was acknowledged %v before what is said to be lost",
				m.Token, since.Sub(m.Acknowledged).Round(time.Millisecond)))
		}
	}
	return wrong
}
