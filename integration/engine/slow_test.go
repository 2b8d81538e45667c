package engine_test

import (
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/integration/proxy"
	"github.com/mailtwin/mailtwin/replicator/failover"
	"github.com/mailtwin/mailtwin/replicator/operator"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// TestSlowLink: what a primary says waits behind contents on a slow link. Its
// mirror must not take what was so long ago for what is, neither while the
// primary lives nor when it is dead.
func TestSlowLink(t *testing.T) {
	const (
		messages, size = 30, 40 << 10
		bytesPerSecond = 48 << 10 // all of it takes 25 seconds
		tolerated      = 10 * time.Second
		watched        = 14 * time.Second
	)
	p := newPair(t)
	link, err := proxy.New(p.primary.Node.Listen, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = link.Close() }()
	p.mirror.Node.Peer = link.Addr()
	p.write("d/u/Maildir/new/first.M1P1.host", "Subject: first\n\nbody\n")
	p.startMirror()
	before := p.inSync()
	p.until(p.mirror, "in sync", func(d status.Document) bool {
		return d.State == status.InSync && len(d.Peers) == 1 && d.Peers[0].Address == link.Addr()
	})

	link.Throttle(bytesPerSecond)
	for i := range messages {
		body := make([]byte, size)
		_, _ = rand.Read(body) // never fails
		p.write(fmt.Sprintf("d/u/Maildir/new/%d.M1P1.host", i), fmt.Sprintf("Subject: %d\n\n%s\n", i, body))
	}
	all := before.Journal.Sequence + messages
	p.until(p.primary, "told of all", func(d status.Document) bool { return d.Journal.Sequence >= all })
	known := time.Now()
	last := p.until(p.mirror, "watched for long enough", func(d status.Document) bool {
		late := d.Time.Sub(known)
		if late > tolerated && d.Primary.AckedSequence < all && (d.State == status.InSync || d.Loss.Words == "nothing") {
			t.Errorf("after %v the mirror has %d of %d, and says %s (%s), lost: %s", late, d.Primary.AckedSequence, all, d.State, d.Detail, d.Loss.Words)
			return true
		}
		return late > watched
	})
	if last.Primary.AckedSequence >= all {
		t.Skipf("the link was not slow: the mirror has all %d changes", all)
	}

	p.stopPrimary()
	link.Cut()
	d := p.until(p.mirror, "unknown", func(d status.Document) bool { return d.State == status.Unknown })
	if d.Loss.Known {
		t.Errorf("the loss is said to be known: %s", d.Loss.Words)
	}
	plan := planOf(p)
	if plan.Kind != failover.Failover || plan.Loss.Nothing || plan.Loss.Heard == nil {
		t.Fatalf("the plan is %+v", plan)
	}
	lacking := *plan.Loss.Entries
	t.Logf("at %d of %d: %s", plan.Position.Sequence, all, strings.Join(plan.Loss.Words, " "))
	if lacking == 0 && plan.Loss.Heard.After(known) {
		t.Errorf("the report knows of nothing that lacks, and of all that was so until %v; all was known at %v", plan.Loss.Heard, known)
	}
	if lacking == 0 {
		t.Error("the primary was asked how it is, and the report does not know of what it said")
	}
}

// planOf returns what the command on the mirror would do.
func planOf(p *testPair) failover.Plan {
	p.t.Helper()
	client, err := operator.Dial(p.mirror.StateDir)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	plan, _, err := client.PlanFailover(p.t.Context(), false, func(string) {})
	if err != nil {
		p.t.Fatal(err)
	}
	return plan
}
