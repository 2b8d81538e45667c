package site

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"

	"github.com/mailtwin/mailtwin/integration/dovecot"
	"github.com/mailtwin/mailtwin/integration/hosts"
	"github.com/mailtwin/mailtwin/integration/ledger"
	"github.com/mailtwin/mailtwin/integration/tree"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wrong checks that the check finds one thing, with these words; nothing
// without words.
func wrong(t *testing.T, s *Site, words string) {
	t.Helper()
	v, err := s.Check(t.Context(), true)
	must(t, err)
	if words == "" && len(v.Wrong) != 0 || words != "" && (len(v.Wrong) != 1 || !strings.Contains(v.Wrong[0], words)) {
		t.Errorf("%q, want one with %q", v.Wrong, words)
	}
}

// fileOf returns the message with a token in a directory, and what is in it.
func fileOf(t *testing.T, dir string, token ledger.Token) (path string, data []byte) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Base(filepath.Dir(p)) != "cur" {
			return err
		}
		content, err := os.ReadFile(p)
		if bytes.Contains(content, []byte(ledger.Header+": "+string(token)+"\n")) {
			path, data = p, content
		}
		return err
	}))
	if path == "" {
		t.Fatalf("message %s is not in %q", token, dir)
	}
	return path, data
}

// TestDoctoredMail lets a real mail server lose, double and resurrect a
// message, and give one another UID: each is found.
func TestDoctoredMail(t *testing.T) {
	hosts.Need(t)
	dovecot.Need(t)
	s, err := New(t.Context(), Options{Names: []string{"mx1"}})
	t.Cleanup(func() { must(t, s.Close()) })
	must(t, err)
	m := s.Machines["mx1"]
	must(t, m.StartMail(t.Context()))
	user, mail := User(0), tree.NewWriter(1)
	for range 5 {
		must(t, s.Deliver(t.Context(), service(dovecot.LMTPPort), user, mail, 1000))
	}
	must(t, s.FetchCopies(t.Context()))
	boxes, err := s.Look(t.Context(), service(dovecot.IMAPPort), user)
	must(t, err)
	if shown := s.Ledger.Seen(boxes[0], false); len(boxes) != 1 || len(boxes[0].Entries) != 5 || len(shown) != 0 {
		t.Fatalf("%+v, %q", boxes, shown)
	}
	wrong(t, s, "")

	entries := boxes[0].Entries
	owner := func(path string) {
		uid, gid, err := dovecot.Owner()
		must(t, err)
		must(t, os.Chown(path, uid, gid))
	}
	// A message is lost, and comes back.
	path, data := fileOf(t, m.Node.Store, entries[1].Token)
	info, err := os.Stat(path)
	must(t, err)
	must(t, os.Rename(path, filepath.Join(m.Array.Path, "lost")))
	wrong(t, s, "is lost")
	must(t, os.Rename(filepath.Join(m.Array.Path, "lost"), path))
	// Dovecot has forgotten it meanwhile, so it has another UID now.
	wrong(t, s, "had UID 2 in INBOX, and has 6 now")
	// A message is there twice.
	twin := filepath.Join(filepath.Dir(path), "1.twin")
	must(t, os.WriteFile(twin, data, 0o600))
	must(t, os.Chtimes(twin, info.ModTime(), info.ModTime()))
	owner(twin)
	v, err := s.Check(t.Context(), true)
	must(t, err)
	if !strings.Contains(strings.Join(v.Wrong, "\n"), "is there 2 times") {
		t.Errorf("%q, want a doubled message", v.Wrong)
	}
	must(t, os.Remove(twin))
	// A message is expunged, and comes back.
	path, data = fileOf(t, m.Node.Store, entries[4].Token)
	i, _, err := s.session(t.Context(), service(dovecot.IMAPPort), user, longPatience)
	must(t, err)
	_, err = i.Select("INBOX")
	must(t, err)
	asked := s.Ledger.Expunge(entries[4].Token)
	must(t, i.Expunge([]imap.UID{imap.UID(entries[4].UID)}))
	asked.Done()
	must(t, i.Close())
	wrong(t, s, "had UID 2")
	must(t, os.WriteFile(path, data, 0o600))
	must(t, os.Chtimes(path, time.Time{}, entries[4].Received))
	owner(path)
	v, err = s.Check(t.Context(), true)
	must(t, err)
	if !strings.Contains(strings.Join(v.Wrong, "\n"), "was expunged and is back") {
		t.Errorf("%q, want a message that is back", v.Wrong)
	}
	must(t, os.Remove(path))
	// The client that keeps copies is told of all that.
	found, err := s.CatchUp(t.Context())
	must(t, err)
	if len(found) != 0 {
		t.Errorf("%q", found)
	}
}

// TestNobodyIsServedAfterTheStop stops a mail server that has a client who is busy:
// Dovecot itself would let him go on for half a minute.
func TestNobodyIsServedAfterTheStop(t *testing.T) {
	hosts.Need(t)
	dovecot.Need(t)
	s, err := New(t.Context(), Options{Names: []string{"mx1"}})
	t.Cleanup(func() { must(t, s.Close()) })
	must(t, err)
	m := s.Machines["mx1"]
	must(t, m.StartMail(t.Context()))
	i, _, err := s.session(t.Context(), service(dovecot.IMAPPort), User(0), longPatience)
	must(t, err)
	busy := make(chan struct{})
	go func() {
		defer close(busy)
		for {
			if _, err := i.Select("INBOX"); err != nil {
				return
			}
		}
	}()
	must(t, m.StopMail(t.Context()))
	pids, err := m.Processes(t.Context())
	must(t, err)
	for _, pid := range pids {
		if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil && string(name) != "arping\n" {
			t.Errorf("process %d is left, %s", pid, name)
		}
	}
	<-busy
	_ = i.Hangup() // nobody answers any more
}

// TestLocksOfAServerThatIsGone removes what a power cut leaves of a Dovecot
// that was just writing, and nothing else.
func TestLocksOfAServerThatIsGone(t *testing.T) {
	store := t.TempDir()
	dir := filepath.Join(store, "example.org", "ann", "Maildir", ".x.lock")
	must(t, os.MkdirAll(dir, 0o755))
	names := []string{
		"dovecot-uidlist", "dovecot-uidlist.lock", "dovecot.index.log", "dovecot.index.log.newlock",
		"dovecot.list.index.log.newlock", "subscriptions.lock",
	}
	for _, name := range names {
		must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	must(t, removeLocks(store))
	entries, err := os.ReadDir(dir)
	must(t, err)
	if len(entries) != 2 || entries[0].Name() != "dovecot-uidlist" || entries[1].Name() != "dovecot.index.log" {
		t.Errorf("%v is left, want the two that are no locks", entries)
	}
}
