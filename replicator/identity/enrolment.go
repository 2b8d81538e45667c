package identity

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	mailtwinv1 "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/config"
)

// maxRequest is the longest certificate request that is looked at, in bytes.
const maxRequest = 4 << 10

// ErrNameTaken says that a node of that name is in the pair already.
var ErrNameTaken = errors.New("the name is taken")

// ErrNotPrimary says that a node is joined, or is to invite, that is not the
// primary.
var ErrNotPrimary = errors.New("it is not the primary of its pair")

// ErrEnrolment says that the primary could not enrol the node, for a reason of
// its own.
var ErrEnrolment = errors.New("the primary could not enrol this node")

// EnrolmentServer enrols nodes into the pair of an identity. Its calls may
// come from anyone who can connect.
type EnrolmentServer struct {
	mailtwinv1.UnimplementedEnrolmentServiceServer
	id   *Identity
	host Host
}

// Host is the node that others join. Its methods may be called concurrently.
type Host interface {
	// MayJoin returns ErrNotPrimary if nobody can join here now.
	MayJoin() error
	// Enrolled is told of each node that was given a certificate, with the address
	// where it can be dialled by what it says (not verified; may be empty, see
	// Reachable), before that node has its answer, and returns the other nodes of
	// the pair, which it is told.
	Enrolled(ctx context.Context, peer Peer) []Peer
}

// NewEnrolmentServer returns a server for the pair of id, which should be able
// to invite.
func NewEnrolmentServer(id *Identity, host Host) *EnrolmentServer {
	return &EnrolmentServer{id: id, host: host}
}

// Register lets a gRPC server answer with s.
func (s *EnrolmentServer) Register(server grpc.ServiceRegistrar) {
	mailtwinv1.RegisterEnrolmentServiceServer(server, s)
}

// Enrol implements mailtwinv1.EnrolmentServiceServer. What can be refused
// without the token is refused before it, so that a mistake does not use it up.
func (s *EnrolmentServer) Enrol(ctx context.Context, r *mailtwinv1.EnrolRequest) (*mailtwinv1.EnrolResponse, error) {
	key, err := s.check(r)
	if err == nil {
		err = s.id.Redeem(r.GetToken())
	}
	if err != nil {
		return nil, toStatus(err)
	}
	leaf, err := issue(s.id.authority, s.id.authorityKey, s.id.pair, r.GetName(), key, s.id.now())
	if err != nil {
		return nil, toStatus(err)
	}
	var from net.Addr
	if p, ok := peer.FromContext(ctx); ok {
		from = p.Addr
	}
	out := &mailtwinv1.EnrolResponse{
		Certificate: leaf.Raw,
		Authority:   s.id.authority.Raw,
		Pair:        s.id.pair,
		PeerName:    s.id.name,
	}
	if out.AuthorityKey, err = x509.MarshalPKCS8PrivateKey(s.id.authorityKey); err != nil {
		return nil, toStatus(err)
	}
	for _, p := range s.host.Enrolled(ctx, Peer{r.GetName(), Reachable(r.GetListen(), from)}) {
		if p.Name != r.GetName() {
			out.Peers = append(out.Peers, &mailtwinv1.EnrolledPeer{Name: p.Name, Address: p.Address})
		}
	}
	return out, nil
}

// check looks at all of a request but its token and returns the key that is to
// be certified: of the certificate request nothing else counts.
func (s *EnrolmentServer) check(r *mailtwinv1.EnrolRequest) (ed25519.PublicKey, error) {
	if !s.id.CanInvite() {
		return nil, ErrNoAuthority
	}
	if err := s.host.MayJoin(); err != nil {
		return nil, err
	}
	if err := config.CheckName(r.GetName()); err != nil {
		return nil, err
	}
	if strings.EqualFold(r.GetName(), s.id.name) {
		return nil, ErrNameTaken
	}
	if r.GetListen() != "" {
		if err := config.CheckAddress("the address to listen at", r.GetListen(), true); err != nil {
			return nil, err
		}
	}
	if len(r.GetCertificateRequest()) > maxRequest {
		return nil, fmt.Errorf("%w: the certificate request is too long", config.ErrInvalid)
	}
	csr, err := x509.ParseCertificateRequest(r.GetCertificateRequest())
	if err == nil {
		err = csr.CheckSignature()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the certificate request: %w", config.ErrInvalid, err)
	}
	key, ok := csr.PublicKey.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%w: the certificate request is not for an Ed25519 key", config.ErrInvalid)
	}
	return key, nil
}

// reason is how a refusal travels: a gRPC code and, where several errors have
// one, a word in an ErrorInfo.
type reason struct {
	err  error
	code codes.Code
	word string
}

// errorDomain is that of the words in ErrorInfo.
const errorDomain = "mailtwin"

func reasons() []reason {
	return []reason{
		{ErrTokenUnknown, codes.PermissionDenied, "TOKEN_UNKNOWN"},
		{ErrTokenMalformed, codes.PermissionDenied, "TOKEN_MALFORMED"},
		{ErrTokenExpired, codes.PermissionDenied, "TOKEN_EXPIRED"},
		{ErrTokenUsed, codes.PermissionDenied, "TOKEN_USED"},
		{ErrTooFast, codes.ResourceExhausted, "TOO_MANY_ATTEMPTS"},
		{ErrNameTaken, codes.AlreadyExists, "NAME_TAKEN"},
		{ErrNotPrimary, codes.FailedPrecondition, "NOT_PRIMARY"},
		{ErrNoAuthority, codes.FailedPrecondition, "NO_AUTHORITY"},
		{config.ErrInvalid, codes.InvalidArgument, "INVALID"},
	}
}

// toStatus makes a status of an error. What is not in reasons is a fault of
// this node's and is not told to strangers in detail.
func toStatus(err error) error {
	for _, r := range reasons() {
		if !errors.Is(err, r.err) {
			continue
		}
		st, detailErr := status.New(r.code, err.Error()).WithDetails(&errdetails.ErrorInfo{Reason: r.word, Domain: errorDomain})
		if detailErr != nil {
			return status.Error(r.code, err.Error())
		}
		return st.Err()
	}
	return status.Error(codes.Internal, "enrolling failed; the log of the primary says why")
}

// fromStatus is the way back: the same error, with the words of the primary
// for what it found invalid.
func fromStatus(err error) error {
	st, ok := status.FromError(err)
	if !ok {
		return err
	}
	for _, detail := range st.Details() {
		info, ok := detail.(*errdetails.ErrorInfo)
		if !ok || info.GetDomain() != errorDomain {
			continue
		}
		for _, r := range reasons() {
			switch {
			case r.word != info.GetReason():
			case r.code == codes.InvalidArgument:
				return fmt.Errorf("%w: %s", ErrEnrolment, st.Message())
			default:
				return r.err
			}
		}
	}
	switch st.Code() {
	case codes.DeadlineExceeded:
		return fmt.Errorf("%w: %w", ErrSilent, context.DeadlineExceeded)
	case codes.Unimplemented:
		return fmt.Errorf("%w: it is not the primary of its pair", ErrEnrolment)
	}
	return fmt.Errorf("%w: %s", ErrEnrolment, st.Message())
}
