package identity

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	mailtwinv1 "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/config"
	"github.com/mailtwin/mailtwin/replicator/hint"
)

// ErrOtherPair says that the node that answered is not the one that made the
// token. The secret was not told to it.
var ErrOtherPair = errors.New("the token was not made by the node that answers there")

// Enrolment is what a node is to be enrolled with.
type Enrolment struct {
	StateDir string // must exist and be Vacant; gets the identity
	Address  string // of the primary, host:port
	Token    string // as Invite made it
	Name     string // that the node wants
	Listen   string // where it will listen; may be empty
}

// Enrol makes this machine a node of the pair whose primary listens at the
// address, and stores its new identity and where the primary is, durably. It
// returns it with the name of the primary. The token is used up if the primary accepts it, even if
// storing fails then. ctx bounds the whole; errors carry a hint.
func Enrol(ctx context.Context, e Enrolment, now func() time.Time) (id *Identity, primary string, err error) {
	if err := config.CheckName(e.Name); err != nil {
		return nil, "", err
	}
	if err := Vacant(e.StateDir); err != nil {
		return nil, "", err
	}
	s, print, err := parseToken(e.Token)
	if err != nil {
		return nil, "", err
	}
	conn, err := dialPinned(ctx, e.Address, print, now)
	if err != nil {
		return nil, "", fmt.Errorf("joining the node at %s: %w", e.Address, err)
	}
	defer conn.Close()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, "", fmt.Errorf("making the node's key: %w", err)
	}
	answer, err := request(ctx, conn, e, s, key)
	if err != nil {
		return nil, "", fmt.Errorf("joining the node at %s: %w", e.Address, advise(fromStatus(err)))
	}
	leaf, ca, err := accept(answer, e.Name, key, print, now())
	var caKey ed25519.PrivateKey
	if err == nil {
		caKey, err = acceptAuthority(answer.GetAuthorityKey(), ca)
	}
	if err != nil {
		return nil, "", fmt.Errorf("joining the node at %s: %w", e.Address, err)
	}
	if err := store(e.StateDir, leaf, key, ca, caKey); err != nil {
		return nil, "", err
	}
	if primary = answer.GetPeerName(); config.CheckName(primary) == nil {
		if err := acquaint(e, primary, answer.GetPeers()); err != nil {
			return nil, "", err
		}
	}
	id, err = Load(e.StateDir, now)
	return id, primary, err
}

// acquaint remembers the primary, and the others of whom it told: when it dies a
// moment later, nobody else can tell.
func acquaint(e Enrolment, primary string, others []*mailtwinv1.EnrolledPeer) error {
	peers, err := OpenPeers(e.StateDir)
	if err != nil {
		return err
	}
	if err := peers.Set(Peer{primary, e.Address}); err != nil {
		return err
	}
	for _, p := range others[:min(len(others), MaxPeers-1)] {
		peer := Peer{p.GetName(), p.GetAddress()}
		if peer.check() != nil || peer.Name == e.Name {
			continue // hearsay is no reason to refuse the rest
		}
		if err := peers.Meet(peer); err != nil {
			return err
		}
	}
	return nil
}

// dialPinned connects to a node of the pair whose authority has that
// fingerprint, and to nobody else.
func dialPinned(ctx context.Context, address string, print [sha256.Size]byte, now func() time.Time) (net.Conn, error) {
	dialer := tls.Dialer{
		NetDialer: &net.Dialer{Timeout: HandshakeTimeout},
		Config: &tls.Config{
			MinVersion: tls.VersionTLS13,
			ServerName: ServerName,
			NextProtos: []string{"h2"},
			Time:       now,
			// There is nothing to verify by before the token has said by
			// whom: VerifyConnection does all of it.
			InsecureSkipVerify: true,
			VerifyConnection: func(state tls.ConnectionState) error {
				return verifyPinned(state, print, now())
			},
		},
	}
	ctx, cancel := context.WithTimeout(ctx, HandshakeTimeout)
	defer cancel()
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if errors.Is(err, ErrOtherPair) {
		return nil, hint.Add(err, "check that the address is that of the node that printed the token; "+
			"if it is, make a new token there: somebody else may be answering in its place")
	}
	return conn, Explain(err)
}

func verifyPinned(state tls.ConnectionState, print [sha256.Size]byte, now time.Time) error {
	for _, c := range state.PeerCertificates[1:] {
		if fingerprint(c) != print {
			continue
		}
		_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
			DNSName: ServerName, Roots: poolOf(c), CurrentTime: now,
		})
		return err
	}
	return ErrOtherPair
}

// request asks for the certificate over a connection that is trusted.
func request(ctx context.Context, conn net.Conn, e Enrolment, s secret, key ed25519.PrivateKey) (*mailtwinv1.EnrolResponse, error) {
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("making a certificate request: %w", err)
	}
	once := make(chan net.Conn, 1)
	once <- conn
	client, err := grpc.NewClient("passthrough:///"+ServerName,
		grpc.WithTransportCredentials(insecure.NewCredentials()), // conn is TLS already
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			select {
			case c := <-once:
				return c, nil
			default:
				return nil, errors.New("the connection was lost")
			}
		}))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return mailtwinv1.NewEnrolmentServiceClient(client).Enrol(ctx, &mailtwinv1.EnrolRequest{
		Token:              s.String(),
		Name:               e.Name,
		CertificateRequest: csr,
		Listen:             e.Listen,
	})
}

func wrong(what string, err error) error {
	return hint.Add(fmt.Errorf("%w: its answer cannot be used: %s: %w", ErrEnrolment, what, err),
		"install the same version of mailtwin on both machines and compare their clocks")
}

// acceptAuthority reads the authority's key, which must be that of its
// certificate. A node that has none itself gives none: nil.
func acceptAuthority(der []byte, ca *x509.Certificate) (ed25519.PrivateKey, error) {
	if len(der) == 0 {
		return nil, nil
	}
	const what = "the authority's key"
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, wrong(what, err)
	}
	ed, ok := key.(ed25519.PrivateKey)
	if !ok || !ed.Public().(ed25519.PublicKey).Equal(ca.PublicKey) {
		return nil, wrong(what, errors.New("it is that of another certificate"))
	}
	return ed, nil
}

// accept checks what the primary answered: the certificates must be what was
// asked for, of the authority that the token speaks of.
func accept(r *mailtwinv1.EnrolResponse, name string, key ed25519.PrivateKey, print [sha256.Size]byte, now time.Time) (leaf, ca *x509.Certificate, err error) {
	ca, err = x509.ParseCertificate(r.GetAuthority())
	if err != nil {
		return nil, nil, wrong("the authority's certificate", err)
	}
	if fingerprint(ca) != print {
		return nil, nil, wrong("the authority's certificate", ErrOtherPair)
	}
	leaf, err = x509.ParseCertificate(r.GetCertificate())
	if err != nil {
		return nil, nil, wrong("the certificate", err)
	}
	_, err = leaf.Verify(x509.VerifyOptions{
		DNSName: ServerName, Roots: poolOf(ca), CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil, nil, wrong("the certificate", err)
	}
	pair, node, ok := member(leaf)
	if !ok || node != name || pair != r.GetPair() || !key.Public().(ed25519.PublicKey).Equal(leaf.PublicKey) {
		return nil, nil, wrong("the certificate", errors.New("it is for another node"))
	}
	return leaf, ca, nil
}

func poolOf(c *x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(c)
	return pool
}

// advise adds to a refusal what the operator can do.
func advise(err error) error {
	const anew = "make a new token with `mailtwin invite` on the primary"
	for _, a := range []struct {
		err    error
		remedy string
	}{
		{ErrTokenUsed, "a token is good for one node; " + anew},
		{ErrTokenExpired, anew + "; if this one should still be good, compare the clocks"},
		{ErrTokenUnknown, anew},
		{ErrTokenMalformed, anew},
		{ErrTooFast, "wait a minute and try again; if it goes on, somebody else is trying: look at the log of the primary"},
		{ErrNameTaken, "choose another name with --name"},
		{ErrNotPrimary, "join at the primary, with a token that was made there: `mailtwin status` says who it is"},
		{ErrNoAuthority, "join at the node where `mailtwin init` was run"},
		{ErrSilent, "look at the primary's log; it may be under load, or its disk may be full"},
		{ErrEnrolment, "look at the primary's log"},
	} {
		if errors.Is(err, a.err) {
			return hint.Add(err, "%s", a.remedy)
		}
	}
	return err
}
