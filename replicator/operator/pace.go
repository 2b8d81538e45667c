package operator

import (
	"context"
	"encoding/json"
	"fmt"

	"google.golang.org/grpc/codes"

	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// Pace changes the pace.
func (s *Server) Pace(_ context.Context, r *pb.PaceRequest) (*pb.PaceResponse, error) {
	pace, err := s.node.Pace(PaceChange{
		Profile: r.Profile, BytesPerSecond: r.BytesPerSecond, ReadsPerSecond: r.ReadsPerSecond,
		Hours: r.Hours, Paused: r.Paused, Reset: r.GetForget(),
	})
	if err != nil {
		return nil, failure(codes.InvalidArgument, err)
	}
	b, err := json.Marshal(pace)
	if err != nil {
		return nil, fmt.Errorf("write the pace: %w", err)
	}
	return &pb.PaceResponse{Document: b}, nil
}

// Pace changes the pace of the daemon, and returns what it is then, and the
// document as it came.
func (c *Client) Pace(ctx context.Context, change PaceChange) (status.Pace, []byte, error) {
	var pace status.Pace
	r, err := pb.NewOperatorServiceClient(c.conn).Pace(ctx, &pb.PaceRequest{
		Profile: change.Profile, BytesPerSecond: change.BytesPerSecond, ReadsPerSecond: change.ReadsPerSecond,
		Hours: change.Hours, Paused: change.Paused, Forget: change.Reset,
	})
	if err != nil {
		return pace, nil, c.explain(err)
	}
	if err := json.Unmarshal(r.GetDocument(), &pace); err != nil {
		return pace, nil, fmt.Errorf("read the pace: %w", err)
	}
	return pace, r.GetDocument(), nil
}
