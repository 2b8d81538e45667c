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

// slow is a link whose peer answers after so many questions were not.
type slow struct {
	link
	unanswered int
	asked      *[]time.Duration // how long the answers were waited for
	sign       func()           // what happens meanwhile
}

func (l *slow) Inspect(ctx context.Context) (Inspection, error) {
	until, _ := ctx.Deadline()
	*l.asked = append(*l.asked, time.Until(until))
	if l.sign(); len(*l.asked) <= l.unanswered {
		return Inspection{}, errSilent
	}
	return l.link.Inspect(ctx)
}

// A primary that says nothing on its stream of changes either is not waited for;
// one that does is, though it is slow to answer.
func TestASignOfLifeIsWaitedFor(t *testing.T) {
	limits := DefaultLimits()
	for _, c := range []struct {
		signs bool
		asked []time.Duration
		kind  Kind
	}{
		{false, []time.Duration{limits.Sign}, Failover},
		{true, []time.Duration{limits.Sign, limits.Answer}, Switchover},
	} {
		w := newWorld("mx1", "mx2")
		n := w.nodes["mx2"]
		n.heard = w.now
		var asked []time.Duration
		n.promoter.cfg.Peers = func() []Peer {
			return []Peer{{Name: "mx1", Link: &slow{link: link{n, w.nodes["mx1"]}, unanswered: 1, asked: &asked, sign: func() {
				if c.signs {
					n.heard = n.heard.Add(time.Second)
				}
			}}}}
		}
		plan, err := n.promoter.Plan(context.Background())
		if err != nil || plan.Kind != c.kind || len(asked) != len(c.asked) {
			t.Errorf("%t: %v, %v, waited for %v", c.signs, plan.Kind, err, asked)
			continue
		}
		for i, want := range c.asked {
			if asked[i] > want || asked[i] < want/2 {
				t.Errorf("%t: waited for %v, want %v", c.signs, asked, c.asked)
			}
		}
	}
}
