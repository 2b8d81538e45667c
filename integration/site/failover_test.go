package site

import (
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/integration/ledger"
)

func TestAccounts(t *testing.T) {
	now := time.Now()
	lag, three := 5.0, uint64(3)
	then := now.Add(-10 * time.Second)
	of := func(names ...string) (boxes []Mailbox) {
		for _, name := range names {
			boxes = append(boxes, Mailbox{name})
		}
		return boxes
	}
	lost := func(ago time.Duration) []ledger.Lost {
		return []ledger.Lost{{Token: "m-1", User: "u1@example.org", Acknowledged: now.Add(-ago)}}
	}
	for name, c := range map[string]struct {
		loss  Loss
		ago   time.Duration
		wrong int
	}{
		"after the last word":        {Loss{Heard: &now, Whole: true}, -time.Second, 0},
		"just before":                {Loss{Heard: &now, Whole: true}, time.Second, 0},
		"long before":                {Loss{Heard: &now, Whole: true}, time.Minute, 1},
		"within the lag":             {Loss{Heard: &now, Whole: true, Lag: &lag}, 6 * time.Second, 0},
		"before the lag":             {Loss{Heard: &now, Whole: true, Lag: &lag}, 8 * time.Second, 1},
		"nothing, it says":           {Loss{Nothing: true, Whole: true}, 0, 1},
		"nothing known":              {Loss{Whole: true}, time.Minute, 0},
		"in a mailbox that it names": {Loss{Heard: &now, Whole: true, Boxes: of("example.org/u1/Maildir")}, time.Minute, 0},
		"in one of another user":     {Loss{Heard: &now, Whole: true, Boxes: of("example.org/u11/Maildir")}, time.Minute, 1},
		"in one of many":             {Loss{Heard: &now, Whole: true, More: 1}, time.Minute, 0},
		"after all that was seen":    {Loss{Heard: &now, Whole: true, InDoubt: &three, After: &then}, 9 * time.Second, 0},
		"before, though just now":    {Loss{Heard: &then, Whole: true, InDoubt: &three, After: &now}, time.Second, 1},
		"nobody knows what was seen": {Loss{Heard: &now, Whole: true, InDoubt: &three}, time.Minute, 0},
		"it may be in any mailbox":   {Loss{Heard: &now, Whole: true, InDoubt: &three, After: &now, Anywhere: true}, time.Minute, 0},
		"the first sync lacks it":    {Loss{Heard: &now}, time.Minute, 0},
	} {
		if got := c.loss.Accounts(lost(c.ago)); len(got) != c.wrong {
			t.Errorf("%s: %q", name, got)
		}
	}
}
