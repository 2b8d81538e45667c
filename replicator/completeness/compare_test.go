package completeness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/mailboxes"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// newCatalog makes a catalog of files of 10 bytes; those with a ? are missing.
func newCatalog(t *testing.T, files ...string) *catalog.Catalog {
	t.Helper()
	c, err := catalog.Open(t.TempDir(), catalog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.Update(func(tx *catalog.Tx) error {
		for _, p := range files {
			name, missing := strings.CutSuffix(p, "?")
			it := catalog.Item{Facts: journal.Facts{Type: journal.TypeFile, Size: 10, Content: journal.ContentID{1}}, Missing: missing}
			if err := tx.Put(journal.Path(name), it); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return c
}

// own lists a catalog of a store that was looked at as a whole.
func own(c *catalog.Catalog) List { return scanning(c, "", false) }

// scanning lists a catalog whose first scan has come to a place.
func scanning(c *catalog.Catalog, reached journal.Path, goesOn bool) List {
	return Own(c, func() (journal.Path, bool, error) { return reached, goesOn, nil })
}

// remote lists by way of a connection.
func remote(t *testing.T, list List) List {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	NewServer(list, func(context.Context) (string, error) { return "mx2", nil }).Register(server)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return Of(conn)
}

func words(holdings []status.Holding) (out []string) {
	for _, h := range holdings {
		out = append(out, fmt.Sprintf("%s %d/%d %d/%d proven %d", h.Name, h.Here, h.Messages, h.Complete, h.Mailboxes, h.Proven))
	}
	return out
}

// TestCompare: what is lacking is told for each mailbox, user and domain, and
// what only the mirror has is not.
func TestCompare(t *testing.T) {
	primary := newCatalog(t,
		"ex.org/anna/cur/1", "ex.org/anna/cur/2", "ex.org/anna/.Sent/cur/1", "ex.org/bert/new/1", "ex.org/bert/cur/2", "ex.org/bert/cur/3",
		"ex.net/cleo/Maildir/cur/1", "ex.net/dora/cur/1")
	mirror := newCatalog(t,
		"ex.org/anna/cur/1", "ex.org/anna/cur/2", "ex.org/bert/new/1", "ex.org/bert/cur/2?", "ex.org/bert/cur/3?",
		"ex.net/cleo/Maildir/cur/1", "ex.net/dora/cur/1:2,S", "ex.com/gone/cur/1", "z/cur/1")
	var out status.Mailboxes
	if err := Compare(t.Context(), own(primary), remote(t, own(mirror)), journal.Root, mailstore.Users{}, 100, &out); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ got, want []string }{
		{words([]status.Holding{out.Total}), []string{" 5/8 3/5 proven 2"}},
		{words(out.Domains), []string{"ex.org 3/6 1/3 proven 1", "ex.net 2/2 2/2 proven 1"}},
		{words(out.Users), []string{
			"bert@ex.org 1/3 0/1 proven 0", "anna@ex.org 2/3 1/2 proven 1", "dora@ex.net 1/1 1/1 proven 0", "cleo@ex.net 1/1 1/1 proven 1",
		}},
		{words(out.Mailboxes), []string{
			"ex.org/bert 1/3 0/1 proven 0", "ex.org/anna/.Sent 0/1 0/1 proven 0", "ex.net/dora 1/1 1/1 proven 0",
			"ex.net/cleo/Maildir 1/1 1/1 proven 1", "ex.org/anna 2/2 1/1 proven 1",
		}},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("got  %q\nwant %q", c.got, c.want)
		}
	}
	out = status.Mailboxes{}
	if err := Compare(t.Context(), remote(t, own(primary)), own(mirror), "ex.org", mailstore.Users{}, 1, &out); err != nil {
		t.Fatal(err)
	}
	if got := words(out.Mailboxes); !slices.Equal(got, []string{"ex.org/bert 1/3 0/1 proven 0"}) || out.MailboxesOmitted != 2 || out.Total.Messages != 6 {
		t.Errorf("beneath ex.org one is %q, %d omitted of %+v", got, out.MailboxesOmitted, out.Total)
	}
}

// TestComparePages: many mailboxes come in many pages, in the same order from
// both.
func TestComparePages(t *testing.T) {
	var files []string
	for i := range 2*pageBoxes + 10 {
		files = append(files, fmt.Sprintf("ex.org/u%d/cur/1", i))
	}
	primary, mirror := newCatalog(t, files...), newCatalog(t, files[:pageBoxes+7]...)
	var out status.Mailboxes
	if err := Compare(t.Context(), own(primary), remote(t, own(mirror)), journal.Root, mailstore.Users{}, 5, &out); err != nil {
		t.Fatal(err)
	}
	if out.Total.Complete != pageBoxes+7 || out.Total.Mailboxes != 2*pageBoxes+10 || len(out.Users) != 5 || out.UsersOmitted != 2*pageBoxes+5 {
		t.Errorf("%+v, %d users, %d omitted", out.Total, len(out.Users), out.UsersOmitted)
	}
}

// TestComparePaths: the order is that of a walk.
func TestComparePaths(t *testing.T) {
	order := []journal.Path{".", "a", "a/b", "a/b/c", "a.b", "a.b/c", "b"}
	for i, a := range order {
		for j, b := range order {
			if got := comparePaths(a, b); (got < 0) != (i < j) || (got == 0) != (i == j) {
				t.Errorf("%q and %q: %d", a, b, got)
			}
		}
	}
}

func TestCompareSaysWhatFailed(t *testing.T) {
	broken := errors.New("broken")
	fails := func(context.Context, journal.Path, mailboxes.Place) (Page, error) {
		return Page{}, broken
	}
	full := own(newCatalog(t, "a/cur/1"))
	for _, lists := range [][2]List{{fails, full}, {full, fails}} {
		if err := Compare(t.Context(), lists[0], lists[1], journal.Root, mailstore.Users{}, 1, &status.Mailboxes{}); !errors.Is(err, broken) {
			t.Errorf("%v", err)
		}
	}
}

// TestCompareInTheFirstScan: what the primary does not know as a whole is not taken
// for complete, though all that it knows is on the mirror, and it is told that there
// may be more.
func TestCompareInTheFirstScan(t *testing.T) {
	primary := newCatalog(t, "a/anna/cur/1", "b/bert/cur/1", "z/zoe/cur/1") // the last two by deliveries
	mirror := newCatalog(t, "a/anna/cur/1", "z/zoe/cur/1")
	for _, c := range []struct {
		reached journal.Path
		goesOn  bool
		want    string
	}{
		{"", true, " 0/0 0/0 proven 0"},
		{"a/anna/cur", true, " 0/0 0/0 proven 0"},
		{"b/bert/cur", true, " 1/1 1/1 proven 1"},
		{"z/zoe", true, " 1/2 1/2 proven 1"},
		{"", false, " 2/3 2/3 proven 2"},
	} {
		list := scanning(primary, c.reached, c.goesOn)
		for from, list := range map[string]List{"itself": list, "the mirror": remote(t, list)} {
			var out status.Mailboxes
			err := Compare(t.Context(), list, own(mirror), journal.Root, mailstore.Users{}, 5, &out)
			if got := words([]status.Holding{out.Total})[0]; err != nil || got != c.want || out.FirstScan != c.goesOn {
				t.Errorf("at %q, asked by %s: %q, want %q; first scan: %t, %v", c.reached, from, got, c.want, out.FirstScan, err)
			}
		}
	}
}
