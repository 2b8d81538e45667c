package integration

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/integration/faultfs"
	"github.com/mailtwin/mailtwin/integration/pair"
)

// dying is a pair whose primary's array can be made to fail. Both have some mail
// of two users.
func dying(t *testing.T) (p *pair.Pair, store string, array *faultfs.FS) {
	t.Helper()
	store, array = faulty(t)
	deliverTo(t, store, "example.org/ann", 10, 3_000)
	deliverTo(t, store, "example.org/bob", 10, 3_000)
	p = pair.New(t, pair.Options{Binary: binary(t), PrimaryStore: store, Profile: pair.Unbound})
	p.MustBeEqual(t, time.Minute)
	return p, store, array
}

// returns waits until a node that was the primary knows that it is none any more,
// and makes it a mirror.
func returns(t *testing.T, n *pair.Node) {
	t.Helper()
	role := func(want string) {
		t.Helper()
		eventually(t, time.Minute, n.Name+" is "+want, func() bool {
			s, err := n.Status(t.Context())
			return err == nil && s.Role == want
		})
	}
	role("fenced")
	_, err := n.Run(t.Context(), "rejoin", "--yes")
	must(t, err)
	role("mirror")
}

// messages returns the names in the new of a user.
func messages(t *testing.T, store, user string) map[string]bool {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(store, user, "Maildir/new"))
	must(t, err)
	names := make(map[string]bool)
	for _, e := range entries {
		names[e.Name()] = true
	}
	return names
}

// TestSomeDirectoriesFail: mail in a directory that gives errors is lost by a
// failover, and the report names its mailbox; that of another user is not. What is
// there when the array is repaired comes back with the former primary.
func TestSomeDirectoriesFail(t *testing.T) {
	p, store, array := dying(t)
	const ann = "example.org/ann/Maildir"
	array.Fail(faultfs.Read, ann+"/new/1700000010.M1P1.mx1")
	deliverTo(t, store, "example.org/ann", 11, 2_000)
	deliverTo(t, store, "example.org/bob", 12, 2_000)
	eventually(t, time.Minute, "the primary says what it cannot read", func() bool {
		d, _ := document(t, p.Primary)
		return d.Store.Unreadable > 0
	})
	// The store can be written, but not all of it can be read: nothing is proven.
	if out, err := p.Mirror.Run(t.Context(), "failover", "--yes", "--json"); err == nil {
		t.Fatalf("switched over, though there is mail that was never read: %s", out)
	}
	if s, err := p.Primary.Status(t.Context()); err != nil || s.Role != "primary" {
		t.Fatalf("after a switchover that was refused: %s, %v", s.Document, err)
	}
	l := failover(t, p.Mirror, 0, "--yes", "--force").Loss
	if l.Nothing || len(l.Boxes) != 1 || l.Boxes[0].Mailbox != ann {
		t.Errorf("the report names %+v, want %s: %q", l.Boxes, ann, l.Words)
	}
	if got := messages(t, p.Mirror.Store, "example.org/bob"); len(got) != 12 {
		t.Errorf("bob has %d messages, want 12", len(got))
	}
	array.Heal()
	returns(t, p.Primary)
	eventually(t, time.Minute, "ann has all her mail", func() bool {
		entries, err := os.ReadDir(filepath.Join(p.Mirror.Store, ann, "new"))
		return err == nil && len(entries) == 11
	})
}

// TestArrayThatHangs: reads that are never answered do not keep the mirror from
// being promoted, and when the array answers again its node is fenced, and loses
// nothing of what it had.
func TestArrayThatHangs(t *testing.T) {
	t.Parallel() // it waits, most of the time
	p, store, array := dying(t)
	array.Hang()
	// Whoever delivers waits, too, with the message in his hands.
	delivered := make(chan error, 1)
	go func() {
		late := filepath.Join(store, "example.org/ann/Maildir")
		tmp := filepath.Join(late, "tmp/late.M1P1.mx1")
		delivered <- errors.Join(os.WriteFile(tmp, []byte("Subject: late\n\nlate\n"), 0o600), os.Rename(tmp, filepath.Join(late, "new/late.M1P1.mx1")))
	}()
	result := failover(t, p.Mirror, 0, "--yes")
	t.Logf("%s in %.1f s: %q", result.Kind, result.Seconds, result.Loss.Words)
	if result.Kind != "evacuation" || result.Loss.Nothing {
		t.Errorf("%s: %q", result.Kind, result.Loss.Words)
	}
	for _, user := range []string{"example.org/ann", "example.org/bob"} {
		if got := messages(t, p.Mirror.Store, user); len(got) != 10 {
			t.Errorf("%s has %d messages, want 10", user, len(got))
		}
	}
	array.Heal()
	must(t, <-delivered)
	returns(t, p.Primary)
	eventually(t, time.Minute, "the late message came over", func() bool {
		for name := range messages(t, p.Mirror.Store, "example.org/ann") {
			text, err := os.ReadFile(filepath.Join(p.Mirror.Store, "example.org/ann/Maildir/new", name))
			if err == nil && strings.Contains(string(text), "Subject: late") {
				return true
			}
		}
		return false
	})
}
