package identity

import (
	"net"
	"slices"
	"testing"

	"github.com/mailtwin/mailtwin/replicator/sealedfile"
)

// TestClaims: the order is total, and the same for all who look at it.
func TestClaims(t *testing.T) {
	ordered := []Claim{ // each is beaten by all that follow
		{}, {0, "mx2"}, {0, "mx1"}, {1, ""}, {1, "mx9"}, {1, "mx10"}, {1, "mx1"}, {2, ""}, {2, "z"}, {1<<64 - 1, "a"},
	}
	for i, a := range ordered {
		for j, b := range ordered {
			if got := b.Beats(a); got != (j > i) {
				t.Errorf("%v beats %v: %v", b, a, got)
			}
		}
	}
}

func TestPeers(t *testing.T) {
	dir := t.TempDir()
	open := func() *Peers {
		t.Helper()
		p, err := OpenPeers(dir)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := open()
	if len(p.All()) != 0 || p.Address("mx1") != "" {
		t.Fatalf("somebody is known: %v", p.All())
	}
	for _, step := range []struct {
		do   func(Peer) error
		peer Peer
		want []Peer
	}{
		{p.Meet, Peer{"mx2", "b:1"}, []Peer{{"mx2", "b:1"}}},
		{p.Set, Peer{"mx1", "a:1"}, []Peer{{"mx1", "a:1"}, {"mx2", "b:1"}}},
		{p.Meet, Peer{"mx1", "hearsay:1"}, []Peer{{"mx1", "a:1"}, {"mx2", "b:1"}}},
		{p.Set, Peer{"mx2", "[::1]:2"}, []Peer{{"mx1", "a:1"}, {"mx2", "[::1]:2"}}},
	} {
		if err := step.do(step.peer); err != nil {
			t.Fatal(err)
		}
		if got := p.All(); !slices.Equal(got, step.want) {
			t.Fatalf("after %v: %v", step.peer, got)
		}
		if got := open().All(); !slices.Equal(got, step.want) {
			t.Fatalf("read again: %v", got)
		}
	}
	for _, bad := range []Peer{{"", "a:1"}, {"mx3", ""}, {"mx3", ":7"}, {"mx3", "a b:7"}, {"m\nx", "a:1"}} {
		if err := p.Set(bad); err == nil {
			t.Errorf("%v is remembered", bad)
		}
	}
	for c := 'a'; len(p.All()) < MaxPeers; c++ {
		if err := p.Meet(Peer{string(c), "x:1"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Meet(Peer{"one-more", "x:1"}); err == nil {
		t.Error("nothing bounds them")
	}
	if got := open().All(); len(got) != MaxPeers {
		t.Errorf("%d are read again", len(got))
	}
}

func TestReachable(t *testing.T) {
	from := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4711}
	for listen, want := range map[string]string{
		"":                     "",
		"nowhere":              "",
		":7420":                "192.0.2.7:7420",
		"0.0.0.0:7420":         "192.0.2.7:7420",
		"[::]:7420":            "192.0.2.7:7420",
		"127.0.0.1:1":          "127.0.0.1:1",
		"mx2.example.net:7420": "mx2.example.net:7420",
	} {
		if got := Reachable(listen, from); got != want {
			t.Errorf("%q from %v is reached at %q, not %q", listen, from, got, want)
		}
	}
	if got := Reachable(":7420", nil); got != "" {
		t.Errorf("from nowhere: %q", got)
	}
}

func FuzzPeers(f *testing.F) {
	f.Add("mx1 a.example:7420\nmx2 [::1]:7420\n")
	f.Add("")
	f.Fuzz(func(t *testing.T, content string) {
		list, err := parsePeers(content)
		if err != nil {
			return
		}
		again, _, err := sealedfile.Unseal(peersKind, peersVersion, formatPeers(list))
		if err != nil || again != content {
			t.Fatalf("%q is written %q, %v", content, again, err)
		}
	})
}
