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
