package failover

import (
	"context"
	"slices"
	"testing"
)

// A dry run says when the mail would get new UIDs.
func TestDryRunWarnsOfNewUIDs(t *testing.T) {
	w := newWorld("mx1", "mx2")
	n := w.nodes["mx2"]
	for _, why := range []string{"", "the uidlists are elsewhere"} {
		n.apart = why
		plan, err := n.promoter.DryRun(context.Background(), func(string) {})
		if err != nil {
			t.Fatal(err)
		}
		got := slices.Contains(plan.Checks, Check{Name: "UIDs", Verdict: Warning, Detail: why})
		if got != (why != "") {
			t.Errorf("%q: %+v", why, plan.Checks)
		}
	}
}

// A dry run says which clocks are apart, and does not know those of whom it does not
// reach.
func TestDryRunWarnsOfClocksThatAreApart(t *testing.T) {
	plan := Plan{Peers: []PeerState{
		{Name: "ahead", Answers: true, Clock: 3600},
		{Name: "behind", Answers: true, Clock: -7},
		{Name: "right", Answers: true, Clock: 0.5},
		{Name: "away", Error: "no answer"},
	}}
	want := []Check{
		{Name: "clock of ahead", Verdict: Warning, Detail: "1h0m0s ahead of the one here"},
		{Name: "clock of behind", Verdict: Warning, Detail: "7s behind the one here"},
		{Name: "clock of right", Verdict: Good, Detail: "agrees with the one here"},
		{Name: "clock of away", Verdict: Unknown, Detail: "not known: no answer"},
	}
	if got := checkClocks(&plan); !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}
