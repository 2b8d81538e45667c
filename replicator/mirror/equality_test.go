package mirror

import (
	"testing"

	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// TestMarkThatDiffers: a digest of the primary's that is not the mirror's leads to a
// comparison, by which the mirror gets what it lacks and loses what it has too much.
// Until then it is neither whole nor proven.
func TestMarkThatDiffers(t *testing.T) {
	f := newFixture(t)
	p := f.whole()
	p.journal(put("u/cur/a:2,S", text("a")), put("u/cur/b:2,S", text("b")))
	p.untilAcked(2)
	digest := func() (d catalog.Digest) {
		f.view(func(tx *catalog.Tx) error { d = tx.Digest(); return nil })
		return d
	}
	mark := func(d catalog.Digest) {
		p.send(wire.HeartbeatMessage(wire.Heartbeat{State: "watching", Mark: &wire.Mark{Sequence: 2, Digest: d}}))
	}
	mark(digest())
	p.until("proven", func() bool { s := f.m.Status(); return s.Whole && s.Proven })

	other := digest()
	other[0]++
	mark(other)
	p.until("comparing", func() bool { return len(p.compares) > 0 })
	if s := f.m.Status(); s.Whole || s.Proven || s.Resync != "the digests of the stores differ" {
		t.Errorf("%+v", s)
	}
	store := map[string]file{"u/cur/a:2,S": text("a"), "u/cur/c:2,S": text("c")}
	p.serve(store, 10)
	f.holds(store)
	if f.m.Status().Proven {
		t.Error("proven without a mark")
	}
	mark(digest())
	p.until("proven again", func() bool { s := f.m.Status(); return s.Whole && s.Proven })
}
