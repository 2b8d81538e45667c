package failover

import (
	"context"
	"testing"
	"time"
)

// Nobody waits for the dead at full length twice.
func TestTheDeadAreWaitedForOnce(t *testing.T) {
	w := newWorld("mx1", "mx2")
	p := w.nodes["mx2"].promoter
	limits := DefaultLimits()
	expect := func(when, lost string, recent, want time.Duration) {
		t.Helper()
		if got, _ := p.patience("mx1", lost, recent); got != want {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	expect("nothing is known", "", limits.Recent, limits.Answer)
	expect("its stream is broken", "mx1", limits.Recent, limits.Silent)
	w.nodes["mx1"].crash()
	if _, err := p.Plan(context.Background()); err != nil {
		t.Fatal(err)
	}
	expect("a moment ago, another plan", "", 0, limits.Silent)
	expect("a moment ago, the same plan", "", limits.Recent, 0)
	plan, err := p.look(context.Background(), limits.Recent)
	if err != nil || plan.Peers[0].Answers || plan.Peers[0].Error == "" {
		t.Errorf("%+v, %v", plan.Peers, err)
	}
	w.now = w.now.Add(limits.Recent)
	expect("a while ago", "", limits.Recent, limits.Silent) // to use what is known does not make it newer
	w.nodes["mx1"].boot()
	if _, err := p.Plan(context.Background()); err != nil {
		t.Fatal(err)
	}
	expect("it answers", "", limits.Recent, limits.Answer)
}
