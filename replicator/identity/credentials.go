package identity

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc/credentials"
)

// HandshakeTimeout bounds a handshake: who connects and then says nothing
// holds a connection no longer than this.
const HandshakeTimeout = 10 * time.Second

// Report is told of each handshake that failed, with the explained error
// (Explain). gRPC itself keeps most of them to itself. It is called from many
// goroutines and must not block.
type Report func(remote net.Addr, err error)

// ServerCredentials returns what a gRPC server of this node answers with:
// ServerTLS and a bounded handshake. report may be nil.
func (id *Identity) ServerCredentials(report Report) credentials.TransportCredentials {
	return newTransport(id.ServerTLS(), report)
}

// ClientCredentials returns what a gRPC client of this node dials with:
// ClientTLS and a bounded handshake. In TLS 1.3 a server may refuse the
// client's certificate after the client's part of the handshake is over;
// report is told of that too. report may be nil.
func (id *Identity) ClientCredentials(report Report) credentials.TransportCredentials {
	return newTransport(id.ClientTLS(), report)
}

func newTransport(config *tls.Config, report Report) *transport {
	if report == nil {
		report = func(net.Addr, error) {}
	}
	return &transport{config, report}
}

// transport makes TLS connections for gRPC.
type transport struct {
	config *tls.Config
	report Report
}

// ClientHandshake implements credentials.TransportCredentials. The authority
// is not looked at: all nodes have the same name in their certificates.
func (t *transport) ClientHandshake(ctx context.Context, _ string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	below := &gathered{Conn: raw}
	conn := tls.Client(below, t.config)
	info, err := t.handshake(ctx, conn)
	if err != nil {
		return nil, nil, err
	}
	return &untilRead{Conn: &secured{conn, below}, report: t.report}, info, nil
}

// ServerHandshake implements credentials.TransportCredentials.
func (t *transport) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	below := &gathered{Conn: raw}
	conn := tls.Server(below, t.config)
	info, err := t.handshake(context.Background(), conn)
	if err != nil {
		return nil, nil, err
	}
	return &secured{conn, below}, info, nil
}

func (t *transport) handshake(ctx context.Context, conn *tls.Conn) (credentials.AuthInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, HandshakeTimeout)
	defer cancel()
	err := conn.HandshakeContext(ctx)
	if err == nil && conn.ConnectionState().NegotiatedProtocol != "h2" {
		err = because(ErrNotANode, errors.New("no application protocol"), lookAddress,
			"the other side speaks TLS, but not mailtwin's protocol")
	}
	if err != nil {
		_ = conn.NetConn().Close()
		err = Explain(err)
		t.report(conn.RemoteAddr(), err)
		return nil, err
	}
	return credentials.TLSInfo{
		State:          conn.ConnectionState(),
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}, nil
}

// Info implements credentials.TransportCredentials.
func (t *transport) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone implements credentials.TransportCredentials.
func (t *transport) Clone() credentials.TransportCredentials {
	return &transport{t.config.Clone(), t.report}
}

// OverrideServerName implements credentials.TransportCredentials. The name is
// always ServerName.
func (t *transport) OverrideServerName(string) error { return nil }

// untilRead reports a failure of a connection that nothing was read from yet:
// that is how a server refuses a client's certificate.
type untilRead struct {
	net.Conn
	report Report
	read   atomic.Bool
	reason atomic.Pointer[error] // what was reported
}

// Read implements net.Conn.
func (c *untilRead) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.read.Store(true)
	}
	return n, c.explain(err)
}

// Write implements net.Conn. A server that refuses closes the connection at
// once: then writing may fail before anybody has read why.
func (c *untilRead) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if !c.read.Load() && (errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)) {
		if _, reason := c.Conn.Read(make([]byte, 1)); reason != nil && !errors.Is(reason, io.EOF) {
			err = reason
		}
	}
	return n, c.explain(err)
}

// explain reports the first error if nothing was read before it, and returns
// it in words, also for those that follow from it.
func (c *untilRead) explain(err error) error {
	if err == nil || c.read.Load() || errors.Is(err, net.ErrClosed) {
		return err
	}
	reason := Explain(err)
	if c.reason.CompareAndSwap(nil, &reason) {
		c.report(c.RemoteAddr(), reason)
	}
	if errors.Is(err, io.EOF) { // which gRPC has to see as it is
		return err
	}
	return *c.reason.Load()
}
