package replicator

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// TestJoinedJustBefore: a mirror that joined a moment before the primary died
// is known to the one that is promoted, and knows it, though they never met.
func TestJoinedJustBefore(t *testing.T) {
	c := newCluster(t, "mx1", "mx2")
	mx1, mx2 := c.nodes["mx1"], c.nodes["mx2"]
	token, _, err := mx1.n.Invite(time.Hour)
	c.must(err)
	mx3 := c.add("mx3")
	c.must(mx3.join(mx1, token))
	mx1.stop()
	if at := mx2.n.peers.Address("mx3"); at != mx3.cfg.Node.Listen {
		t.Errorf("mx2 knows mx3 at %q", at)
	}
	peers, err := identity.OpenPeers(mx3.cfg.StateDir)
	c.must(err)
	if at := peers.Address("mx2"); at != mx2.cfg.Node.Listen {
		t.Errorf("mx3 knows mx2 at %q", at)
	}
	mx3.start()
	mx2.promote()
	told, untold := mx2.n.crownAll(t.Context())
	if len(told) != 1 || told[0] != "mx3" || len(untold) != 1 {
		t.Errorf("told %q, untold %v", told, untold)
	}
	mx2.write("u/Maildir/new/after.M1P1.host", "Subject: after\n\nbody\n")
	mx3.until("following", func(d status.Document) bool {
		return d.Primary != nil && d.Primary.Name == "mx2" && d.Primary.Connected
	})
	mx2.inSync()
	mx2.equal(mx3)
}

// TestEveryPrimaryInvites: the node that made the pair is gone for good, and the
// promoted one gets a new mirror; that one's authority is as good as the first.
func TestEveryPrimaryInvites(t *testing.T) {
	c := newCluster(t, "mx1", "mx2")
	mx1, mx2 := c.nodes["mx1"], c.nodes["mx2"]
	if _, _, err := mx2.n.Invite(time.Hour); !errors.Is(err, identity.ErrNotPrimary) {
		t.Errorf("a mirror invites: %v", err)
	}
	mx1.stop()
	mx2.promote()
	primary := mx2
	for _, name := range []string{"mx3", "mx4"} {
		token, _, err := primary.n.Invite(time.Hour)
		c.must(err)
		next := c.add(name)
		c.must(next.join(primary, token))
		next.start()
		primary.write("u/Maildir/new/"+name+".M1P1.host", "Subject: "+name+"\n\nbody\n")
		next.until("in sync", func(d status.Document) bool { return d.State == status.InSync && d.Store.Files > 1 })
		primary.inSync()
		primary.equal(next)
		primary.stop()
		next.promote()
		primary = next
	}
}

// TestJournalIsKeptForTheFormerPrimary: what the promoted node removes while the
// former primary is away must be there to be asked for when that comes back.
func TestJournalIsKeptForTheFormerPrimary(t *testing.T) {
	c := newCluster(t, "mx1", "mx2")
	mx1, mx2 := c.nodes["mx1"], c.nodes["mx2"]
	mx2.stop()
	mx2.cfg.Journal.SegmentSize = 4 << 10
	mx2.start()
	mx1.inSync()
	mx1.stop()
	mx2.promote()
	part := mx2.n.current().(*primaryPart)
	start := part.journal.Start()
	for i := range 100 {
		mx2.write(fmt.Sprintf("u/Maildir/new/%d.M1P1.host", i), "Subject: one of many\n\nbody\n")
	}
	mx2.until("observed", func(d status.Document) bool { return d.Journal.Sequence >= uint64(start.Sequence)+100 })
	c.must(mx2.n.catalog.Sync())
	c.must(part.journal.Trim(mx2.n.catalog.DurablePosition().Sequence))
	if got := part.journal.Start(); got != start {
		t.Errorf("the journal began at %v, and begins at %v now", start, got)
	}
	if d := mx2.n.Status(); len(d.Mirrors) > 0 || d.State != status.Alone {
		t.Errorf("it is %s: %s; mirrors: %+v", d.State, d.Detail, d.Mirrors)
	}
}
