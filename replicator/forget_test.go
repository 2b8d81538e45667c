package replicator

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/operator"
	"github.com/mailtwin/mailtwin/replicator/salvage"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// TestForget: a mirror that does not come back is forgotten by all, over a restart
// and a promotion; if it comes back it is turned away, and its name can join again.
func TestForget(t *testing.T) {
	c := newCluster(t, "mx1", "mx2", "mx3")
	mx1, mx2, mx3 := c.nodes["mx1"], c.nodes["mx2"], c.nodes["mx3"]
	refused := func(on *testNode, name, words string) {
		t.Helper()
		if _, err := on.n.Forget(t.Context(), name, true); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s forgets %s: %v", on.cfg.Node.Name, name, err)
		}
	}
	refused(mx1, "mx3", "is there now")
	refused(mx1, "mx1", "is this node")
	refused(mx1, "mx4", "known are mx2, mx3")
	refused(mx2, "mx3", "mx1, epoch 1 leads")

	mx3.stop()
	mx1.until("without mx3", func(d status.Document) bool { return len(d.Mirrors) == 2 && !d.Mirrors[1].Connected })
	if f, err := mx1.n.Forget(t.Context(), "mx3", false); err != nil || f.Forgotten || !f.Journal || f.Mirrors != 1 {
		t.Errorf("asked only: %+v, %v", f, err)
	}
	mx1.write("u/Maildir/new/more.M1P1.host", "Subject: more\n\nbody\n")
	mx2.until("up to date", func(status.Document) bool { return mx2.has("u/Maildir/new/more.M1P1.host") })
	if f, err := mx1.n.Forget(t.Context(), "mx3", true); err != nil || !f.Forgotten {
		t.Fatalf("forgotten: %+v, %v", f, err)
	}
	refused(mx1, "mx3", "was forgotten already")
	healthy := func(d status.Document) bool {
		return d.State == status.InSync && len(d.Mirrors) == 1 && d.Mirrors[0].Name == "mx2" && len(d.Peers) == 1
	}
	mx1.until("healthy with mx2 alone", healthy)
	mx2.until("told of it", func(d status.Document) bool { return mx2.n.forgotten.Gone("mx3") && len(d.Peers) == 1 })

	mx1.stop()
	mx1.start()
	mx1.until("healthy after a restart", healthy)

	mx3.start() // all the same
	turned := mx3.until("told that it is forgotten", func(d status.Document) bool { return d.Forgotten != "" })
	if turned.State != status.Attention || !strings.Contains(turned.Detail, "join it again") {
		t.Errorf("mx3 is %s: %s", turned.State, turned.Detail)
	}
	away := func(n *node) bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return strings.Contains(n.turnedAway, "mx3 was forgotten")
	}
	mx1.until("turning mx3 away", func(d status.Document) bool { return away(mx1.n) && healthy(d) })
	mx3.until("turned away", func(d status.Document) bool {
		return d.Primary != nil && !d.Primary.Connected && d.LastError != nil && strings.Contains(d.LastError.Text, "mx3 was forgotten")
	})

	plan, err := mx3.n.promoter.Plan(t.Context())
	if c.must(err); !strings.Contains(strings.Join(plan.Refusals, "; "), "no other node of the pair would follow this one: mx3 was forgotten") {
		t.Errorf("it could be promoted: %q", plan.Refusals)
	}
	plan, err = mx2.n.promoter.Plan(t.Context())
	if c.must(err); len(plan.Refusals) > 0 || len(plan.Peers) != 1 {
		t.Errorf("mx2 asks %+v, and is not promoted for %q", plan.Peers, plan.Refusals)
	}

	mx1.stop()
	mx2.promote()
	mx2.until("a primary that does not know mx3", func(d status.Document) bool { return d.Role == "primary" && len(d.Peers) == 1 })
	for _, cursor := range mx2.n.current().(*primaryPart).journal.Cursors() {
		if cursor.Name == "mx3" {
			t.Error("the journal is kept for mx3")
		}
	}
	token, _, err := mx2.n.Invite(time.Hour)
	c.must(err)
	mx3.stop()
	delete(c.nodes, "mx3")
	again := c.add("mx3")
	c.must(again.join(mx2, token))
	again.start()
	again.until("back under its name", func(d status.Document) bool { return d.State == status.InSync && d.Forgotten == "" })
	mx2.equal(again)
}

// TestForgottenFormerPrimary: one that took mail which was never replicated, was given
// up, and comes back all the same: it learns that another one leads, and its mail is
// brought over before it has to join anew.
func TestForgottenFormerPrimary(t *testing.T) {
	c := newCluster(t, "mx1", "mx2")
	mx1, mx2 := c.nodes["mx1"], c.nodes["mx2"]
	for _, sub := range []string{"new", "tmp"} {
		c.must(os.MkdirAll(filepath.Join(mx1.cfg.Store.Path, box+sub), 0o700))
	}
	mx1.equal(mx2)
	mx2.stop()
	mx1.write(box+"new/only.M1P1.host", "Subject: only mx1 has it\n\nbody\n")
	mx1.journaled()
	mx1.stop()
	mx2.start()
	mx2.promote()
	_, err := mx2.n.Forget(t.Context(), "mx1", true)
	c.must(err)
	mx2.stop()
	mx2.start() // its node.peer leads to mx1, which is not asked any more
	mx2.until("alone, and sure of its role", func(d status.Document) bool {
		return d.Role == string(identity.Primary) && d.State == status.Alone && d.Unasked == "" && len(d.Peers) == 0
	})

	mx1.start()
	d := mx1.until("fenced", func(d status.Document) bool { return d.Role == string(identity.Fenced) })
	if !strings.Contains(d.Detail, "mailtwin rejoin") {
		t.Errorf("it is %s: %s", d.State, d.Detail)
	}
	result, err := mx1.n.Rejoin(t.Context(), operator.RejoinOptions{}, &teller{})
	if c.must(err); !result.Mirror || result.Outcomes[salvage.OutcomeDelivered] != 1 {
		t.Errorf("it rejoined: %+v", result)
	}
	mx1.until("told to join anew", func(d status.Document) bool {
		return d.Role == string(identity.Mirror) && strings.Contains(d.Detail, "mx1 was forgotten")
	})
	if d := mx2.n.Status(); len(d.Mirrors)+len(d.Peers) > 0 {
		t.Errorf("mx2 has %+v, %+v", d.Mirrors, d.Peers)
	}

	token, _, err := mx2.n.Invite(time.Hour)
	c.must(err)
	mx1.stop()
	store := mx1.cfg.Store.Path
	again := c.add("mx1")
	again.cfg.Store.Path = store // as with --adopt
	c.must(again.join(mx2, token))
	again.start()
	mx2.inSync()
	mx2.equal(again)
	if tree := mx2.tree(); strings.Count(tree, "only mx1 has it") != 1 {
		t.Errorf("mx2 has\n%s", tree)
	}
}

// TestForgettingLetsTheJournalTrim: what was kept for a mirror alone goes.
func TestForgettingLetsTheJournalTrim(t *testing.T) {
	c := newCluster(t, "mx1", "mx2")
	mx1, mx2 := c.nodes["mx1"], c.nodes["mx2"]
	mx1.stop()
	mx1.cfg.Journal.SegmentSize = 4 << 10
	mx1.start()
	mx1.inSync()
	mx2.stop()
	from := mx1.n.Status().Journal.Sequence
	for i := range 100 {
		mx1.write("u/Maildir/new/"+strings.Repeat("x", i+1)+".M1P1.host", "Subject: one of many\n\nbody\n")
	}
	mx1.until("observed", func(d status.Document) bool { return d.Journal.Sequence >= from+100 })
	part := mx1.n.current().(*primaryPart)
	trim := func() journal.Sequence {
		c.must(mx1.n.catalog.Sync())
		c.must(part.journal.Trim(mx1.n.catalog.DurablePosition().Sequence))
		return part.journal.Start().Sequence
	}
	if kept := trim(); kept > journal.Sequence(from) {
		t.Errorf("kept from %d, the mirror has %d", kept, from)
	}
	_, err := mx1.n.Forget(t.Context(), "mx2", true)
	c.must(err)
	more := 0
	mx1.until("trimming", func(status.Document) bool {
		// Only whole segments go, and what is seen at once may be in one of them.
		more++
		mx1.write(fmt.Sprintf("u/Maildir/new/more%d.M1P1.host", more), "Subject: one more\n\nbody\n")
		return trim() > journal.Sequence(from)
	})
	mx1.until("alone", func(d status.Document) bool { return d.State == status.Alone && len(d.Mirrors) == 0 })
}
