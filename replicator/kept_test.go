package replicator

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
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

// TestKeptOfSeveralRejoins: all of it is told, what was kept and has its flags set there
// too, and what a person has seen to is no more than what was told.
func TestKeptOfSeveralRejoins(t *testing.T) {
	mx1, _ := fencedAfterPromotion(t, func(*testNode) {})
	c := mx1.c
	keeps := func(reign journal.Epoch, lines ...salvage.Line) {
		t.Helper()
		c.must(os.MkdirAll(filepath.Join(mx1.cfg.Store.Path, string(mailstore.History(reign))), 0o700))
		k := &keeper{RejoinTeller: &teller{}, n: mx1.n}
		for _, l := range lines {
			c.must(k.Line(l))
		}
		c.must(k.note(reign))
	}
	keeps(1, salvage.Line{Outcome: salvage.OutcomeSet, Kept: true}, salvage.Line{Outcome: salvage.OutcomeSet})
	keeps(3, salvage.Line{Outcome: salvage.OutcomeDoubt, Kept: true}, salvage.Line{Outcome: salvage.OutcomeExpunged})
	words := mx1.n.Status().Kept
	if !strings.HasPrefix(words, "2 messages") || !strings.Contains(words, "..mailtwin/history/1, ..mailtwin/history/3") {
		t.Errorf("told: %q", words)
	}
	// The history of one is out of sight while a person accepts.
	at := filepath.Join(mx1.cfg.Store.Path, string(mailstore.History(3)))
	c.must(os.Rename(at, at+".away"))
	_, err := mx1.n.Accept(operator.Accepting{OfKept: true, Kept: true})
	c.must(err)
	c.must(os.Rename(at+".away", at))
	if words = mx1.n.Status().Kept; !strings.HasPrefix(words, "1 messages") || strings.Contains(words, "history/1") || !strings.Contains(words, "history/3") {
		t.Errorf("told then: %q", words)
	}
	_, err = mx1.n.Accept(operator.Accepting{OfKept: true, Kept: true})
	c.must(err)
	if words = mx1.n.Status().Kept; words != "" {
		t.Errorf("told in the end: %q", words)
	}
}
