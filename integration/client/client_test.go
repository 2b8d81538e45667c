package client

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"

	"github.com/mailtwin/mailtwin/integration/dovecot"
	"github.com/mailtwin/mailtwin/integration/tree"
)

const ann = "ann@example.org"

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// take is Take with GUIDs.
func take(t *testing.T, s *dovecot.Server) Snapshot {
	t.Helper()
	snap, err := Take(s.IMAP, ann, dovecot.Password)
	must(t, err)
	must(t, snap.AddGUIDs(t.Context(), s))
	return snap
}

// fill uses every command once.
func fill(t *testing.T, s *dovecot.Server) {
	t.Helper()
	mail := tree.NewWriter(1)
	l, err := DialLMTP(t.Context(), s.LMTP)
	must(t, err)
	for range 5 {
		must(t, l.Deliver(bytes.NewReader(mail.Message(ann, 2000)), ann))
	}
	must(t, l.Close())
	c, err := DialIMAP(s.IMAP, ann, dovecot.Password)
	must(t, err)
	for _, box := range []string{"Work", "Old", "Gone", "Work.Sub"} {
		must(t, c.Create(box))
	}
	must(t, c.Subscribe("Work"))
	must(t, c.Subscribe("Old"))
	must(t, c.Unsubscribe("Old"))
	at := time.Date(2020, 2, 3, 4, 5, 6, 0, time.FixedZone("", 3600))
	_, err = c.Append("Work", bytes.ReplaceAll(mail.Message(ann, 900), []byte("\n"), []byte("\r\n")), at, imap.FlagSeen, "$Label1")
	must(t, err)
	_, err = c.Select("INBOX")
	must(t, err)
	uids, err := c.UIDs()
	must(t, err)
	if len(uids) != 5 {
		t.Fatalf("%d messages, want 5", len(uids))
	}
	must(t, c.AddFlags(uids[:3], imap.FlagFlagged, "NonJunk"))
	must(t, c.RemoveFlags(uids[:1], "NonJunk"))
	must(t, c.SetFlags(uids[1:2], imap.FlagAnswered))
	must(t, c.Copy(uids[:2], "Work"))
	must(t, c.Move(uids[2:3], "Old"))
	must(t, c.Expunge(uids[3:4]))
	must(t, c.Rename("Old", "Older"))
	must(t, c.Delete("Gone"))
	must(t, c.Close())
}

func TestSnapshotOfEverything(t *testing.T) {
	s := dovecot.New(t, dovecot.Options{Store: dovecot.StoreDir(t)})
	fill(t, s)
	snap := take(t, s)
	counts := map[string]int{}
	for _, box := range snap.Mailboxes {
		counts[box.Name] = len(box.Messages)
	}
	for box, want := range map[string]int{"INBOX": 3, "Work": 3, "Older": 1, "Work.Sub": 0} {
		if got, ok := counts[box]; got != want || !ok {
			t.Errorf("%q has %d messages, want %d", box, got, want)
		}
	}
	if len(counts) != 4 {
		t.Errorf("mailboxes %v, want 4", counts)
	}
	if got := strings.Join(snap.Subscriptions, " "); got != "Work" {
		t.Errorf("subscriptions %q, want Work", got)
	}
	if d := Diff(snap, take(t, s), 10); len(d) != 0 {
		t.Errorf("two snapshots of one server differ: %q", d)
	}
}

func TestCopyOfAStoreCannotBeToldApart(t *testing.T) {
	dir := dovecot.StoreDir(t)
	s := dovecot.New(t, dovecot.Options{Store: dir + "/a"})
	fill(t, s)
	before := take(t, s)
	if out, err := exec.Command("cp", "-a", dir+"/a", dir+"/b").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	other := dovecot.New(t, dovecot.Options{Store: dir + "/b"})
	if d := Diff(before, take(t, other), 10); len(d) != 0 {
		t.Fatalf("the copy differs: %q", d)
	}
	c, err := DialIMAP(other.IMAP, ann, dovecot.Password)
	must(t, err)
	_, err = c.Select("Work")
	must(t, err)
	uids, err := c.UIDs()
	must(t, err)
	must(t, c.AddFlags(uids[:1], imap.FlagDraft))
	must(t, c.Close())
	d := Diff(before, take(t, other), 10)
	if len(d) != 1 || !strings.Contains(d[0], "Draft") {
		t.Errorf("%q, want the one flag that was changed", d)
	}
}
