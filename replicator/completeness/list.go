package completeness

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/mailboxes"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

const (
	pageBoxes = 1000
	// pageNames is how many names are looked at for a page, about.
	pageNames = 50_000
)

// ErrOld says that the other node is of a version that cannot tell.
var ErrOld = errors.New("the other node cannot tell of its mailboxes: update it")

// List returns the mailboxes of a node after a place, and where to go on; done
// says that there are no more.
type List func(ctx context.Context, under journal.Path, after mailboxes.Place) (boxes []mailboxes.Mailbox, next mailboxes.Place, done bool, err error)

// Own lists the mailboxes of a catalog.
func Own(c *catalog.Catalog) List {
	return func(ctx context.Context, under journal.Path, after mailboxes.Place) (boxes []mailboxes.Mailbox, next mailboxes.Place, done bool, err error) {
		if err := ctx.Err(); err != nil {
			return nil, "", false, err
		}
		err = c.View(func(t *catalog.Tx) (err error) {
			next, done, err = mailboxes.Walk{Top: under, Names: pageNames}.Page(t, after, func(m mailboxes.Mailbox) (bool, error) {
				boxes = append(boxes, m)
				return len(boxes) < pageBoxes, nil
			})
			return err
		})
		return boxes, next, done, err
	}
}

// Server tells other nodes of a node's mailboxes. It implements the generated
// MailboxServiceServer.
type Server struct {
	pb.UnimplementedMailboxServiceServer
	list List
	name func(context.Context) (string, error)
}

// NewServer returns a Server of what list lists. name returns the name of the
// authenticated caller, or a status that says that there is none.
func NewServer(list List, name func(context.Context) (string, error)) *Server {
	return &Server{list: list, name: name}
}

// Register makes a gRPC server answer with s.
func (s *Server) Register(r grpc.ServiceRegistrar) { pb.RegisterMailboxServiceServer(r, s) }

// ListMailboxes implements the generated MailboxServiceServer.
func (s *Server) ListMailboxes(ctx context.Context, r *pb.ListMailboxesRequest) (*pb.ListMailboxesResponse, error) {
	if _, err := s.name(ctx); err != nil {
		return nil, err
	}
	under, err := wire.ParsePath(r.GetUnder())
	if err == nil && len(r.GetAfter()) > 0 {
		_, err = wire.ParsePath(r.GetAfter())
	}
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	boxes, next, done, err := s.list(ctx, under, mailboxes.Place(r.GetAfter()))
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	out := &pb.ListMailboxesResponse{}
	if !done {
		out.Next = []byte(next)
	}
	for i := range boxes {
		out.Mailboxes = append(out.Mailboxes, stateOf(&boxes[i]))
	}
	return out, nil
}

func stateOf(m *mailboxes.Mailbox) *pb.MailboxState {
	digest := func(d catalog.Digest) []byte {
		if d == (catalog.Digest{}) {
			return nil
		}
		return d[:]
	}
	return &pb.MailboxState{
		Path: []byte(m.Path), Inbox: m.Inbox, Messages: m.Messages.Files, Bytes: uint64(m.Messages.Bytes),
		Missing: m.Messages.Missing, NewDigest: digest(m.Digests[0]), CurDigest: digest(m.Digests[1]),
	}
}

// Of lists the mailboxes of another node.
func Of(conn grpc.ClientConnInterface) List {
	client := pb.NewMailboxServiceClient(conn)
	return func(ctx context.Context, under journal.Path, after mailboxes.Place) (boxes []mailboxes.Mailbox, next mailboxes.Place, done bool, err error) {
		r, err := client.ListMailboxes(ctx, &pb.ListMailboxesRequest{Under: []byte(under), After: []byte(after)})
		switch {
		case status.Code(err) == codes.Unimplemented:
			return nil, "", false, ErrOld
		case err != nil:
			return nil, "", false, fmt.Errorf("ask for mailboxes: %s", status.Convert(err).Message())
		case len(r.GetMailboxes()) > pageBoxes || len(r.GetNext()) > journal.MaxPath:
			return nil, "", false, fmt.Errorf("%w: a page of %d mailboxes", wire.ErrProtocol, len(r.GetMailboxes()))
		}
		for _, m := range r.GetMailboxes() {
			box, err := parseState(m)
			if err != nil {
				return nil, "", false, err
			}
			boxes = append(boxes, box)
		}
		next = mailboxes.Place(r.GetNext())
		if next != "" && next == after {
			return nil, "", false, fmt.Errorf("%w: the list of mailboxes does not come on", wire.ErrProtocol)
		}
		return boxes, next, next == "", nil
	}
}

func parseState(in *pb.MailboxState) (out mailboxes.Mailbox, err error) {
	if out.Path, err = wire.ParsePath(in.GetPath()); err != nil {
		return out, err
	}
	out.Inbox = in.GetInbox()
	out.Messages = catalog.Totals{Files: in.GetMessages(), Bytes: int64(min(in.GetBytes(), 1<<62)), Missing: in.GetMissing()}
	var digests [2][32]byte
	digests[0], err = wire.ParseDigest(in.GetNewDigest())
	if err == nil {
		digests[1], err = wire.ParseDigest(in.GetCurDigest())
	}
	out.Digests = [2]catalog.Digest{digests[0], digests[1]}
	return out, err
}
