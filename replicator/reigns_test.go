package replicator

import (
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

// TestRejoinAfterTwoReigns: while the first primary is away, the second one is replaced
// by the third, in a planned way. What was expunged under the second does not come back,
// flags that were set there stay, and mail that only the first one has comes over.
func TestRejoinAfterTwoReigns(t *testing.T) {
	c, mx1, mx2, mx3 := twoMirrors(t, 10)
	for _, sub := range []string{"new", "tmp"} {
		c.must(os.MkdirAll(filepath.Join(mx1.cfg.Store.Path, box+sub), 0o700))
	}
	mx1.journaled()
	mx1.inSync()
	mx1.equal(mx2)
	mx1.equal(mx3)
	mx1.stop()
	mx1.write(box+"new/only.M1P1.host", "Subject: only here\n\nbody\n")
	mx1.rename(box+"cur/both2.M1P1.host:2,S", box+"cur/both2.M1P1.host:2,RS")

	mx2.until("without its primary", func(d status.Document) bool { return !d.Primary.Connected })
	mx2.promote()
	mx2.n.crownAll(t.Context())
	mx3.until("following mx2", func(d status.Document) bool {
		return d.Primary != nil && d.Primary.Name == "mx2" && d.Primary.Connected
	})
	mx2.remove(box + "cur/both0.M1P1.host:2,S")
	mx2.rename(box+"cur/both1.M1P1.host:2,S", box+"cur/both1.M1P1.host:2,FS")
	mx2.equal(mx3)
	mx3.until("in sync", func(d status.Document) bool { return d.State == status.InSync })
	plan, err := mx3.n.promoter.Plan(t.Context())
	c.must(err)
	_, err = mx3.n.promoter.Run(t.Context(), failover.Request{Confirmed: plan.Confirm()}, func(failover.Event) {})
	c.must(err)

	mx1.start()
	mx1.until("fenced", func(d status.Document) bool {
		return d.Role == string(identity.Fenced) && strings.Contains(d.Fenced, "mx3")
	})
	told := &teller{}
	result, err := mx1.n.Rejoin(t.Context(), operator.RejoinOptions{}, told)
	c.must(err)
	if result.Uncertain != "" || result.Outcomes[salvage.OutcomeDelivered] != 1 || result.Outcomes[salvage.OutcomeConflict] != 1 ||
		result.Outcomes[salvage.OutcomeSet] != 0 {
		t.Errorf("%+v\n%+v", result, told.lines)
	}
	mx3.inSync()
	mx3.equal(mx1)
	for _, want := range []string{"new/only.M1P1.host", "cur/both1.M1P1.host:2,FS", "cur/both2.M1P1.host:2,S"} {
		if !mx3.has(box + want) {
			t.Errorf("%q is not there:\n%s", want, mx3.tree())
		}
	}
	if strings.Contains(mx3.tree(), "both0") {
		t.Error("what was expunged is back")
	}
}

// TestReignsThatCannotBeRead keep no node from being primary, nor one from following.
func TestReignsThatCannotBeRead(t *testing.T) {
	c := newCluster(t, "mx1", "mx2")
	mx1, mx2 := c.nodes["mx1"], c.nodes["mx2"]
	mx1.inSync()
	for _, m := range []*testNode{mx1, mx2} {
		c.must(m.n.catalog.UpdateDurably(func(tx *catalog.Tx) error { return tx.SetMeta("mirror.reigns", []byte("{")) }))
		m.stop()
	}
	mx1.start()
	mx2.start()
	mx1.write("u/Maildir/new/1", "Subject: live\n\nbody\n")
	mx1.inSync()
	mx1.equal(mx2)
}
