package engine_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/replicator/operator"
	"github.com/mailtwin/mailtwin/replicator/status"
)

const day = 24 * time.Hour

// writeAged writes a message that came some time ago.
func (p *testPair) writeAged(path, content string, age time.Duration) {
	p.t.Helper()
	p.write(path, content)
	at := time.Now().Add(-age)
	if err := os.Chtimes(filepath.Join(p.primary.Store.Path, path), at, at); err != nil {
		p.t.Fatal(err)
	}
}

func (p *testPair) mirrorHas(path string) bool {
	p.t.Helper()
	_, err := os.Stat(filepath.Join(p.mirror.Store.Path, path))
	return err == nil
}

// pace changes the pace of the primary.
func (p *testPair) pace(change operator.PaceChange) {
	p.t.Helper()
	client, err := operator.Dial(p.primary.StateDir)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	if _, _, err := client.Pace(p.t.Context(), change); err != nil {
		p.t.Fatal(err)
	}
}

// oldMail fills mailboxes with old messages and one of late each, as before the
// first start of the primary, which is stopped; its pace will be slow.
func (p *testPair) oldMail(users, each int) (old, late []string) {
	p.t.Helper()
	p.stopPrimary()
	for u := range users {
		for i := range each {
			name := fmt.Sprintf("ex.org/u%02d/Maildir/cur/%d.M1P1.host:2,S", u, i)
			p.writeAged(name, fmt.Sprintf("Subject: old %d of %d\n\nbody\n", i, u), 100*day)
			old = append(old, name)
		}
		name := fmt.Sprintf("ex.org/u%02d/Maildir/new/9.M1P1.host", u)
		p.writeAged(name, fmt.Sprintf("Subject: late of %d\n\nbody\n", u), 2*day)
		late = append(late, name)
	}
	// What is there before the first scan is the first sync's, not live mail.
	for _, dir := range []string{"catalog", "journal"} {
		if err := os.RemoveAll(filepath.Join(p.primary.StateDir, dir)); err != nil {
			p.t.Fatal(err)
		}
	}
	p.primary.Pace.ReadsPerSecond = 20
	return old, late
}

// TestWhatIsWorthMostComesFirst: at each moment of a first sync the mail of the
// last days is there before any that is older, and what the operator wants is
// before both.
func TestWhatIsWorthMostComesFirst(t *testing.T) {
	p := newPair(t)
	old, late := p.oldMail(12, 25)
	p.primary.Sync.First = "ex.org/u07"
	p.start()
	p.startMirror()
	first := 0
	for _, name := range old {
		if strings.HasPrefix(name, "ex.org/u07/") {
			first++
		}
	}
	looks, half := 0, false
	p.until(p.primary, "in sync", func(d status.Document) bool {
		var olds, lates, wanted int
		for _, name := range old { // what is looked for first must not need what is looked for later
			switch {
			case !p.mirrorHas(name):
			case strings.HasPrefix(name, "ex.org/u07/"):
			default:
				olds++
			}
		}
		for _, name := range late {
			if p.mirrorHas(name) {
				lates++
			}
		}
		for _, name := range old {
			if strings.HasPrefix(name, "ex.org/u07/") && p.mirrorHas(name) {
				wanted++
			}
		}
		if olds > 0 && lates < len(late) {
			t.Fatalf("%d old messages are there, and only %d of %d of late", olds, lates, len(late))
		}
		if lates > 1 && wanted < first {
			t.Fatalf("%d messages of late are there, and only %d of %d that are wanted first", lates, wanted, first)
		}
		looks++
		half = half || olds > 0 && olds < len(old)-first
		if half {
			p.pace(operator.PaceChange{ReadsPerSecond: new(uint64)}) // no cap
		}
		return d.State == status.InSync
	})
	if !half {
		t.Logf("in %d looks the sync was never seen half done", looks)
	}
	p.equal()
}

// TestLiveMailOvertakesTheFirstSync: while the first sync stands still, new mail
// is durable on the mirror.
func TestLiveMailOvertakesTheFirstSync(t *testing.T) {
	p := newPair(t)
	old, late := p.oldMail(4, 100)
	p.start()
	p.until(p.primary, "scanned", func(d status.Document) bool {
		return d.Store.State == "watching" && d.Store.Files >= uint64(len(old)+len(late))
	})
	held := true
	p.pace(operator.PaceChange{Paused: &held})
	p.startMirror()
	p.until(p.primary, "copying", func(d status.Document) bool {
		return len(d.Mirrors) > 0 && d.Mirrors[0].State == status.Syncing && d.Mirrors[0].FilesLeft > 0
	})
	const live = 20
	for i := range live {
		p.write(fmt.Sprintf("ex.org/u03/Maildir/new/live%d.M1P1.host", i), "Subject: live\n\nnow\n")
	}
	p.until(p.mirror, "applied", func(status.Document) bool {
		for i := range live {
			if !p.mirrorHas(fmt.Sprintf("ex.org/u03/Maildir/new/live%d.M1P1.host", i)) {
				return false
			}
		}
		return true
	})
	for _, name := range old {
		if p.mirrorHas(name) {
			t.Fatalf("%s is there: the first sync did not stand still", name)
		}
	}
	held = false
	p.pace(operator.PaceChange{Paused: &held, ReadsPerSecond: new(uint64)})
	p.inSync()
	p.equal()
}

// TestMailboxesOfBothNodes: both say the same of what the mirror lacks.
func TestMailboxesOfBothNodes(t *testing.T) {
	p := newPair(t)
	p.oldMail(3, 5)
	p.start()
	p.startMirror()
	p.inSync()
	p.equal()
	for _, cfg := range []struct{ stateDir string }{{p.primary.StateDir}, {p.mirror.StateDir}} {
		client, err := operator.Dial(cfg.stateDir)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = client.Close() }()
		doc, _, err := client.Mailboxes(t.Context(), "", 2)
		if err != nil {
			t.Fatal(err)
		}
		if doc.Primary != "mx1" || doc.Mirror != "mx2" || doc.Total.Messages != 18 || doc.Total.Complete != 3 || doc.Total.Proven != 3 ||
			len(doc.Users) != 2 || doc.UsersOmitted != 1 || len(doc.Domains) != 1 || doc.Domains[0].Name != "ex.org" {
			t.Errorf("%+v", doc)
		}
		if _, _, err := client.Mailboxes(t.Context(), "a/../b", 2); err == nil {
			t.Error("a path that leads out of the store is accepted")
		}
	}
}
