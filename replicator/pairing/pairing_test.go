package pairing

import (
	"context"
	"errors"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/identity"
)

// nobodyJoins is a node that others could join.
type nobodyJoins struct{}

func (nobodyJoins) MayJoin() error                                          { return nil }
func (nobodyJoins) Enrolled(context.Context, identity.Peer) []identity.Peer { return nil }

// fakeNode answers as it is told to.
type fakeNode struct {
	mu     sync.Mutex
	caller Caller
	claims []identity.Claim
	crowns []Crown

	report Report
	answer Answer
	sealed Sealed
	err    error
}

func (n *fakeNode) Inspect(_ context.Context, by Caller) Report {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.caller = by
	return n.report
}

func (n *fakeNode) Claim(_ context.Context, c identity.Claim) (Answer, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.claims = append(n.claims, c)
	return n.answer, n.err
}

func (n *fakeNode) Unseal(_ context.Context, c identity.Claim) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.claims = append(n.claims, c)
	return n.err
}

func (n *fakeNode) Seal(_ context.Context, _ SealOrder, step func(string)) (Sealed, error) {
	step("one")
	step("two")
	return n.sealed, n.err
}

func (n *fakeNode) Crown(_ context.Context, c Crown) (Crowned, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.crowns = append(n.crowns, c)
	return Crowned{Role: identity.Fenced, Leads: c.Claim}, n.err
}

// serve lets a node answer in a pair of its own; the client is of mx2, which
// has joined it.
func serve(t *testing.T, n Node) *Client {
	t.Helper()
	id, err := identity.Create(t.TempDir(), "pair-x", "mx1", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(id.ServerCredentials(nil)))
	NewServer(n, id.RequirePeer).Register(server)
	identity.NewEnrolmentServer(id, nobodyJoins{}).Register(server)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	token, _, err := id.Invite(time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := identity.Enrol(t.Context(), identity.Enrolment{
		StateDir: t.TempDir(), Address: listener.Addr().String(), Token: token, Name: "mx2",
	}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Dial(listener.Addr().String(), other.ClientCredentials)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func position(epoch journal.Epoch, s journal.Sequence) journal.Position {
	return journal.Position{Epoch: epoch, Sequence: s, Digest: journal.Digest{1, 15: byte(s)}}
}

func testReport() Report {
	return Report{
		Lag: time.Second, LagBytes: 9, Modseq: 1 << 52,
		Name: "mx1", Role: identity.Primary, Leads: identity.Claim{Epoch: 3, Name: "mx1"},
		Promised: identity.Claim{Epoch: 4, Name: "mx2"}, Sealed: true,
		Position: position(3, 9), Start: position(2, 4), State: "in-sync", Detail: "all is well",
		Now: time.Unix(5, 6), Peers: []identity.Peer{{Name: "mx2", Address: "b:1"}, {Name: "mx3", Address: "[::1]:1"}},
	}
}

func TestCalls(t *testing.T) {
	n := &fakeNode{report: testReport(), answer: Answer{Why: "no", Known: identity.Claim{Epoch: 3, Name: "mx1"}},
		sealed: Sealed{Position: position(3, 9), Digest: catalog.Digest{7}, Unread: 1, Missing: 2}}
	c := serve(t, n)
	ctx := t.Context()
	r, err := c.Inspect(ctx, "0.0.0.0:7420", []identity.Peer{{Name: "mx3", Address: "c:1"}})
	if err != nil || !reflect.DeepEqual(r, testReport()) {
		t.Errorf("inspected: %+v, %v", r, err)
	}
	want := Caller{Name: "mx2", Address: "127.0.0.1:7420", Peers: []identity.Peer{{Name: "mx3", Address: "c:1"}}}
	if !reflect.DeepEqual(n.caller, want) {
		t.Errorf("the caller is %+v", n.caller)
	}
	own := identity.Claim{Epoch: 4, Name: "mx2"}
	if a, err := c.Claim(ctx, own); err != nil || a != n.answer || !slices.Equal(n.claims, []identity.Claim{own}) {
		t.Errorf("claimed: %+v, %v; %v", a, err, n.claims)
	}
	var steps []string
	s, err := c.Seal(ctx, SealOrder{Claim: own}, func(words string) { steps = append(steps, words) })
	if err != nil || s != n.sealed || !slices.Equal(steps, []string{"one", "two"}) {
		t.Errorf("sealed: %+v, %v, by %q", s, err, steps)
	}
	k := Crown{Claim: own, Address: "b:1", Start: position(3, 9)}
	is, err := c.Crown(ctx, k, "b:1")
	if err != nil || is != (Crowned{identity.Fenced, own}) || !slices.Equal(n.crowns, []Crown{k}) {
		t.Errorf("crowned: %+v, %v; %+v", is, err, n.crowns)
	}
}

// TestNobodyClaimsForAnother: neither promise nor seal nor crown.
func TestNobodyClaimsForAnother(t *testing.T) {
	n := &fakeNode{}
	c := serve(t, n)
	for _, claim := range []identity.Claim{{Epoch: 4, Name: "mx3"}, {Epoch: 4}, {Name: "mx2"}, {Epoch: 4, Name: "m\nx"}} {
		_, cerr := c.Claim(t.Context(), claim)
		_, serr := c.Seal(t.Context(), SealOrder{Claim: claim}, func(string) {})
		_, kerr := c.Crown(t.Context(), Crown{Claim: claim}, "")
		for _, err := range []error{cerr, serr, kerr} {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%v: %v", claim, err)
			}
		}
	}
	if len(n.claims)+len(n.crowns) > 0 {
		t.Errorf("the node was asked: %v, %v", n.claims, n.crowns)
	}
}

func TestFailures(t *testing.T) {
	n := new(fakeNode)
	c := serve(t, n)
	own := identity.Claim{Epoch: 4, Name: "mx2"}
	n.err = errors.Join(ErrRefused, errors.New("it is a mirror"))
	if _, err := c.Seal(t.Context(), SealOrder{Claim: own}, func(string) {}); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "it is a mirror") {
		t.Errorf("refused: %v", err)
	}
	n.err = errors.New("disk full")
	if _, err := c.Crown(t.Context(), Crown{Claim: own}, ""); err == nil || errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("failed: %v", err)
	}
	dead, err := Dial("127.0.0.1:1", lone(t).ClientCredentials)
	if err != nil {
		t.Fatal(err)
	}
	defer dead.Close()
	if _, err := dead.Inspect(t.Context(), "", nil); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("nobody there: %v", err)
	}
}

// lone is a node of a pair that nobody else is in.
func lone(t *testing.T) *identity.Identity {
	t.Helper()
	id, err := identity.Create(t.TempDir(), "pair-y", "mx9", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// FuzzReport: what is accepted of a report is what the same report would say.
func FuzzReport(f *testing.F) {
	b, err := proto.Marshal(reportOf(testReport()))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var m pb.InspectResponse
		if proto.Unmarshal(b, &m) != nil {
			return
		}
		r, err := parseReport(&m)
		if err != nil {
			return
		}
		again, err := parseReport(reportOf(r))
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("%+v became %+v, %v", r, again, err)
		}
	})
}
