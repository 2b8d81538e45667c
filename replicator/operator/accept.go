package operator

import (
	"context"

	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
)

// Accepting is what a person agrees to; with nothing set it is only asked for.
type Accepting struct {
	Missing bool // files whose content never came are given up
	Store   bool // what is at the store's path now is the store
	Kept    bool // what rejoins have kept was seen to
	OfKept  bool // only that is told of; any node can
}

// Acceptable is what there was to agree to.
type Acceptable struct {
	Missing      uint64   `json:"missing"`
	MissingFiles []string `json:"missing_files,omitempty"` // the first of them
	Store        string   `json:"store,omitempty"`         // why it is not taken for the store; "" if it is
	Kept         string   `json:"kept,omitempty"`          // what rejoins have kept and nobody has seen to; "" for nothing
}

// Accept tells what there is to agree to, and does it.
func (s *Server) Accept(_ context.Context, r *pb.AcceptRequest) (*pb.AcceptResponse, error) {
	a, err := s.node.Accept(Accepting{Missing: r.GetMissing(), Store: r.GetStore(), Kept: r.GetKept(), OfKept: r.GetOfKept()})
	if err != nil {
		return nil, grpcstatus.Error(codes.FailedPrecondition, err.Error())
	}
	out := &pb.AcceptResponse{Missing: a.Missing, Store: clean(a.Store), Kept: clean(a.Kept)}
	for _, f := range a.MissingFiles {
		out.MissingFiles = append(out.MissingFiles, []byte(f))
	}
	return out, nil
}

// Accept asks the daemon what there is to agree to, and has it done as far as
// that is set.
func (c *Client) Accept(ctx context.Context, a Accepting) (Acceptable, error) {
	r, err := pb.NewOperatorServiceClient(c.conn).Accept(ctx, &pb.AcceptRequest{Missing: a.Missing, Store: a.Store, Kept: a.Kept, OfKept: a.OfKept})
	if err != nil {
		return Acceptable{}, c.explain(err)
	}
	out := Acceptable{Missing: r.GetMissing(), Store: r.GetStore(), Kept: r.GetKept()}
	for _, f := range r.GetMissingFiles() {
		out.MissingFiles = append(out.MissingFiles, string(f))
	}
	return out, nil
}
