package site

import (
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/integration/ledger"
)

func TestAccounts(t *testing.T) {
	now := time.Now()
	lag := 5.0
	lost := func(ago time.Duration) []ledger.Lost {
		return []ledger.Lost{{Token: "m-1", Acknowledged: now.Add(-ago)}}
	}
	for name, c := range map[string]struct {
		loss  Loss
		ago   time.Duration
		wrong int
	}{
		"after the last word":     {Loss{Heard: &now, Whole: true}, -time.Second, 0},
		"just before":             {Loss{Heard: &now, Whole: true}, time.Second, 0},
		"long before":             {Loss{Heard: &now, Whole: true}, time.Minute, 1},
		"within the lag":          {Loss{Heard: &now, Whole: true, Lag: &lag}, 6 * time.Second, 0},
		"before the lag":          {Loss{Heard: &now, Whole: true, Lag: &lag}, 8 * time.Second, 1},
		"nothing, it says":        {Loss{Nothing: true, Whole: true}, 0, 1},
		"nothing known":           {Loss{Whole: true}, time.Minute, 0},
		"the first sync lacks it": {Loss{Heard: &now}, time.Minute, 0},
	} {
		if got := c.loss.Accounts(lost(c.ago)); len(got) != c.wrong {
			t.Errorf("%s: %q", name, got)
		}
	}
}
