package replicator

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/journal/watch"
	"github.com/mailtwin/mailtwin/replicator/operator"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// TestMissingIsAccepted: what never came to a node before it was promoted needs
// attention until a person gives it up; then it is gone on the mirror too.
func TestMissingIsAccepted(t *testing.T) {
	c := newCluster(t, "mx1", "mx2", "mx3")
	mx1, mx2, mx3 := c.nodes["mx1"], c.nodes["mx2"], c.nodes["mx3"]
	mx2.until("acquainted", func(d status.Document) bool { return len(d.Peers) == 2 })
	if _, err := mx2.n.Accept(operator.Accepting{Missing: true}); err == nil {
		t.Error("a mirror gives up what its primary has")
	}
	mx1.stop()
	_, err := mx2.n.stopFollowing(t.Context())
	c.must(err)
	lost := journal.Path("u/Maildir/cur/lost.M1P1.host:2,S")
	c.must(mx2.n.catalog.UpdateDurably(func(tx *catalog.Tx) error {
		return tx.Put(lost, catalog.Item{Missing: true, Facts: journal.Facts{
			Type: journal.TypeFile, Size: 4, Content: journal.ContentID{1}, Attr: journal.Attributes{Mode: 0o600, MTime: 1},
		}})
	}))
	mx2.promote()
	mx2.n.crownAll(t.Context())
	mx2.until("in need of a person", func(d status.Document) bool {
		return d.Store.State == "watching" && d.Store.Missing == 1 && d.State.ExitCode() >= 2
	})
	a, err := mx2.n.Accept(operator.Accepting{})
	if err != nil || a.Missing != 1 || len(a.MissingFiles) != 1 || a.MissingFiles[0] != string(lost) {
		t.Errorf("to be accepted: %+v, %v", a, err)
	}
	if d := mx2.n.Status(); d.Store.Missing != 1 {
		t.Error("to look has given it up")
	}
	_, err = mx2.n.Accept(operator.Accepting{Missing: true})
	c.must(err)
	mx2.until("without it", func(d status.Document) bool { return d.Store.Missing == 0 })
	mx3.until("without it", func(d status.Document) bool {
		return d.Primary != nil && d.Primary.Name == "mx2" && d.Primary.Connected && d.Store.Missing == 0
	})
	mx2.inSync()
	mx2.equal(mx3)
}

// TestDoubtsAreAccepted: a directory that is not what it was needs a person on both
// nodes, until it is accepted; then what was in it is gone on the mirror too.
func TestDoubtsAreAccepted(t *testing.T) {
	c := newCluster(t, "mx1", "mx2")
	mx1, mx2 := c.nodes["mx1"], c.nodes["mx2"]
	older := filepath.Join(t.TempDir(), "older")
	c.must(os.Mkdir(older, 0o700))
	mx1.write("u/Maildir/.Old/cur/1.M1P1.host:2,S", "one")
	mx1.write("v/Maildir/cur/1.M1P1.host:2,S", "two")
	mx2.until("in possession of both", func(status.Document) bool {
		return mx2.has("u/Maildir/.Old/cur/1.M1P1.host:2,S") && mx2.has("v/Maildir/cur/1.M1P1.host:2,S")
	})
	mx1.inSync()
	folder := filepath.Join(mx1.cfg.Store.Path, "u/Maildir/.Old/cur")
	c.must(unix.Renameat2(unix.AT_FDCWD, older, unix.AT_FDCWD, folder, unix.RENAME_EXCHANGE)) // it is never absent
	inDoubt := func(d status.Document) bool {
		return d.State == status.Attention && strings.Contains(d.Detail, "u/Maildir/.Old/cur") && strings.Contains(d.Detail, "older and empty") &&
			!d.Loss.Known && strings.Contains(d.Loss.Words, "u/Maildir/.Old/cur")
	}
	mx1.until("in doubt", func(d status.Document) bool { return inDoubt(d) && len(d.Store.Doubtful) == 1 })
	mx2.until("in doubt", inDoubt)
	if !mx2.has("u/Maildir/.Old/cur/1.M1P1.host:2,S") {
		t.Error("the mirror has lost what is in doubt")
	}
	a, err := mx1.n.Accept(operator.Accepting{})
	if err != nil || !strings.Contains(a.Store, "u/Maildir/.Old/cur") {
		t.Errorf("to be accepted: %+v, %v", a, err)
	}
	_, err = mx1.n.Accept(operator.Accepting{Store: true})
	c.must(err)
	mx2.until("without it", func(d status.Document) bool {
		return d.State == status.InSync && !mx2.has("u/Maildir/.Old/cur/1.M1P1.host:2,S")
	})
	mx1.inSync()
	mx1.equal(mx2)
}

// TestAllThatIsAcceptedIsTold: accepting a store that is suspended accepts what was
// held back before, too.
func TestAllThatIsAcceptedIsTold(t *testing.T) {
	s := watch.Status{
		Suspended:  "another array",
		Doubtful:   []watch.Doubt{{Path: "domain", Reason: "not mounted"}},
		Unreadable: []watch.Unreadable{{Path: "u/cur/1.h:2,", Rewritten: true}, {Path: "u/cur/2.h:2,"}},
	}
	said := inDoubt(s)
	for _, want := range []string{"another array", "domain", "not mounted", "1 messages", "u/cur/1.h:2,"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not told: %q", want, said)
		}
	}
	if said := inDoubt(watch.Status{}); said != "" {
		t.Errorf("of nothing: %q", said)
	}
}
