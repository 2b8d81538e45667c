package site

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
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
	Nothing  bool
	Heard    *time.Time `json:"last_heard"`
	Lag      *float64   `json:"lag_seconds"`
	Whole    bool       `json:"initial_sync_complete"`
	InDoubt  *uint64    `json:"in_doubt"`
	Anywhere bool       `json:"in_doubt_anywhere"`
	After    *time.Time `json:"in_doubt_after"`
	Boxes    []Mailbox  `json:"mailboxes"`
	More     uint64     `json:"more_mailboxes"`
	Words    []string
}

// Mailbox is one of those that a loss is in.
type Mailbox struct{ Mailbox string }

// Failover runs the command on a host and returns what it says.
func (m *Machine) Failover(ctx context.Context, args ...string) (Report, error) {
	out, err := m.Node.Run(ctx, append([]string{"failover", "--yes", "--json"}, args...)...)
	if err != nil {
		return Report{}, err
	}
	return readReport(out)
}

// readReport reads what the command says to programs.
func readReport(text []byte) (r Report, err error) {
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("understanding the report %q: %w", text, err)
	}
	return r, nil
}

// Accounts returns, in words, the lost messages that the report does not
// account for. It does for those in the mailboxes that it names; and of others for
// those that were acknowledged after what it says that the former primary had seen
// for certain; or, where nobody could ask that one, when it no longer spoke or
// after what was known to be lacking.
func (l Loss) Accounts(lost []ledger.Lost) []string {
	if l.Anywhere || l.More > 0 || !l.Nothing && (!l.Whole || l.Heard == nil) {
		return nil // it says that it knows too little
	}
	var wrong []string
	for _, m := range lost {
		if l.Nothing {
			wrong = append(wrong, fmt.Sprintf("message %s is lost, and nothing should be", m.Token))
			continue
		}
		if since := l.since(); m.Acknowledged.Before(since) && !l.names(m.User) {
			wrong = append(wrong, fmt.Sprintf("message %s of %s is lost, though it was acknowledged %v before what is said to be lost",
				m.Token, m.User, since.Sub(m.Acknowledged).Round(time.Millisecond)))
		}
	}
	return wrong
}

// since returns after when mail may be lost that is in none of the mailboxes.
func (l Loss) since() time.Time {
	if l.InDoubt != nil {
		if l.After == nil {
			return time.Time{}
		}
		return *l.After
	}
	since := l.Heard.Add(-unseen)
	if l.Lag != nil {
		since = since.Add(-time.Duration(*l.Lag * float64(time.Second)))
	}
	return since
}

// names reports whether one of the mailboxes is a user's.
func (l Loss) names(user string) bool {
	name, domain, _ := strings.Cut(user, "@")
	home := domain + "/" + name
	return slices.ContainsFunc(l.Boxes, func(m Mailbox) bool { return m.Mailbox == home || strings.HasPrefix(m.Mailbox, home+"/") })
}
