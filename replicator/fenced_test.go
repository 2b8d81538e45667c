package replicator

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/operator"
	"github.com/mailtwin/mailtwin/replicator/status"
)

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
	if _, err := mx1.n.Rejoin(short, operator.RejoinOptions{}, &teller{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while the mail server is being stopped: %v, want that it was waited for", err)
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
