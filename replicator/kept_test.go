package replicator

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailtwin/mailtwin/replicator/operator"
	"github.com/mailtwin/mailtwin/replicator/salvage"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// TestKeptNeedsAPerson: mail that nobody else has, and that could not be delivered, is
// told of until a person has seen to it, over restarts too.
func TestKeptNeedsAPerson(t *testing.T) {
	mx1, mx2 := fencedAfterPromotion(t, func(*testNode) {})
	c := mx1.c
	// A message in a mailbox where the new primary has another one of that name.
	mx1.write("u/Maildir/new/same", "Subject: mine\n\nbody\n")
	mx1.write("u/Maildir/subscriptions", "Work\n")
	mx2.write("u/Maildir/new/same", "Subject: yours\n\nbody\n")
	mx2.journaled()
	listed, err := mx1.n.Rejoin(t.Context(), operator.RejoinOptions{List: true}, &teller{})
	c.must(err)
	if listed.Outcomes[salvage.OutcomeKept] != 2 || mx1.n.Status().Kept != "" {
		t.Errorf("a look: %+v, %q", listed, mx1.n.Status().Kept)
	}
	_, err = mx1.n.Rejoin(t.Context(), operator.RejoinOptions{}, &teller{})
	c.must(err)
	mx2.inSync()
	mx2.equal(mx1)
	needed := func(d status.Document) bool {
		return d.State == status.Attention && strings.HasPrefix(d.Detail, "1 messages") && strings.Contains(d.Detail, "..mailtwin/history/1")
	}
	mx1.until("told what it has kept", needed)
	mx1.stop()
	mx1.start()
	mx1.until("still told", needed)
	found, err := mx1.n.Accept(operator.Accepting{OfKept: true})
	if err != nil || found.Kept == "" || mx1.n.Status().Kept == "" {
		t.Errorf("asked: %+v, %v", found, err)
	}
	_, err = mx1.n.Accept(operator.Accepting{OfKept: true, Kept: true})
	c.must(err)
	mx1.until("in sync", func(d status.Document) bool { return d.State == status.InSync })
	if data, err := os.ReadFile(filepath.Join(mx1.cfg.Store.Path, "..mailtwin/history/1/u/Maildir/new/same")); string(data) != "Subject: mine\n\nbody\n" {
		t.Errorf("it is not kept: %q, %v", data, err)
	}
}
