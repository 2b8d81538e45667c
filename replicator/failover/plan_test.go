package failover

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/mailtwin/mailtwin/replicator/hint"
)

// Who has agreed to a plan, and is not asked again, agrees to none that is worse.
func TestNoWorse(t *testing.T) {
	none, one, some, more := uint64(0), uint64(1), uint64(2), uint64(3)
	base := Plan{
		Kind: Failover, Primary: "mx1", Position: Place{Epoch: 1, Sequence: 10},
		Loss: Loss{Whole: true, Entries: &some, Missing: 1, InDoubt: &none},
	}
	for _, test := range []struct {
		name   string
		change func(*Plan)
		worse  string // "" is not
	}{
		{"the same", func(*Plan) {}, ""},
		{"the primary answers again", func(p *Plan) { p.Kind, p.Loss.Missing = Switchover, 5 }, ""},
		{"it answers, but this is another copy", func(p *Plan) { p.Kind, p.Loss.Assumed = Switchover, 1 }, "more may be lost"},
		{"its journal can be fetched", func(p *Plan) { p.Kind, p.Loss.Entries, p.Loss.Missing = Evacuation, nil, 5 }, ""},
		{"more has come", func(p *Plan) { p.Position.Sequence, p.Loss.Missing = 12, 0 }, ""},
		{"a change has come without its content", func(p *Plan) { p.Position.Sequence, p.Loss.Entries, p.Loss.Missing = 11, &one, 2 }, ""},
		{"more is in doubt", func(p *Plan) { p.Loss.InDoubt = &some }, "more may be lost"},
		{"more cannot be read", func(p *Plan) { p.Loss.Unreadable = 1 }, "more may be lost"},
		{"it is at another epoch", func(p *Plan) { p.Position.Epoch = 2 }, "more may be lost"},
		{"it is another primary", func(p *Plan) { p.Primary = "mx3" }, `"mx1" and is "mx3"`},
		{"this node sealed itself", func(p *Plan) { p.Kind = Takeback }, "it was to be a failover and would be a takeback"},
		{"something was promoted", func(p *Plan) { p.Kind = Finish }, "would be a finish"},
		{"less is here", func(p *Plan) { p.Position.Sequence = 9 }, "more may be lost"},
		{"more is known of", func(p *Plan) { p.Loss.Entries = &more }, "more may be lost"},
		{"less is known", func(p *Plan) { p.Loss.Entries = nil }, "more may be lost"},
		{"more never came", func(p *Plan) { p.Loss.Missing = 2 }, "more may be lost"},
		{"more is assumed", func(p *Plan) { p.Loss.Assumed = 1 }, "more may be lost"},
		{"it is compared", func(p *Plan) { p.Loss.Whole = false }, "more may be lost"},
	} {
		now := base
		test.change(&now)
		err := now.NoWorse(&base)
		if (err == nil) != (test.worse == "") || err != nil && (!errors.Is(err, ErrStale) || !strings.Contains(err.Error(), test.worse)) {
			t.Errorf("%s: %v, want %q", test.name, err, test.worse)
		}
	}
	for _, kinds := range [][2]Kind{{Switchover, Evacuation}, {Switchover, Failover}, {Evacuation, Failover}, {Takeback, Failover}} {
		was, is := base, base
		was.Kind, is.Kind = kinds[0], kinds[1]
		err := is.NoWorse(&was)
		if !errors.Is(err, ErrStale) || strings.Contains(err.Error(), " a evacuation") {
			t.Errorf("%v: %v", kinds, err)
		}
	}
}

// What had come to a mirror when its primary died may become durable while somebody
// reads the plan; whatever else it has meanwhile was not agreed to.
func TestFailoverIsConfirmedOfNoLess(t *testing.T) {
	plan := Plan{Kind: Failover, Primary: "mx1", Position: Place{Epoch: 1, Sequence: 10, Digest: "aa"}}
	c := plan.Confirm()
	for _, test := range []struct {
		at    Place
		holds bool
	}{
		{plan.Position, true},
		{Place{Epoch: 1, Sequence: 11, Digest: "bb"}, true},
		{Place{Epoch: 1, Sequence: 10, Digest: "bb"}, false},
		{Place{Epoch: 1, Sequence: 9, Digest: "cc"}, false},
		{Place{Epoch: 2, Sequence: 11, Digest: "bb"}, false},
	} {
		plan.Position = test.at
		if err := c.holds(&plan); (err == nil) != test.holds {
			t.Errorf("%+v: %v", test.at, err)
		}
	}
}

// A mirror whose part is about to begin is not said to have a bad store, nor to lack
// what it has: the command has to be given again.
func TestWhatIsNotKnownNowIsNoBadStore(t *testing.T) {
	w := newWorld("mx1", "mx2")
	mx2 := w.nodes["mx2"]
	mx2.unknown = "the role is changing"
	plan, err := mx2.promoter.Plan(t.Context())
	if !errors.Is(err, ErrNotReady) || !strings.Contains(err.Error(), mx2.unknown) || !strings.Contains(hint.Of(err), "again in a moment") {
		t.Errorf("%+v, %v, hint %q", plan, err, hint.Of(err))
	}
	mx2.unknown = ""
	if plan, err = mx2.promoter.Plan(t.Context()); err != nil || plan.Unfit != "" || plan.Kind != Switchover {
		t.Errorf("a moment later: %+v, %v", plan, err)
	}
}

// Of two operators on one node the second is told that the first is at it, and does
// nothing to his promotion.
func TestTheSecondOperatorOnANodeIsTold(t *testing.T) {
	w := newWorld("mx1", "mx2")
	p := w.nodes["mx2"].promoter
	plan, err := p.Plan(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	q := Request{Confirmed: plan.Confirm()}
	asked := 0
	_, err = p.Run(context.Background(), q, func(Event) {
		asked++
		if _, err := p.Run(context.Background(), q, func(e Event) { t.Errorf("the second one gets as far as %s", e.Step) }); !errors.Is(err, ErrBusy) {
			t.Errorf("the second one: %v", err)
		}
	})
	if err != nil || asked == 0 || p.Busy() {
		t.Errorf("the first one: %v, busy %v", err, p.Busy())
	}
	if err := w.check(); err != nil {
		t.Error(err)
	}
}
