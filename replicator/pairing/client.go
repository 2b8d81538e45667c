package pairing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// ErrUnreachable says that the other node did not answer; the words say why.
var ErrUnreachable = errors.New("does not answer")

// redial is the longest time between two attempts to connect.
const redial = 2 * time.Second

// Client asks one node. Its methods may be called concurrently; each is bounded
// by its context. An error is ErrUnreachable, ErrRefused, ErrInvalid, or what the
// other node says of a failure of its own.
type Client struct {
	address string
	conn    *grpc.ClientConn

	mu        sync.Mutex
	handshake error // why the last one failed
}

// Dial returns a client of the node that listens at an address. credentials
// makes those of this node's identity, and lets it report failed handshakes.
// The connection is made by the first call, and again when it is lost.
func Dial(address string, creds func(identity.Report) credentials.TransportCredentials) (*Client, error) {
	c := &Client{address: address}
	report := func(_ net.Addr, err error) { c.failed(err) }
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(creds(report)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: redial / 8, Multiplier: 2, Jitter: 0.2, MaxDelay: redial},
			MinConnectTimeout: identity.HandshakeTimeout,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: wire.SilenceLimit, Timeout: wire.SilenceLimit}),
		grpc.WithContextDialer(wire.Dial),
	)
	if err != nil {
		return nil, fmt.Errorf("dial the node at %s: %w", address, err)
	}
	c.conn = conn
	return c, nil
}

// Close ends the connection, and the calls with it.
func (c *Client) Close() error {
	if err := c.conn.Close(); err != nil {
		return fmt.Errorf("hang up on the node at %s: %w", c.address, err)
	}
	return nil
}

// redialLimit is how long a node that could not be reached may take to be.
const redialLimit = time.Second

// Inspect asks how the node is. listen is where the caller listens, and peers
// are the others that it knows.
func (c *Client) Inspect(ctx context.Context, listen string, peers []identity.Peer) (Report, error) {
	var opts []grpc.CallOption
	if c.conn.GetState() == connectivity.TransientFailure {
		// Between two attempts gRPC says that the node does not answer without
		// having tried. Whether it does now may decide who is primary.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, redialLimit)
		defer cancel()
		c.conn.ResetConnectBackoff()
		opts = append(opts, grpc.WaitForReady(true))
	}
	r, err := pb.NewPairServiceClient(c.conn).Inspect(ctx, &pb.InspectRequest{Listen: listen, Peers: peersOf(peers)}, opts...)
	if err != nil {
		return Report{}, c.explain(err)
	}
	c.failed(nil)
	return parseReport(r)
}

// Claim asks for the promise that no other node becomes primary of an epoch.
func (c *Client) Claim(ctx context.Context, claim identity.Claim) (Answer, error) {
	r, err := pb.NewPairServiceClient(c.conn).Claim(ctx, &pb.ClaimRequest{Claim: claimOf(claim)})
	if err != nil {
		return Answer{}, c.explain(err)
	}
	known, err := parseClaim(r.GetKnown())
	return Answer{Granted: r.GetGranted(), Why: wire.Words(r.GetWhy()), Known: known}, err
}

// Seal has a primary end what it journals. step is told what it is doing.
func (c *Client) Seal(ctx context.Context, o SealOrder, step func(words string)) (Sealed, error) {
	stream, err := pb.NewPairServiceClient(c.conn).Seal(ctx, &pb.SealRequest{Claim: claimOf(o.Claim), Blind: o.Blind})
	for err == nil {
		var m *pb.SealResponse
		if m, err = stream.Recv(); err == nil {
			if m.GetSealed() != nil {
				return parseSealed(m.GetSealed())
			}
			step(wire.Words(m.GetStep()))
		}
	}
	if errors.Is(err, io.EOF) {
		return Sealed{}, fmt.Errorf("%w: nothing was said at the end of sealing", ErrInvalid)
	}
	return Sealed{}, c.explain(err)
}

// Unseal has a primary go on that is sealed for this very claim.
func (c *Client) Unseal(ctx context.Context, claim identity.Claim) error {
	if _, err := pb.NewPairServiceClient(c.conn).Unseal(ctx, &pb.UnsealRequest{Claim: claimOf(claim)}); err != nil {
		return c.explain(err)
	}
	return nil
}

// Crown tells the node who is primary. listen is where the caller, which is,
// listens.
func (c *Client) Crown(ctx context.Context, k Crown, listen string) (Crowned, error) {
	r, err := pb.NewPairServiceClient(c.conn).Crown(ctx, &pb.CrownRequest{
		Claim: claimOf(k.Claim), Listen: listen, Start: positionOf(k.Start),
	})
	if err != nil {
		return Crowned{}, c.explain(err)
	}
	role, err := parseRole(r.GetRole())
	if err != nil {
		return Crowned{}, err
	}
	leads, err := parseClaim(r.GetLeads())
	return Crowned{Role: role, Leads: leads}, err
}

func (c *Client) failed(err error) {
	c.mu.Lock()
	c.handshake = err
	c.mu.Unlock()
}

// explain puts an error into words. What went wrong in the handshake says more
// than what gRPC makes of it.
func (c *Client) explain(err error) error {
	c.mu.Lock()
	handshake := c.handshake
	c.mu.Unlock()
	st, _ := status.FromError(err)
	switch st.Code() {
	case codes.FailedPrecondition:
		return fmt.Errorf("%w: %s", ErrRefused, st.Message())
	case codes.InvalidArgument:
		return fmt.Errorf("%w: %s", ErrInvalid, st.Message())
	case codes.Canceled:
		return context.Canceled
	case codes.Unimplemented:
		return fmt.Errorf("%w: the node at %s runs an older mailtwin", ErrInvalid, c.address)
	case codes.Unavailable, codes.DeadlineExceeded, codes.Unauthenticated:
		if handshake != nil {
			return fmt.Errorf("the node at %s %w: %w", c.address, ErrUnreachable, handshake)
		}
		if st.Code() == codes.DeadlineExceeded {
			return fmt.Errorf("the node at %s %w in time", c.address, ErrUnreachable)
		}
		return fmt.Errorf("the node at %s %w: %s", c.address, ErrUnreachable, st.Message())
	}
	return fmt.Errorf("the node at %s: %s", c.address, st.Message())
}
