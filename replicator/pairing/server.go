package pairing

import (
	"context"
	"errors"
	"net"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// Node is what is asked. Its methods may be called concurrently.
type Node interface {
	// Inspect tells how the node is, and makes note of who asks.
	Inspect(ctx context.Context, by Caller) Report
	// Claim decides on a claim; what it grants is durable when it returns.
	Claim(ctx context.Context, c identity.Claim) (Answer, error)
	// Seal ends what the node journals as primary, in favour of a claim that it
	// has granted, and tells by step what it is doing.
	Seal(ctx context.Context, o SealOrder, step func(words string)) (Sealed, error)
	// Unseal has the node go on as primary, if it is sealed for this very claim
	// or was about to be.
	Unseal(ctx context.Context, c identity.Claim) error
	// Crown takes note of who is primary; it is durable when it returns.
	Crown(ctx context.Context, c Crown) (Crowned, error)
}

// ErrRefused says that the node that was asked does not do it as it is now; the
// words say why.
var ErrRefused = errors.New("refused")

// Server answers the nodes of the pair. It implements the generated
// PairServiceServer.
type Server struct {
	pb.UnimplementedPairServiceServer
	node Node
	name func(context.Context) (string, error)
}

// NewServer returns a Server for a node. name returns the name of the
// authenticated caller, or a status that says that there is none.
func NewServer(node Node, name func(context.Context) (string, error)) *Server {
	return &Server{node: node, name: name}
}

// Register makes a gRPC server answer with s.
func (s *Server) Register(r grpc.ServiceRegistrar) { pb.RegisterPairServiceServer(r, s) }

// Inspect implements the generated PairServiceServer.
func (s *Server) Inspect(ctx context.Context, r *pb.InspectRequest) (*pb.InspectResponse, error) {
	caller, err := s.name(ctx)
	if err != nil {
		return nil, err
	}
	by := Caller{Name: caller, Address: identity.Reachable(r.GetListen(), addressOf(ctx)), Peers: parsePeers(r.GetPeers())}
	return reportOf(s.node.Inspect(ctx, by)), nil
}

// Claim implements the generated PairServiceServer.
func (s *Server) Claim(ctx context.Context, r *pb.ClaimRequest) (*pb.ClaimResponse, error) {
	c, err := s.own(ctx, r.GetClaim())
	if err != nil {
		return nil, err
	}
	a, err := s.node.Claim(ctx, c)
	if err != nil {
		return nil, toStatus(err)
	}
	return &pb.ClaimResponse{Granted: a.Granted, Why: wire.Words(a.Why), Known: claimOf(a.Known)}, nil
}

// Seal implements the generated PairServiceServer.
func (s *Server) Seal(r *pb.SealRequest, stream pb.PairService_SealServer) error {
	ctx := stream.Context()
	c, err := s.own(ctx, r.GetClaim())
	if err != nil {
		return err
	}
	sealed, err := s.node.Seal(ctx, SealOrder{Claim: c, Blind: r.GetBlind()}, func(words string) {
		// Who does not listen any more is found out by the context.
		_ = stream.Send(&pb.SealResponse{Message: &pb.SealResponse_Step{Step: wire.Words(words)}})
	})
	if err != nil {
		return toStatus(err)
	}
	return stream.Send(&pb.SealResponse{Message: &pb.SealResponse_Sealed{Sealed: sealedOf(sealed)}})
}

// Unseal implements the generated PairServiceServer.
func (s *Server) Unseal(ctx context.Context, r *pb.UnsealRequest) (*pb.UnsealResponse, error) {
	c, err := s.own(ctx, r.GetClaim())
	if err != nil {
		return nil, err
	}
	if err := s.node.Unseal(ctx, c); err != nil {
		return nil, toStatus(err)
	}
	return &pb.UnsealResponse{}, nil
}

// Crown implements the generated PairServiceServer.
func (s *Server) Crown(ctx context.Context, r *pb.CrownRequest) (*pb.CrownResponse, error) {
	c, err := s.own(ctx, r.GetClaim())
	if err != nil {
		return nil, err
	}
	start, err := parsePosition(r.GetStart())
	if err != nil {
		return nil, toStatus(err)
	}
	is, err := s.node.Crown(ctx, Crown{Claim: c, Address: identity.Reachable(r.GetListen(), addressOf(ctx)), Start: start})
	if err != nil {
		return nil, toStatus(err)
	}
	return &pb.CrownResponse{Role: string(is.Role), Leads: claimOf(is.Leads)}, nil
}

// own returns a claim that the caller makes for itself.
func (s *Server) own(ctx context.Context, c *pb.PairClaim) (identity.Claim, error) {
	caller, err := s.name(ctx)
	if err != nil {
		return identity.Claim{}, err
	}
	claim, err := parseOwn(c, caller)
	if err != nil {
		return claim, toStatus(err)
	}
	return claim, nil
}

// addressOf returns from where a call comes; nil if that is not known.
func addressOf(ctx context.Context) net.Addr {
	if p, ok := peer.FromContext(ctx); ok {
		return p.Addr
	}
	return nil
}

// toStatus gives an error the code by which the client tells what it is.
func toStatus(err error) error {
	code := codes.Internal
	switch {
	case errors.Is(err, ErrInvalid), errors.Is(err, wire.ErrProtocol):
		code = codes.InvalidArgument
	case errors.Is(err, ErrRefused):
		code = codes.FailedPrecondition
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	}
	// The client says that it is a refusal: once is enough.
	return status.Error(code, wire.Words(strings.TrimPrefix(err.Error(), ErrRefused.Error()+": ")))
}
