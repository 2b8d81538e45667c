package replicator

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/operator"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// meanwhile is a clock that does something the first time that it is asked.
type meanwhile struct {
	systemClock
	do func()
}

func (m *meanwhile) Now() time.Time {
	if do := m.do; do != nil {
		m.do = nil
		do()
	}
	return m.systemClock.Now()
}

// TestFencedWhileAsked: a node that learns of another primary while it says how it is
// does not say that it is one.
func TestFencedWhileAsked(t *testing.T) {
	c := newCluster(t, "mx1", "mx2")
	mx1 := c.nodes["mx1"]
	mx1.inSync()
	mx1.stop()
	clock := &meanwhile{}
	n, err := newNode(mx1.cfg, Options{Log: hclog.NewNullLogger(), Clock: clock})
	c.must(err)
	t.Cleanup(func() { c.must(n.catalog.Close()) })
	if d := n.Status(); d.Role != status.Unconfirmed {
		t.Fatalf("at first it is %s, want that it is not known", d.Role)
	}
	clock.do = func() {
		n.mu.Lock()
		n.st.Role = identity.Fenced
		n.mu.Unlock()
		n.vigil.confirm()
	}
	if d := n.Status(); d.Role == string(identity.Primary) {
		t.Errorf("it is %s, and another one leads", d.Role)
	}
	if d := n.Status(); d.Role != string(identity.Fenced) {
		t.Errorf("it is %s, want fenced", d.Role)
	}
}

// TestRejoinWaitsForDemote: nothing is salvaged, and no role changes, while the mail
// server is still being stopped; and that goes on to its end.
func TestRejoinWaitsForDemote(t *testing.T) {
	c := newCluster(t, "mx1", "mx2")
	mx1, mx2 := c.nodes["mx1"], c.nodes["mx2"]
	mx1.inSync()
	mx1.stop()
	mx2.promote()
	mx1.slow = make(chan struct{})
	mx1.start()
	mx1.until("fenced", func(d status.Document) bool { return d.Role == string(identity.Fenced) })

	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	var told teller
	if _, err := mx1.n.Rejoin(short, operator.RejoinOptions{}, &told); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while the mail server is being stopped: %v, want that it was waited for", err)
	}
	if len(told.steps) != 1 || !strings.HasPrefix(told.steps[0], "waiting for the hook demote, ") || !strings.Contains(told.steps[0], "may take 1m") {
		t.Errorf("it says %q, want what it waits for", told.steps)
	}
	_, err := mx1.n.Rejoin(t.Context(), operator.RejoinOptions{List: true}, &teller{})
	c.must(err) // to look disturbs nobody
	close(mx1.slow)
	_, err = mx1.n.Rejoin(t.Context(), operator.RejoinOptions{}, &teller{})
	c.must(err)
	mx2.inSync()
	if ran := mx1.ran(); !slices.Contains(ran, "demote before mx2 2") {
		t.Errorf("%q ran, and demote is not among them", ran)
	}
}
