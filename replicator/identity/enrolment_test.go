package identity

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	mailtwinv1 "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/hint"
)

// primary serves what a primary serves to the network.
type primary struct {
	mailtwinv1.UnimplementedReplicationServiceServer
	id      *Identity
	address string

	mu       sync.Mutex
	enrolled []string
	closed   error // nobody may join
	peers    []string
	reported chan error // the first few
}

// Replicate tells who called.
func (p *primary) Replicate(stream mailtwinv1.ReplicationService_ReplicateServer) error {
	name, err := p.id.RequirePeer(stream.Context())
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.peers = append(p.peers, name)
	return nil
}

func serve(t *testing.T, id *Identity) *primary {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &primary{id: id, address: listener.Addr().String(), reported: make(chan error, 16)}
	server := grpc.NewServer(grpc.Creds(id.ServerCredentials(func(_ net.Addr, err error) {
		select {
		case p.reported <- err:
		default:
		}
	})))
	mailtwinv1.RegisterReplicationServiceServer(server, p)
	NewEnrolmentServer(id, p).Register(server)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return p
}

func (p *primary) MayJoin() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

func (p *primary) Enrolled(_ context.Context, peer Peer) []Peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.enrolled = append(p.enrolled, peer.Name+" "+peer.Address)
	return []Peer{{"mx9", "mx9:7420"}, {"no name", "mx8:7420"}, peer}
}

func (p *primary) token(t *testing.T) string {
	t.Helper()
	token, _, err := p.id.Invite(0)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// replicate makes one call as the node id and returns its outcome.
func (p *primary) replicate(t *testing.T, id *Identity, report Report) error {
	t.Helper()
	client, err := grpc.NewClient(p.address, grpc.WithTransportCredentials(id.ClientCredentials(report)))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	stream, err := mailtwinv1.NewReplicationServiceClient(client).Replicate(t.Context())
	if err == nil {
		_, err = stream.Recv()
	}
	return err
}

func TestANodeJoinsAndIsKnown(t *testing.T) {
	c := new(clock)
	p := serve(t, create(t, c, "mx1"))
	dir := t.TempDir()
	id, name, err := Enrol(t.Context(), Enrolment{dir, p.address, p.token(t), "mx2", "0.0.0.0:7420"}, c.now)
	if err != nil {
		t.Fatal(err)
	}
	if name != "mx1" || id.Name() != "mx2" || id.Pair() != p.id.Pair() || !id.CanInvite() {
		t.Errorf("%q in %q, can invite: %v, of the primary %q", id.Name(), id.Pair(), id.CanInvite(), name)
	}
	if info, err := os.Stat(filepath.Join(dir, "identity", "ca.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the authority's key on the mirror: %v, %v", info, err)
	}
	if !slices.Equal(p.enrolled, []string{"mx2 127.0.0.1:7420"}) {
		t.Errorf("enrolled %q", p.enrolled)
	}
	if peers, err := OpenPeers(dir); err != nil || peers.Address("mx1") != p.address || peers.Address("mx9") != "mx9:7420" || len(peers.All()) != 2 {
		t.Errorf("the mirror knows %v, %v", peers, err)
	}
	if err := p.replicate(t, id, nil); err.Error() != "EOF" {
		t.Fatal(err)
	}
	if !slices.Equal(p.peers, []string{"mx2"}) {
		t.Errorf("the primary knows %q", p.peers)
	}
}

// The caller has passed the handshake without a certificate, as one that
// enrols does, and asks for more.
func TestAStrangerGetsNoStream(t *testing.T) {
	c := new(clock)
	p := serve(t, create(t, c, "mx1"))
	stranger := newTransport(second(t, p.id, p.id.pair, "mx2").ClientTLS(), nil)
	stranger.config.Certificates, stranger.config.GetClientCertificate = nil, nil
	client, err := grpc.NewClient(p.address, grpc.WithTransportCredentials(stranger))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	stream, err := mailtwinv1.NewReplicationServiceClient(client).Replicate(t.Context())
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), "no certificate") {
		t.Errorf("%v, want Unauthenticated", err)
	}
	if _, err := p.id.RequirePeer(context.Background()); status.Code(err) != codes.Unauthenticated {
		t.Errorf("outside of a call: %v", err)
	}
}

// gRPC hides why a connection fails; both sides are told all the same.
func TestBothSidesAreToldWhyAConnectionFails(t *testing.T) {
	c := new(clock)
	p := serve(t, create(t, c, "mx1"))
	id := second(t, p.id, p.id.pair, "mx2")
	id.now = new(clock).now
	c.forward(nodeValidity + time.Hour) // at the server
	told := make(chan error, 16)
	err := p.replicate(t, id, func(_ net.Addr, err error) {
		select {
		case told <- err:
		default:
		}
	})
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "not valid now") {
		t.Errorf("the call: %v", err)
	}
	select {
	case err := <-told:
		if !errors.Is(err, ErrExpired) || hint.Of(err) == "" {
			t.Errorf("the client was told %v", err)
		}
	default:
		t.Error("the client was told nothing")
	}
	select {
	case err := <-p.reported:
		if !errors.Is(err, ErrExpired) {
			t.Errorf("the server was told %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the server was told nothing")
	}
}

func TestNodesThatMayNotJoin(t *testing.T) {
	for name, c := range map[string]struct {
		spoil  func(t *testing.T, p *primary, c *clock, e *Enrolment)
		want   error
		unused bool // the token is as good as before
	}{
		"used twice": {func(t *testing.T, p *primary, c *clock, e *Enrolment) {
			if _, _, err := Enrol(t.Context(), Enrolment{t.TempDir(), e.Address, e.Token, "mx3", ""}, c.now); err != nil {
				t.Fatal(err)
			}
		}, ErrTokenUsed, false},
		"expired": {func(_ *testing.T, _ *primary, c *clock, _ *Enrolment) {
			c.forward(DefaultInvitation)
		}, ErrTokenExpired, false},
		"unknown": {func(_ *testing.T, p *primary, _ *clock, e *Enrolment) {
			e.Token = formatToken(secret{1}, fingerprint(p.id.authority))
		}, ErrTokenUnknown, true},
		"not whole": {func(_ *testing.T, _ *primary, _ *clock, e *Enrolment) {
			e.Token = e.Token[1:]
		}, ErrTokenMalformed, true},
		"of another pair": {func(t *testing.T, _ *primary, c *clock, e *Enrolment) {
			e.Token, _, _ = create(t, c, "mx9").Invite(0)
		}, ErrOtherPair, true},
		"with a tampered fingerprint": {func(_ *testing.T, _ *primary, _ *clock, e *Enrolment) {
			s, print, _ := parseToken(e.Token)
			print[0] ^= 1
			e.Token = formatToken(s, print)
		}, ErrOtherPair, true},
		"under the primary's name": {func(_ *testing.T, _ *primary, _ *clock, e *Enrolment) {
			e.Name = "MX1"
		}, ErrNameTaken, true},
		"at a wrong address": {func(_ *testing.T, _ *primary, _ *clock, e *Enrolment) {
			e.Listen = "nowhere"
		}, ErrEnrolment, true},
		"into a place that is taken": {func(t *testing.T, _ *primary, _ *clock, e *Enrolment) {
			if err := SaveState(e.StateDir, State{Role: Mirror, Pair: "p", Name: "n"}); err != nil {
				t.Fatal(err)
			}
		}, ErrExists, true},
		"where nobody listens": {func(t *testing.T, _ *primary, _ *clock, e *Enrolment) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			e.Address = listener.Addr().String()
			listener.Close()
		}, ErrUnreachable, true},
		"at no TLS": {func(t *testing.T, _ *primary, _ *clock, e *Enrolment) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { listener.Close() })
			go func() {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				_, _ = conn.Write([]byte("220 mx1 ESMTP\r\n"))
				_, _ = conn.Read(make([]byte, 4096))
			}()
			e.Address = listener.Addr().String()
		}, ErrNotANode, true},
		"at a mirror": {func(t *testing.T, p *primary, _ *clock, _ *Enrolment) {
			p.id.authorityKey = nil
		}, ErrNoAuthority, true},
		"with a clock of last year": {func(_ *testing.T, p *primary, c *clock, e *Enrolment) {
			p.id.now = new(clock).now
			c.forward(-365 * 24 * time.Hour)
		}, ErrNotYetValid, true},
	} {
		t.Run(name, func(t *testing.T) {
			now := new(clock)
			p := serve(t, create(t, now, "mx1"))
			e := Enrolment{t.TempDir(), p.address, p.token(t), "mx2", "0.0.0.0:7420"}
			good := e
			c.spoil(t, p, now, &e)
			_, _, err := Enrol(t.Context(), e, now.now)
			if !errors.Is(err, c.want) || hint.Of(err) == "" {
				t.Errorf("%v (hint %q), want %v", err, hint.Of(err), c.want)
			}
			if all, _ := filepath.Glob(filepath.Join(e.StateDir, "identity*")); len(all) > 0 {
				t.Errorf("left behind: %q", all)
			}
			s, _, _ := parseToken(good.Token)
			if err := p.id.Redeem(s.String()); c.unused && err != nil {
				t.Errorf("the token is no longer good: %v", err)
			}
		})
	}
}

// What an impostor that has the pair's attention cannot do: have another
// certificate accepted than the one that was asked for.
func TestAnAnswerIsChecked(t *testing.T) {
	c := new(clock)
	id := create(t, c, "mx1")
	mx2, foreign := second(t, id, id.pair, "mx2"), create(t, c, "mx2")
	key := mx2.certificate.PrivateKey.(ed25519.PrivateKey)
	answer := func(leaf, ca *Identity, pair string) *mailtwinv1.EnrolResponse {
		return &mailtwinv1.EnrolResponse{Certificate: leaf.certificate.Leaf.Raw, Authority: ca.authority.Raw, Pair: pair}
	}
	for name, r := range map[string]*mailtwinv1.EnrolResponse{
		"nothing":          {},
		"no certificate":   {Authority: id.authority.Raw, Pair: id.pair},
		"other authority":  answer(mx2, foreign, id.pair),
		"other leaf":       answer(foreign, id, id.pair),
		"other name":       answer(id, id, id.pair),
		"other pair":       answer(mx2, id, "pair-other"),
		"other key":        answer(second(t, id, id.pair, "mx2"), id, id.pair),
		"authority itself": {Certificate: id.authority.Raw, Authority: id.authority.Raw, Pair: id.pair},
	} {
		if _, _, err := accept(r, "mx2", key, fingerprint(id.authority), c.now()); !errors.Is(err, ErrEnrolment) || hint.Of(err) == "" {
			t.Errorf("%s: %v, want ErrEnrolment", name, err)
		}
	}
	if _, _, err := accept(answer(mx2, id, id.pair), "mx2", key, fingerprint(id.authority), c.now()); err != nil {
		t.Errorf("the right answer: %v", err)
	}
}

func TestRequestsAreChecked(t *testing.T) {
	id := create(t, new(clock), "mx1")
	server := NewEnrolmentServer(id, new(primary))
	for name, r := range map[string]*mailtwinv1.EnrolRequest{
		"empty": {}, "no request": {Name: "mx2"}, "a long one": {Name: "mx2", CertificateRequest: make([]byte, maxRequest+1)},
		"a bad one": {Name: "mx2", CertificateRequest: []byte("x")}, "a bad name": {Name: "../mx2"},
	} {
		if _, err := server.Enrol(t.Context(), r); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v, want InvalidArgument", name, err)
		}
	}
}

// TestJoiningAMirror: a node that is not the primary uses no token up, and says where to go.
func TestJoiningAMirror(t *testing.T) {
	c := new(clock)
	p := serve(t, create(t, c, "mx1"))
	p.mu.Lock()
	p.closed = fmt.Errorf("%w: mx9 leads", ErrNotPrimary)
	p.mu.Unlock()
	token, dir := p.token(t), t.TempDir()
	if _, _, err := Enrol(t.Context(), Enrolment{dir, p.address, token, "mx2", ""}, c.now); !errors.Is(err, ErrNotPrimary) || hint.Of(err) == "" {
		t.Errorf("joined a mirror: %v", err)
	}
	p.mu.Lock()
	p.closed = nil
	p.mu.Unlock()
	if _, _, err := Enrol(t.Context(), Enrolment{dir, p.address, token, "mx2", ""}, c.now); err != nil {
		t.Error(err)
	}
}

// TestTheAuthorityIsChecked: a key is taken only with its own certificate.
func TestTheAuthorityIsChecked(t *testing.T) {
	c := new(clock)
	id, foreign := create(t, c, "mx1"), create(t, c, "mx1")
	der, err := x509.MarshalPKCS8PrivateKey(id.authorityKey)
	if err != nil {
		t.Fatal(err)
	}
	if key, err := acceptAuthority(der, id.authority); err != nil || !key.Equal(id.authorityKey) {
		t.Errorf("the right one: %v", err)
	}
	if key, err := acceptAuthority(nil, id.authority); err != nil || key != nil {
		t.Errorf("none: %v, %v", key, err)
	}
	for name, der := range map[string][]byte{"another's": der, "garbage": []byte("x")} {
		if _, err := acceptAuthority(der, foreign.authority); !errors.Is(err, ErrEnrolment) {
			t.Errorf("%s: %v, want ErrEnrolment", name, err)
		}
	}
}
