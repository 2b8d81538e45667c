package operator

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/mailtwin/mailtwin/journal"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// Mailboxes tells how far the mirror has each mailbox.
func (s *Server) Mailboxes(ctx context.Context, r *pb.MailboxesRequest) (*pb.MailboxesResponse, error) {
	under := journal.Root
	if text := strings.Trim(r.GetUnder(), "/"); text != "" {
		p, err := journal.ParsePath(text)
		if err != nil {
			return nil, failure(codes.InvalidArgument, err)
		}
		under = p
	}
	doc, err := s.node.Mailboxes(ctx, under, int(r.GetLimit()))
	if err != nil {
		return nil, failure(codes.FailedPrecondition, err)
	}
	b, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("write the mailboxes: %w", err)
	}
	return &pb.MailboxesResponse{Document: b}, nil
}

// Mailboxes asks how far the mirror has the mailboxes in a directory of the
// store, "" for all; at most limit of each kind are named. It returns the
// document as it came, too.
func (c *Client) Mailboxes(ctx context.Context, under string, limit int) (status.Mailboxes, []byte, error) {
	var doc status.Mailboxes
	r, err := pb.NewOperatorServiceClient(c.conn).Mailboxes(ctx, &pb.MailboxesRequest{Under: under, Limit: uint32(max(limit, 0))})
	if err != nil {
		return doc, nil, c.explain(err)
	}
	if err := json.Unmarshal(r.GetDocument(), &doc); err != nil {
		return doc, nil, fmt.Errorf("read the mailboxes: %w", err)
	}
	return doc, r.GetDocument(), nil
}
