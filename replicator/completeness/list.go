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

// List returns the mailboxes of a node after a place.
type List func(ctx context.Context, under journal.Path, after mailboxes.Place) (Page, error)

// Page is some mailboxes of a list.
type Page struct {
	Mailboxes []mailboxes.Mailbox
	Next      mailboxes.Place // where to go on
	Done      bool            // there are no more
	// FirstScan says that the node still looks at its store for the first time: what
	// it has not come to as a whole is not in the list.
	FirstScan bool
}

// FirstScan reports whether a node still looks at its store for the first time, and
// how far it has come, see watch.Status; "": nothing is known as a whole. What is
// said to have been reached has to be in the catalog.
type FirstScan func() (reached journal.Path, goesOn bool, err error)

// Own lists the mailboxes of a catalog. While the first scan goes on, those that are
// not known as a whole would seem to be smaller than they are.
func Own(c *catalog.Catalog, first FirstScan) List {
	return func(ctx context.Context, under journal.Path, after mailboxes.Place) (out Page, err error) {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		walk := mailboxes.Walk{Top: under, Names: pageNames}
		if walk.Reached, out.FirstScan, err = first(); err != nil {
			return out, err
		}
		if out.FirstScan && walk.Reached == "" {
			out.Next, out.Done = after, true
			return out, nil
		}
		err = c.View(func(t *catalog.Tx) (err error) {
			out.Next, out.Done, err = walk.Page(t, after, func(m mailboxes.Mailbox) (bool, error) {
				out.Mailboxes = append(out.Mailboxes, m)
				return len(out.Mailboxes) < pageBoxes, nil
			})
			return err
		})
		out.Done = out.Done || out.FirstScan && out.Next == after // the rest is not known yet
		return out, err
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
	page, err := s.list(ctx, under, mailboxes.Place(r.GetAfter()))
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	out := &pb.ListMailboxesResponse{FirstScan: page.FirstScan}
	if !page.Done {
		out.Next = []byte(page.Next)
	}
	for i := range page.Mailboxes {
		out.Mailboxes = append(out.Mailboxes, stateOf(&page.Mailboxes[i]))
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
	return func(ctx context.Context, under journal.Path, after mailboxes.Place) (out Page, err error) {
		r, err := client.ListMailboxes(ctx, &pb.ListMailboxesRequest{Under: []byte(under), After: []byte(after)})
		switch {
		case status.Code(err) == codes.Unimplemented:
			return out, ErrOld
		case err != nil:
			return out, fmt.Errorf("ask for mailboxes: %s", status.Convert(err).Message())
		case len(r.GetMailboxes()) > pageBoxes || len(r.GetNext()) > journal.MaxPath:
			return out, fmt.Errorf("%w: a page of %d mailboxes", wire.ErrProtocol, len(r.GetMailboxes()))
		}
		for _, m := range r.GetMailboxes() {
			box, err := parseState(m)
			if err != nil {
				return out, err
			}
			out.Mailboxes = append(out.Mailboxes, box)
		}
		out.Next = mailboxes.Place(r.GetNext())
		if out.Next != "" && out.Next == after {
			return out, fmt.Errorf("%w: the list of mailboxes does not come on", wire.ErrProtocol)
		}
		out.Done, out.FirstScan = out.Next == "", r.GetFirstScan()
		return out, nil
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
