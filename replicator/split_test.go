package replicator

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailtwin/mailtwin/replicator/failover"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// box is the mailbox of the tests with two mirrors.
const box = "u/Maildir/"

// twoMirrors makes a primary and two mirrors, all in sync, with so many messages
// in box.
func twoMirrors(t *testing.T, messages int) (c *cluster, mx1, mx2, mx3 *testNode) {
	c = newCluster(t, "mx1", "mx2", "mx3")
	mx1, mx2, mx3 = c.nodes["mx1"], c.nodes["mx2"], c.nodes["mx3"]
	for i := range messages {
		mx1.write(fmt.Sprintf(box+"cur/both%d.M1P1.host:2,S", i), fmt.Sprintf("Subject: both %d\n\nbody\n", i))
	}
	mx1.journaled()
	mx1.inSync()
	mx2.until("acquainted", func(d status.Document) bool { return len(d.Peers) == 2 })
	return c, mx1, mx2, mx3
}

// acknowledgedBy waits until a mirror has all of a journal of more than so many
// entries.
func acknowledgedBy(name string, entries uint64) func(status.Document) bool {
	return func(d status.Document) bool {
		for _, m := range d.Mirrors {
			if m.Name == name && m.AckedSequence == d.Journal.Sequence && d.Journal.Sequence > entries {
				return true
			}
		}
		return false
	}
}

// TestMirrorThatHasMore: two mirrors, and that one is promoted which has less,
// against what it says. The other one gets the difference; what it alone had was
// acknowledged as safe, so it is put aside and told, and nothing of it is lost.
func TestMirrorThatHasMore(t *testing.T) {
	c, mx1, mx2, mx3 := twoMirrors(t, 20)
	mx2.stop()
	for i := range 5 {
		mx1.write(fmt.Sprintf(box+"new/only%d.M1P1.host", i), fmt.Sprintf("Subject: only mx3 has %d\n\nbody\n", i))
	}
	mx1.write(box+".Work/cur/only.M1P1.host:2,S", "Subject: in a folder of its own\n\nbody\n")
	mx1.remove(box + "cur/both0.M1P1.host:2,S")
	mx1.journaled()
	mx1.until("acknowledged by mx3", acknowledgedBy("mx3", 25))
	mx1.stop() // for good
	before := mx3.tree()

	mx2.start()
	mx2.until("without its primary", func(d status.Document) bool { return !d.Primary.Connected })
	var plan failover.Plan
	mx2.until("told of mx3", func(d status.Document) bool {
		var err error
		plan, err = mx2.n.promoter.Plan(t.Context())
		c.must(err)
		return len(plan.Refusals) > 0
	})
	if why := strings.Join(plan.Refusals, "; "); plan.Kind != failover.Failover || !strings.Contains(why, "mx3 has ") || !strings.Contains(why, "changes more than this node: run the command there") {
		t.Errorf("%s is refused for: %s", plan.Kind, why)
	}
	if mx3.tree() != before {
		t.Error("a plan changed what mx3 has")
	}

	mx2.promote() // all the same
	mx2.write(box+"new/after.M1P1.host", "Subject: after\n\nbody\n")
	d := mx3.until("told what it has put aside", func(d status.Document) bool {
		return d.Primary != nil && d.Primary.Name == "mx2" && strings.Contains(d.Primary.Detail, "..mailtwin/history/1")
	})
	if d.State != status.Attention {
		t.Errorf("it is %s: %s", d.State, d.Detail)
	}
	mx2.until("proven", func(d status.Document) bool {
		return len(d.Mirrors) > 0 && d.Mirrors[0].Name == "mx3" && d.Mirrors[0].Proven && d.Mirrors[0].LagEntries == 0
	})
	mx2.equal(mx3)
	if !mx3.has(box+"cur/both0.M1P1.host:2,S") || mx3.has(box+".Work") {
		t.Error("it is not what the new primary has")
	}
	aside := filepath.Join("..mailtwin/history/1", box)
	for i := range 5 {
		at := filepath.Join(mx3.cfg.Store.Path, aside, fmt.Sprintf("new/only%d.M1P1.host", i))
		if content, err := os.ReadFile(at); err != nil || string(content) != fmt.Sprintf("Subject: only mx3 has %d\n\nbody\n", i) {
			t.Errorf("%q, %v", content, err)
		}
	}
	if !mx3.has(filepath.Join(aside, ".Work/cur/only.M1P1.host:2,S")) {
		t.Error("the message in the folder was not put aside")
	}

	// Afterwards a removal is a removal, also behind a new start.
	mx2.remove(box + "cur/both1.M1P1.host:2,S")
	mx3.stop()
	mx3.start()
	mx2.equal(mx3)
	if mx3.has(filepath.Join(aside, "cur/both1.M1P1.host:2,S")) {
		t.Error("what the primary has removed was put aside")
	}
	mx3.until("still told", func(d status.Document) bool { return strings.Contains(d.Primary.Detail, "..mailtwin/history/1") })
	c.must(os.RemoveAll(filepath.Join(mx3.cfg.Store.Path, "..mailtwin/history/1")))
	mx3.until("in sync", func(d status.Document) bool { return d.State == status.InSync })
	if mx3.n.state().Role != identity.Mirror {
		t.Errorf("it is %s", mx3.n.state().Role)
	}
}

// TestMirrorThatHasLess: a mirror was away while mail was removed, and the other
// one was promoted. What it still has was removed for good, so it is removed here,
// and nobody is asked to bring it back.
func TestMirrorThatHasLess(t *testing.T) {
	_, mx1, mx2, mx3 := twoMirrors(t, 10)
	mx3.stop()
	mx1.remove(box + "cur/both0.M1P1.host:2,S")
	mx1.journaled()
	mx1.until("acknowledged by mx2", acknowledgedBy("mx2", 10))
	mx1.stop() // for good
	mx2.until("without its primary", func(d status.Document) bool { return !d.Primary.Connected })
	mx2.promote()
	mx2.remove(box + "cur/both1.M1P1.host:2,S")
	mx3.start()
	mx2.until("proven", func(d status.Document) bool {
		return len(d.Mirrors) > 0 && d.Mirrors[0].Name == "mx3" && d.Mirrors[0].Proven && d.Mirrors[0].LagEntries == 0
	})
	mx2.equal(mx3)
	mx3.until("in sync", func(d status.Document) bool { return d.State == status.InSync })
	if mx3.has("..mailtwin/history") {
		t.Error("mail that was removed was put aside")
	}
}
