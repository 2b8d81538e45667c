package replicator

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/failover"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/operator"
	"github.com/mailtwin/mailtwin/replicator/salvage"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// breaker breaks a rejoin off when the salvage is done: before stock is taken, or, as the
// mail server cannot be stopped any more, behind it.
type breaker struct {
	teller
	of     *testNode
	behind bool
}

func (b *breaker) Step(words string) error {
	switch {
	case !strings.Contains(words, "taking stock"):
	case !b.behind:
		return errors.New("broken off")
	default:
		b.of.mu.Lock()
		b.of.fail["demote before"] = os.ErrInvalid
		b.of.mu.Unlock()
		if p, ok := b.of.n.current().(*fencedPart); ok {
			p.runHook()
		}
	}
	return b.teller.Step(words)
}

// TestRejoinBegunWithAnother: a rejoin breaks off when all is delivered, the message is
// expunged, and another node becomes primary. It does not come back there, and this node
// keeps what is nowhere else.
func TestRejoinBegunWithAnother(t *testing.T) {
	for name, behind := range map[string]bool{"before stock is taken": false, "behind it": true} {
		t.Run(name, func(t *testing.T) { rejoinBegunWithAnother(t, behind) })
	}
}

func rejoinBegunWithAnother(t *testing.T, behind bool) {
	c, mx1, mx2, mx3 := twoMirrors(t, 10)
	const only = box + "new/only.M1P1.host"
	for _, sub := range []string{"new", "tmp"} {
		c.must(os.MkdirAll(filepath.Join(mx1.cfg.Store.Path, box+sub), 0o700))
	}
	mx1.journaled()
	mx1.inSync()
	mx1.equal(mx2)
	mx1.equal(mx3)
	mx1.stop()
	mx1.write(only, "Subject: only here\n\nbody\n")
	mx2.until("without its primary", func(d status.Document) bool { return !d.Primary.Connected })
	mx2.promote()
	mx2.n.crownAll(t.Context())
	mx3.until("following mx2", func(d status.Document) bool {
		return d.Primary != nil && d.Primary.Name == "mx2" && d.Primary.Connected
	})
	mx1.start()
	mx1.until("fenced", func(d status.Document) bool {
		return d.Role == string(identity.Fenced) && strings.Contains(d.Fenced, "mx2")
	})
	_, err := mx1.n.Rejoin(t.Context(), operator.RejoinOptions{}, &breaker{of: mx1, behind: behind})
	if err == nil || !mx2.has(only) {
		t.Fatalf("it was to break off behind the delivery: %v", err)
	}
	c.must(mx1.n.catalog.View(func(tx *catalog.Tx) error {
		if noted, err := tx.Meta(metaBegun); string(noted) != `{"leader":2}` {
			t.Errorf("noted %q, %v", noted, err)
		}
		return nil
	}))
	mx2.remove(only)
	mx2.journaled()
	mx2.equal(mx3)
	mx3.until("in sync", func(d status.Document) bool { return d.State == status.InSync })
	plan, err := mx3.n.promoter.Plan(t.Context())
	c.must(err)
	_, err = mx3.n.promoter.Run(t.Context(), failover.Request{Confirmed: plan.Confirm()}, func(failover.Event) {})
	c.must(err)

	mx1.until("fenced by the third", func(d status.Document) bool { return strings.Contains(d.Fenced, "mx3") })
	mx1.mu.Lock()
	delete(mx1.fail, "demote before")
	mx1.mu.Unlock()
	told := &teller{}
	result, err := mx1.n.Rejoin(t.Context(), operator.RejoinOptions{}, told)
	c.must(err)
	if result.Outcomes[salvage.OutcomeDelivered] != 0 || result.Outcomes[salvage.OutcomeDoubt] != 1 {
		t.Errorf("%+v\n%+v", result, told.lines)
	}
	mx3.inSync()
	mx3.equal(mx1)
	if mx3.has(only) || !mx1.has("..mailtwin/history/1/"+only) {
		t.Errorf("the new primary has\n%s\nand the former one\n%s", mx3.tree(), mx1.tree())
	}
}
