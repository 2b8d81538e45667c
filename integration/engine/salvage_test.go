package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/mailtwin/mailtwin/integration/client"
	"github.com/mailtwin/mailtwin/integration/dovecot"
	"github.com/mailtwin/mailtwin/integration/tree"
	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/journal/vfs"
	"github.com/mailtwin/mailtwin/journal/watch"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
	"github.com/mailtwin/mailtwin/replicator/salvage"
)

// observed is a store that a Dovecot works on and a watcher journals.
type observed struct {
	t       testing.TB
	root    *beneath.Root
	catalog *catalog.Catalog
	journal *journal.Log
	watcher *watch.Watcher
	stop    func()
}

// observe begins to observe a store; its journal follows a place.
func observe(t testing.TB, dir string, after journal.Position, epoch journal.Epoch) *observed {
	t.Helper()
	o := &observed{t: t}
	var err error
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	o.root, err = beneath.Open(dir)
	must(err)
	o.catalog, err = catalog.Open(t.TempDir(), catalog.Options{})
	must(err)
	o.journal, err = journal.Create(vfs.OS(), t.TempDir(), after, journal.Options{Now: time.Now, Epoch: epoch})
	must(err)
	must(o.catalog.Update(func(tx *catalog.Tx) error { tx.SetPosition(o.journal.Head()); return nil }))
	o.watcher, err = watch.New(watch.Config{
		Root: o.root, Catalog: o.catalog, Journal: o.journal, Rules: mailstore.Maildir{}, Clock: systemClock{},
	})
	must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- o.watcher.Run(ctx) }()
	stopped := false
	o.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		must(<-done)
	}
	t.Cleanup(func() {
		o.stop()
		must(o.journal.Close())
		must(o.catalog.Close())
		must(o.root.Close())
	})
	return o
}

// until waits until so many messages are in the catalog and nothing is pending.
func (o *observed) until(messages int) {
	o.t.Helper()
	late := time.After(30 * time.Second)
	for {
		changed := o.watcher.Changed()
		if s := o.watcher.Status(); s.Phase == watch.PhaseWatching && s.Dirty+s.Waiting == 0 && o.messages() == messages {
			return
		}
		select {
		case <-changed:
		case <-time.After(20 * time.Millisecond):
		case <-late:
			o.t.Fatalf("%d messages, want %d: %+v", o.messages(), messages, o.watcher.Status())
		}
	}
}

func (o *observed) messages() (n int) {
	var walk func(t *catalog.Tx, p journal.Path) error
	walk = func(t *catalog.Tx, p journal.Path) error {
		return t.List(p, "", func(name string, it catalog.Item) error {
			if it.Facts.Type == journal.TypeDirectory {
				return walk(t, p.Join(name))
			}
			if _, _, _, ok := mailstore.Split(p.Join(name)); ok {
				n++
			}
			return nil
		})
	}
	if err := o.catalog.View(func(t *catalog.Tx) error { return walk(t, journal.Root) }); err != nil {
		o.t.Fatal(err)
	}
	return n
}

// TestSalvageForDovecot salvages between two stores that real Dovecots work on:
// what is salvaged has new UIDs there, and keeps its date, flags and keywords;
// what was there keeps all of it.
func TestSalvageForDovecot(t *testing.T) {
	dir := dovecot.StoreDir(t)
	const ann = "ann@example.org"
	mail := tree.NewWriter(7)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	deliver := func(s *dovecot.Server) {
		l, err := client.DialLMTP(t.Context(), s.LMTP)
		must(err)
		must(l.Deliver(bytes.NewReader(mail.Message(ann, 3000)), ann))
		must(l.Close())
	}
	take := func(s *dovecot.Server) []client.Message {
		snap, err := client.Take(s.IMAP, ann, dovecot.Password)
		must(err)
		i := slices.IndexFunc(snap.Mailboxes, func(b client.Mailbox) bool { return b.Name == "INBOX" })
		return snap.Mailboxes[i].Messages
	}
	first := dovecot.New(t, dovecot.Options{Store: dir + "/a"})
	for range 3 {
		deliver(first)
	}
	c, err := client.DialIMAP(first.IMAP, ann, dovecot.Password)
	must(err)
	_, err = c.Select("INBOX")
	must(err)
	must(c.AddFlags([]imap.UID{1}, imap.FlagSeen, "$Label1"))
	a := observe(t, dir+"/a", journal.Position{Epoch: 1}, 1)
	a.until(3)
	start := a.journal.Head()
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", dir+"/a", dir+"/b").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b := observe(t, dir+"/b", start, 2)
	b.until(3)

	second := dovecot.New(t, dovecot.Options{Store: dir + "/b"})
	deliver(second)
	deliver(first)
	at := time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)
	_, err = c.Append("INBOX", bytes.ReplaceAll(mail.Message(ann, 900), []byte("\n"), []byte("\r\n")), at, imap.FlagSeen, imap.FlagFlagged, "$Label1")
	must(err)
	_, err = c.Select("INBOX")
	must(err)
	must(c.AddFlags([]imap.UID{2}, imap.FlagAnswered))
	must(c.Close())
	ours := take(first)
	theirs := take(second)
	must(first.Stop())
	a.until(5)
	a.stop()
	b.until(4)

	socket := filepath.Join(dir, "s")
	listener, err := net.Listen("unix", socket)
	must(err)
	server := grpc.NewServer()
	salvage.NewServer(salvage.ServerConfig{
		Name: "mx2", Reign: salvage.Reign{Epoch: 2, Start: start, Whole: true}, Root: b.root, Catalog: b.catalog, Journal: b.journal,
		Rules: mailstore.Maildir{}, Log: hclog.NewNullLogger(), Dir: t.TempDir(),
		Peer: func(context.Context) (string, error) { return "mx1", nil },
	}).Register(server)
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(err)
	defer conn.Close()
	var told []string
	summary, err := salvage.Run(t.Context(), salvage.Config{
		Name: "mx1", Root: a.root, Catalog: a.catalog, Journal: a.journal, Rules: mailstore.Maildir{}, Log: hclog.NewNullLogger(),
		Now: time.Now, Epoch: 2, Reign: 1, Dir: t.TempDir(),
		Report: func(l salvage.Line) error { told = append(told, fmt.Sprintf("%+v", l)); return nil },
	}, conn)
	must(err)
	if summary.Outcomes[salvage.OutcomeDelivered] != 2 || summary.Outcomes[salvage.OutcomeSet] != 1 {
		t.Errorf("%+v\n%s", summary, strings.Join(told, "\n"))
	}
	b.until(6)
	after := take(second)
	if len(after) != 6 {
		t.Fatalf("%d messages, want 6", len(after))
	}
	byHash := make(map[[32]byte]client.Message)
	for _, m := range after {
		byHash[m.Hash] = m
	}
	for _, m := range theirs {
		if now := byHash[m.Hash]; now.UID != m.UID || !now.Received.Equal(m.Received) {
			t.Errorf("a message that was there: %+v, was %+v", now, m)
		}
	}
	newest := theirs[len(theirs)-1].UID
	for _, m := range ours {
		now, there := byHash[m.Hash]
		if !there || !slices.Equal(now.Flags, m.Flags) || !now.Received.Equal(m.Received) {
			t.Errorf("salvaged %+v, was %+v", now, m)
		}
		if m.UID > 3 && now.UID <= newest {
			t.Errorf("UID %d is not a new one", now.UID)
		}
	}
	if bad := second.Complaints(); len(bad) > 0 {
		t.Errorf("dovecot complains: %q", bad)
	}
	for _, m := range after {
		if slices.Contains(m.Flags, "\\Flagged") && !m.Received.Equal(at) {
			t.Errorf("INTERNALDATE %v, want %v", m.Received, at)
		}
	}
	if info, err := os.Stat(dir + "/b/example.org/ann/Maildir/cur"); err != nil || !info.IsDir() {
		t.Error(err)
	}
}
