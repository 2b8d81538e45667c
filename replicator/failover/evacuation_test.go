package failover

import (
	"errors"
	"testing"

	"github.com/mailtwin/mailtwin/replicator/identity"
)

// An array that fails in the midst of a switchover makes it another promotion,
// which has to be confirmed: something may be lost.
func TestAnArrayThatFailsMeanwhileIsAnotherPlan(t *testing.T) {
	w := newWorld("mx1", "mx2")
	mx1, mx2 := w.nodes["mx1"], w.nodes["mx2"]
	mx1.deliver("a")
	mx2.fetch(1)
	_, err := w.attempt("mx2", false, func(e Event) {
		if e.Step == StepFence {
			mx1.suspended = "input/output error"
		}
	})
	if !errors.Is(err, ErrStale) || mx1.disk.state.Sealed || mx2.disk.state.Role != identity.Mirror {
		t.Fatalf("%v; %+v", err, mx1.disk.state)
	}
	result, err := w.attempt("mx2", false, func(Event) {})
	if err != nil || result.Kind != Evacuation || result.Loss.Nothing {
		t.Errorf("%+v, %v", result, err)
	}
}
