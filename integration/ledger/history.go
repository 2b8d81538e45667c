package ledger

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// event is one thing that was asked about a message.
type event struct {
	what string
	promise
}

// history tells, a line each, what was asked about a message and what came of it: how
// something has come to be wrong.
func (m *message) history() string {
	events := []event{{"delivery", m.delivery}}
	for _, p := range m.expunges {
		events = append(events, event{"expunge", *p})
	}
	for flag, changes := range m.flags {
		for _, c := range changes {
			what := "take away "
			if c.set {
				what = "set "
			}
			events = append(events, event{what + flag, c.promise})
		}
	}
	for what, t := range map[string]*transfer{"copy to ": m.copied, "move to ": m.moved} {
		if t != nil {
			events = append(events, event{what + t.to, t.promise})
		}
	}
	slices.SortStableFunc(events, func(a, b event) int { return a.asked.Compare(b.asked) })
	var text strings.Builder
	for _, e := range events {
		fmt.Fprintf(&text, "\n    %s  %s: %s", e.asked.Format(clock), e.what, e.outcome())
	}
	return text.String()
}

// clock is how times of a day are told.
const clock = time.TimeOnly + ".000"

// outcome tells what came of what was asked.
func (p promise) outcome() string {
	switch p.answer {
	case doubt:
		return "no answer"
	case refused:
		return "refused"
	case done:
	}
	text := fmt.Sprintf("acknowledged by %q at %s", p.by, p.at.Format(clock))
	if p.safe {
		text += ", replicated"
	}
	if p.loose {
		text += ", perhaps lost by a failover"
	}
	return text
}
