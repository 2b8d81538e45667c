package identity

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/mailtwin/mailtwin/replicator/hint"
)

// outcome is what the two sides of a connection found, each by its own report
// and by what its caller got.
type outcome struct {
	server, client                 error
	serverReported, clientReported []error
	serverState                    tls.ConnectionState
}

// meet lets two transports shake hands over loopback; then the server sends a
// byte and the client reads it.
func meet(t *testing.T, server, client *transport) outcome {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var o outcome
	server.report = func(_ net.Addr, err error) { o.serverReported = append(o.serverReported, err) }
	client.report = func(remote net.Addr, err error) {
		if remote.String() != listener.Addr().String() {
			t.Errorf("reported for %v, dialled %v", remote, listener.Addr())
		}
		o.clientReported = append(o.clientReported, err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		raw, err := listener.Accept()
		if err != nil {
			o.server = err
			return
		}
		defer raw.Close()
		conn, info, err := server.ServerHandshake(raw)
		if o.server = err; err != nil {
			return
		}
		o.serverState = info.(credentials.TLSInfo).State
		if _, o.server = conn.Write([]byte{1}); o.server == nil {
			_, _ = io.ReadFull(conn, make([]byte, 1)) // until the client is done
		}
	}()
	raw, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	conn, _, err := client.ClientHandshake(t.Context(), "ignored:7420", raw)
	if o.client = err; err == nil {
		_, o.client = io.ReadFull(conn, make([]byte, 1))
	}
	raw.Close()
	<-done
	return o
}

func transports(server, client *Identity) (s, c *transport) {
	return newTransport(server.ServerTLS(), nil), newTransport(client.ClientTLS(), nil)
}

func TestTwoNodesOfAPairMeet(t *testing.T) {
	first := create(t, new(clock), "mx1")
	o := meet(t, newTransport(first.ServerTLS(), nil), newTransport(second(t, first, first.pair, "mx2").ClientTLS(), nil))
	if o.server != nil || o.client != nil || len(o.serverReported)+len(o.clientReported) > 0 {
		t.Fatalf("%+v", o)
	}
	if name, err := first.PeerName(o.serverState); err != nil || name != "mx2" {
		t.Errorf("PeerName = %q, %v", name, err)
	}
	if o.serverState.Version != tls.VersionTLS13 {
		t.Errorf("TLS version %x", o.serverState.Version)
	}
}

func TestNodesThatDoNotMeet(t *testing.T) {
	type pair struct{ server, client *transport }
	for name, c := range map[string]struct {
		make           func(t *testing.T) pair
		server, client error // what each side finds
		says           string
	}{
		"the server is of another authority": {func(t *testing.T) pair {
			s, c := transports(create(t, new(clock), "mx1"), create(t, new(clock), "mx2"))
			return pair{s, c}
		}, ErrRefused, ErrForeign, "not of this pair's authority"},

		"the client is of another authority and trusts the server": {func(t *testing.T) pair {
			server, client := create(t, new(clock), "mx1"), create(t, new(clock), "mx2")
			s, c := transports(server, client)
			c.config.RootCAs = poolOf(server.authority)
			c.config.VerifyConnection = nil
			return pair{s, c}
		}, ErrForeign, ErrForeign, "does not know the authority"},

		"the server has expired": {func(t *testing.T) pair {
			late := new(clock)
			server := create(t, new(clock), "mx1")
			client := second(t, server, server.pair, "mx2")
			late.forward(nodeValidity + time.Second)
			client.now = late.now
			s, c := transports(server, client)
			return pair{s, c}
		}, ErrRefused, ErrExpired, "expired at 2031-02-28 12:00 UTC"},

		"the client has expired": {func(t *testing.T) pair {
			late := new(clock)
			server := create(t, new(clock), "mx1")
			client := second(t, server, server.pair, "mx2")
			late.forward(nodeValidity + time.Second)
			server.now = late.now
			s, c := transports(server, client)
			return pair{s, c}
		}, ErrExpired, ErrExpired, "not valid now"},

		"the server is not valid yet": {func(t *testing.T) pair {
			early := new(clock)
			server := create(t, new(clock), "mx1")
			client := second(t, server, server.pair, "mx2")
			early.forward(-clockSkew - time.Minute)
			client.now = early.now
			s, c := transports(server, client)
			return pair{s, c}
		}, ErrRefused, ErrNotYetValid, "not valid before 2026-03-01 11:00 UTC"},

		"the client is not valid yet": {func(t *testing.T) pair {
			early := new(clock)
			server := create(t, new(clock), "mx1")
			client := second(t, server, server.pair, "mx2")
			early.forward(-clockSkew - time.Minute)
			server.now = early.now
			s, c := transports(server, client)
			return pair{s, c}
		}, ErrNotYetValid, ErrExpired, "not valid now"},

		"the server is of another pair": {func(t *testing.T) pair {
			client := create(t, new(clock), "mx1")
			s, c := transports(second(t, client, "pair-other", "mx2"), client)
			return pair{s, c}
		}, ErrRefused, ErrWrongPair, `it names the pair "pair-other"`},

		"the client is of another pair": {func(t *testing.T) pair {
			server := create(t, new(clock), "mx1")
			client := second(t, server, "pair-other", "mx2")
			s, c := transports(server, client)
			c.config.VerifyConnection = nil
			return pair{s, c}
		}, ErrWrongPair, ErrRefused, "refused this node's certificate"},

		"the client speaks TLS 1.2": {func(t *testing.T) pair {
			server := create(t, new(clock), "mx1")
			s, c := transports(server, second(t, server, server.pair, "mx2"))
			c.config.MinVersion, c.config.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
			return pair{s, c}
		}, ErrOldTLS, ErrOldTLS, "does not speak TLS 1.3"},

		"the server speaks TLS 1.2": {func(t *testing.T) pair {
			server := create(t, new(clock), "mx1")
			s, c := transports(server, second(t, server, server.pair, "mx2"))
			s.config.MinVersion, s.config.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
			return pair{s, c}
		}, ErrOldTLS, ErrOldTLS, "does not speak TLS 1.3"},

		"the server is no node": {func(t *testing.T) pair {
			server := create(t, new(clock), "mx1")
			s, c := transports(server, second(t, server, server.pair, "mx2"))
			c.config.ServerName = "mail.example.net"
			return pair{s, c}
		}, ErrRefused, ErrNotANode, "not that of a mailtwin node"},

		"the client speaks another protocol": {func(t *testing.T) pair {
			server := create(t, new(clock), "mx1")
			s, c := transports(server, second(t, server, server.pair, "mx2"))
			c.config.NextProtos = []string{"imap"}
			return pair{s, c}
		}, ErrNotANode, ErrRefused, "no application protocol"},
	} {
		t.Run(name, func(t *testing.T) {
			p := c.make(t)
			o := meet(t, p.server, p.client)
			if !errors.Is(o.server, c.server) || !errors.Is(o.client, c.client) {
				t.Errorf("the server found %v, the client %v; want %v and %v", o.server, o.client, c.server, c.client)
			}
			if o.client == nil || o.server == nil {
				t.Fatal("they met")
			}
			if !strings.Contains(o.client.Error(), c.says) {
				t.Errorf("the client says %q, want %q in it", o.client, c.says)
			}
			for side, reported := range map[string][]error{"server": o.serverReported, "client": o.clientReported} {
				if len(reported) != 1 || hint.Of(reported[0]) == "" || strings.Contains(reported[0].Error(), "tls: failed") {
					t.Errorf("the %s reported %q", side, reported)
				}
			}
		})
	}
}

// A caller without a certificate gets through the handshake, for it may want
// to enrol, and has no name.
func TestACallerWithoutACertificateHasNoName(t *testing.T) {
	server := create(t, new(clock), "mx1")
	s, c := transports(server, second(t, server, server.pair, "mx2"))
	c.config.Certificates, c.config.GetClientCertificate = nil, nil
	o := meet(t, s, c)
	if o.server != nil || o.client != nil {
		t.Fatalf("%+v", o)
	}
	if name, err := server.PeerName(o.serverState); !errors.Is(err, ErrNoCertificate) {
		t.Errorf("PeerName = %q, %v, want ErrNoCertificate", name, err)
	}
	if err := Explain(ErrNoCertificate); !errors.Is(err, ErrNoCertificate) || hint.Of(err) == "" {
		t.Errorf("Explain(ErrNoCertificate) = %v, hint %q", err, hint.Of(err))
	}
}

func TestWhatIsNoTLSIsSaidToBeNone(t *testing.T) {
	server := create(t, new(clock), "mx1")
	for name, c := range map[string]struct {
		bytes string
		want  error
	}{"text": {"EHLO mx2.example.net\r\n", ErrNotANode}, "nothing": {"", ErrSilent}} {
		t.Run(name, func(t *testing.T) {
			here, there := net.Pipe()
			go func() {
				_, _ = io.WriteString(there, c.bytes)
				_ = there.Close()
			}()
			_, _, err := newTransport(server.ServerTLS(), nil).ServerHandshake(here)
			if !errors.Is(err, c.want) || hint.Of(err) == "" {
				t.Errorf("%v, want %v and a hint", err, c.want)
			}
		})
	}
}

func TestASilentServerIsGivenUp(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	ctx, cancel := context.WithCancel(t.Context())
	deadline, stop := context.WithTimeout(ctx, time.Millisecond)
	defer stop()
	defer cancel()
	_, _, err := newTransport(create(t, new(clock), "mx1").ClientTLS(), nil).ClientHandshake(deadline, "", here)
	if !errors.Is(err, ErrSilent) {
		t.Errorf("%v, want ErrSilent", err)
	}
}

func TestExplainLeavesTheRestAlone(t *testing.T) {
	if Explain(nil) != nil {
		t.Error("nil is explained")
	}
	other := errors.New("something else")
	if got := Explain(other); got != other {
		t.Errorf("Explain = %v", got)
	}
	once := Explain(io.EOF)
	if got := Explain(once); got != once {
		t.Errorf("explained twice: %v", got)
	}
}
