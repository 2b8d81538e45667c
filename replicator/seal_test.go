package replicator

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
	"github.com/mailtwin/mailtwin/replicator/pairing"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// TestAStoreThatCannotBeWrittenIsNotSealedAsIfItWereWhole, but blindly, and its
// node is fenced then: what is in it and nowhere else can be salvaged.
func TestAStoreThatCannotBeWrittenIsNotSealedAsIfItWereWhole(t *testing.T) {
	c := newCluster(t, "mx1", "mx2")
	mx1, mx2 := c.nodes["mx1"], c.nodes["mx2"]
	mx2.until("following", func(d status.Document) bool { return d.Epoch == 1 })
	claim := identity.Claim{Epoch: 2, Name: "mx2"}
	client, err := mx2.n.vigil.client(mx1.cfg.Node.Listen)
	c.must(err)
	_, err = client.Claim(t.Context(), claim)
	c.must(err)
	// Nothing can be made where it is tried.
	staging := filepath.Join(mx1.cfg.Store.Path, mailstore.Staging)
	c.must(os.RemoveAll(staging))
	c.must(os.WriteFile(staging, nil, 0o600))
	inspect := func() pairing.Report {
		t.Helper()
		r, err := client.Inspect(t.Context(), mx2.n.listen, nil)
		c.must(err)
		return r
	}
	if why := inspect().Suspended; why != "" {
		t.Errorf("before it was tried: %s", why)
	}
	_, err = client.Seal(t.Context(), pairing.SealOrder{Claim: claim}, func(string) {})
	if err == nil || !strings.Contains(err.Error(), "cannot be written and read") || mx1.n.state().Sealed {
		t.Fatalf("sealed: %v", err)
	}
	if why := inspect().Suspended; !strings.Contains(why, "cannot be written") {
		t.Errorf("afterwards: %q", why)
	}
	c.must(os.Remove(staging))
	if why := inspect().Suspended; why != "" {
		t.Errorf("when it can be written again: %s", why)
	}
	sealed, err := client.Seal(t.Context(), pairing.SealOrder{Claim: claim, Blind: true}, func(string) {})
	c.must(err)
	if sealed.Unread == 0 {
		t.Error("sealed blindly, and everything was read")
	}
	mx2.until("drained", func(status.Document) bool {
		s, err := mx2.n.standing()
		return err == nil && s.Position == sealed.Position
	})
	mx2.promote()
	mx2.n.crownAll(t.Context())
	mx1.until("fenced", func(d status.Document) bool { return d.Role == "fenced" })
}
