package operator

import (
	"context"

	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/hint"
)

// Forgettable is what there is of a node that may be forgotten, or was of one that
// was.
type Forgettable struct {
	Name      string `json:"name"`
	Address   string `json:"address,omitempty"`  // where it listened; "" if that is not known
	Journal   bool   `json:"journal"`            // the journal keeps what it lacks
	Sequence  uint64 `json:"sequence,omitempty"` // it had everything up to here
	Entries   uint64 `json:"entries,omitempty"`  // so many come after
	Mirrors   uint32 `json:"mirrors"`            // other nodes that have a place in the journal
	Forgotten bool   `json:"forgotten"`
}

// Forget tells what there is of a node, and forgets it.
func (s *Server) Forget(ctx context.Context, r *pb.ForgetRequest) (*pb.ForgetResponse, error) {
	f, err := s.node.Forget(ctx, r.GetName(), r.GetAgreed())
	if err != nil {
		text := clean(err.Error())
		if h := hint.Of(err); h != "" {
			text += "; " + h
		}
		return nil, grpcstatus.Error(codes.FailedPrecondition, text)
	}
	return &pb.ForgetResponse{
		Name: f.Name, Address: f.Address, Journal: f.Journal, Sequence: f.Sequence, Entries: f.Entries,
		Mirrors: f.Mirrors, Forgotten: f.Forgotten,
	}, nil
}

// Forget asks the daemon what there is of a node and, if a person has agreed, has
// it forgotten.
func (c *Client) Forget(ctx context.Context, name string, agreed bool) (Forgettable, error) {
	r, err := pb.NewOperatorServiceClient(c.conn).Forget(ctx, &pb.ForgetRequest{Name: name, Agreed: agreed})
	if err != nil {
		return Forgettable{}, c.explain(err)
	}
	return Forgettable{
		Name: r.GetName(), Address: r.GetAddress(), Journal: r.GetJournal(), Sequence: r.GetSequence(), Entries: r.GetEntries(),
		Mirrors: r.GetMirrors(), Forgotten: r.GetForgotten(),
	}, nil
}
