package replicator

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mailtwin/mailtwin/replicator/failover"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// promotion runs the command on a node, as somebody does who agrees to the plan.
func (m *testNode) promotion(force bool) error {
	plan, err := m.n.promoter.Plan(m.c.t.Context())
	m.c.must(err)
	_, err = m.n.promoter.Run(m.c.t.Context(), failover.Request{Confirmed: plan.Confirm(), Force: force}, func(failover.Event) {})
	return err
}

// unfit makes sure that a node is not promoted, by force neither, for a reason of its
// own store, and that the dry run says so.
func (m *testNode) unfit(why string) {
	m.c.t.Helper()
	dry, err := m.n.promoter.DryRun(m.c.t.Context(), func(string) {})
	m.c.must(err)
	at := slices.IndexFunc(dry.Checks, func(c failover.Check) bool { return c.Name == "own store" })
	if at < 0 || dry.Checks[at].Verdict != failover.Bad || !strings.Contains(dry.Checks[at].Detail, why) {
		m.c.t.Errorf("the dry run does not say %q: %+v", why, dry.Checks)
	}
	for _, force := range []bool{false, true} {
		if err := m.promotion(force); !errors.Is(err, failover.ErrStore) || !strings.Contains(err.Error(), why) {
			m.c.t.Errorf("force %v: %v, want %q", force, err, why)
		}
	}
	if s := m.n.state(); s.Role != identity.Mirror || s.Promised != (identity.Claim{}) {
		m.c.t.Errorf("after it was refused: %+v", s)
	}
}

// A mirror whose store is not mounted is promoted by nobody: a mail server on the empty
// directory that is left would have all clients drop their copies. When it is mounted,
// the same command promotes it.
func TestMirrorWhoseStoreIsNotMountedIsNotPromoted(t *testing.T) {
	c := newCluster(t, "mx1", "mx2")
	mx1, mx2 := c.nodes["mx1"], c.nodes["mx2"]
	store := mx2.cfg.Store.Path
	mx2.stop()
	c.must(os.Rename(store, store+".unmounted"))
	mx2.start()
	mx2.unfit("the store cannot be opened")
	plan, err := mx2.n.promoter.Plan(t.Context())
	c.must(err)
	if words := strings.Join(append(plan.Refusals, plan.Loss.Words...), "\n"); strings.Contains(words, "initial sync") {
		t.Errorf("of what is not known it is said: %s", words)
	}

	c.must(os.Mkdir(store, 0o700))
	mx2.until("told", func(d status.Document) bool {
		return d.Primary != nil && strings.Contains(d.Primary.Detail, "is it not mounted?")
	})
	mx2.unfit("is it not mounted?")
	if hooks := mx1.ran(); len(hooks) > 0 || mx1.n.state().Sealed {
		t.Errorf("the primary was not left alone: %q, %+v", hooks, mx1.n.state())
	}

	mx1.stop()
	mx2.unfit("is it not mounted?")
	if left, err := os.ReadDir(store); err != nil || len(left) > 0 {
		t.Errorf("in the directory that is not the store: %v, %v", left, err)
	}
	c.must(os.Remove(store))
	c.must(os.Rename(store+".unmounted", store))
	c.must(mx2.promotion(false))
	if !mx2.has("u/Maildir/cur/first.M1P1.host:2,S") {
		t.Error("the mail is not there")
	}
}

// One that runs while its store is taken away is not promoted either.
func TestMirrorWhoseStoreVanishesIsNotPromoted(t *testing.T) {
	c := newCluster(t, "mx1", "mx2")
	mx2 := c.nodes["mx2"]
	store := mx2.cfg.Store.Path
	c.must(os.Rename(store, store+".unmounted"))
	mx2.unfit("no such file or directory")
	c.must(os.Mkdir(store, 0o700))
	mx2.unfit("is it not mounted?")
}

// A mirror that cannot write its store is not promoted.
func TestMirrorWhoseStoreCannotBeWrittenIsNotPromoted(t *testing.T) {
	c := newCluster(t, "mx1", "mx2")
	mx1, mx2 := c.nodes["mx1"], c.nodes["mx2"]
	staging := mx2.cfg.Store.Path + "/..mailtwin"
	c.must(os.Rename(staging, staging+".kept"))
	c.must(os.WriteFile(staging, nil, 0o600)) // which is in the way of what is written
	mx2.unfit("it cannot be written and read")
	c.must(os.Remove(staging))
	c.must(os.Rename(staging+".kept", staging))
	mx1.stop()
	c.must(mx2.promotion(false))
}

// Of a mirror whose store was just opened it is known why nothing is known of it: else
// it would be taken for one that has nothing.
func TestMirrorThatIsAboutToFollowSaysSo(t *testing.T) {
	n := &node{} // as it is left by openStore
	if why := n.notFollowing(errors.New("no mirror")); why != "the daemon is starting" {
		t.Errorf("%q", why)
	}
	n.waiting = "the role is changing"
	if why := n.notFollowing(errors.New("no mirror")); why != n.waiting {
		t.Errorf("%q", why)
	}
}

// A store that was replaced on purpose is promoted without the primary when the catalog
// of the old one is put away.
func TestMirrorWhoseStoreWasReplacedIsPromotedWithoutItsCatalog(t *testing.T) {
	c := newCluster(t, "mx1", "mx2")
	mx1, mx2 := c.nodes["mx1"], c.nodes["mx2"]
	store, cat := mx2.cfg.Store.Path, filepath.Join(mx2.cfg.StateDir, "catalog")
	mx1.stop()
	mx2.stop()
	c.must(os.Rename(store, store+".old"))
	c.must(os.CopyFS(store, os.DirFS(store+".old")))
	mx2.start()
	mx2.until("following", func(status.Document) bool { return mx2.n.current() != nil })
	mx2.unfit("is it not mounted?")
	plan, err := mx2.n.promoter.Plan(t.Context())
	c.must(err)
	if !strings.Contains(plan.Unfit, "move the directory catalog out of its state directory") {
		t.Errorf("it does not say what to do: %v", plan.Fit())
	}

	mx2.stop()
	c.must(os.Rename(cat, cat+".old"))
	mx2.start()
	mx2.until("following", func(status.Document) bool { return mx2.n.current() != nil })
	plan, err = mx2.n.promoter.Plan(t.Context())
	c.must(err)
	if words := strings.Join(plan.Loss.Words, "\n"); plan.Loss.Nothing || !strings.Contains(words, "The initial sync was not finished") {
		t.Errorf("it is not said that the mail was never compared: %s", words)
	}
	c.must(mx2.promotion(false))
	if !mx2.has("u/Maildir/cur/first.M1P1.host:2,S") {
		t.Error("the mail is not there")
	}
	mx1.start()
	mx1.until("fenced", func(d status.Document) bool { return d.Role == string(identity.Fenced) })
}
