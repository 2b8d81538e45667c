package replicator

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/pairing"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// movable is a clock that a test sets forward.
type movable struct {
	hurried
	ahead atomic.Int64
}

func (m *movable) Now() time.Time { return time.Now().Add(time.Duration(m.ahead.Load())) }

// TestSwitchoverIsForgotten: the mail server of the primary was stopped, and the
// one that asked for it is never heard of again. Both nodes say so, and after a
// while the mail server is started.
func TestSwitchoverIsForgotten(t *testing.T) {
	c := newCluster(t, "mx1", "mx2")
	mx1, mx2 := c.nodes["mx1"], c.nodes["mx2"]
	mx2.until("in sync", func(d status.Document) bool { return d.State == status.InSync })
	claim := identity.Claim{Epoch: 2, Name: "mx2"}
	_, err := mx1.n.Claim(t.Context(), claim)
	c.must(err)
	mx1.fail["fence before"] = errors.New("it takes too long")
	if _, err := mx1.n.Seal(t.Context(), pairing.SealOrder{Claim: claim}, func(string) {}); err == nil {
		t.Fatal("it is sealed")
	}
	stopped := func(d status.Document) bool {
		return d.State == status.Attention && strings.Contains(d.Detail, "mail server was stopped for a switchover to mx2")
	}
	mx1.until("without a mail server", stopped)
	mx2.until("told of it", stopped)
	mx1.stop()
	clock := new(movable)
	mx1.clock = clock
	mx1.start()
	mx1.until("without a mail server after a restart", stopped)

	mx1.fail["promote after"] = errors.New("no such unit")
	clock.ahead.Add(int64(sealSilence + time.Second))
	mx1.until("without a mail server that can be started", func(d status.Document) bool {
		return stopped(d) && strings.Contains(d.Detail, "no such unit")
	})
	mx1.mu.Lock()
	delete(mx1.fail, "promote after")
	before := len(mx1.hooks)
	mx1.mu.Unlock()
	clock.ahead.Add(int64(sealSilence + time.Second))
	mx1.until("serving again", func(d status.Document) bool { return d.MailStopped == "" })
	if ran := mx1.ran()[before:]; !slices.Contains(ran, "promote after mx2 1") {
		t.Errorf("the hooks that ran are %q", ran)
	}
	mx2.until("in sync", func(d status.Document) bool { return d.State == status.InSync })

	// And the switchover can still be made.
	delete(mx1.fail, "fence before")
	_, err = mx1.n.Seal(t.Context(), pairing.SealOrder{Claim: claim}, func(string) {})
	c.must(err)
	if why := mx1.n.mailStopped(mx1.n.state()); why != "" {
		t.Errorf("sealed, and said to be forgotten: %s", why)
	}
	c.must(mx1.n.Unseal(t.Context(), claim))
	mx1.until("serving once more", func(d status.Document) bool { return d.MailStopped == "" && d.Fenced == "" })
}
