package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/mailtwin/mailtwin/journal"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/status"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// socketName is the socket's name in the state directory.
const socketName = "mailtwin.sock"

// maxSocketPath is what a Unix socket's address has room for (unix(7)).
const maxSocketPath = 107

// Node is the daemon that is asked.
type Node interface {
	Reporter
	// Journal returns the journal, or an error that says why there is none.
	Journal() (*journal.Log, error)
	// Invite makes a one-time token for a new mirror.
	Invite(validFor time.Duration) (token string, expires time.Time, err error)
	// Pace changes the pace and tells what it is then.
	Pace(change PaceChange) (status.Pace, error)
	// Accept tells what a person has to agree to, and takes note of what one does.
	Accept(a Accepting) (Acceptable, error)
}

// Reporter tells how the daemon is, now.
type Reporter interface {
	// Status returns the node's status.
	Status() status.Document
	// Mailboxes tells how far the mirror has the mailboxes in a directory, and
	// names at most limit of each kind.
	Mailboxes(ctx context.Context, under journal.Path, limit int) (status.Mailboxes, error)
	// Durability tells how far changes are durable; an error says that this node
	// is no primary.
	Durability() (Durability, error)
}

// PaceChange is what to change of the pace; nil stays as it is.
type PaceChange struct {
	Profile        *string
	BytesPerSecond *uint64 // 0: no cap
	ReadsPerSecond *uint64 // 0: no cap
	Hours          *string
	Paused         *bool
	Reset          bool // first of all the settings hold again
}

// Mailboxes are what IMAP clients open.
type Mailboxes interface {
	// Ready returns when the mailboxes of a user, or of all if it is "", may be
	// opened after a promotion; or why they may not, or what ended ctx.
	Ready(ctx context.Context, user string) error
}

// Server answers the commands. It implements the generated
// OperatorServiceServer.
type Server struct {
	pb.UnimplementedOperatorServiceServer
	node      Node
	mailboxes Mailboxes
	promoter  Promoter

	mu      sync.Mutex
	changed chan struct{} // closed at the next change
}

// NewServer returns a Server for a node and its mailboxes; the promoter can
// make the node primary. A nil promoter is for a node that cannot be.
func NewServer(node Node, mailboxes Mailboxes, promoter Promoter) *Server {
	return &Server{node: node, mailboxes: mailboxes, promoter: promoter, changed: make(chan struct{})}
}

// Changed wakes those who follow the status. It never blocks.
func (s *Server) Changed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

// clean makes s what a message can hold: names that mail users chose, and what
// hooks write, need not be valid UTF-8.
func clean(s string) string { return strings.ToValidUTF8(s, "?") }

// Next returns a channel that is closed at the next change.
func (s *Server) Next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// Serve answers on the socket in the state directory until ctx ends.
func (s *Server) Serve(ctx context.Context, stateDir string) error {
	path := filepath.Join(stateDir, socketName)
	if len(path) > maxSocketPath {
		return hint.Add(fmt.Errorf("the socket %q: its path is longer than %d bytes", path, maxSocketPath),
			"set state_dir to a shorter path")
	}
	// The state directory is locked by the catalog: a socket that is there is
	// left over from a daemon that died.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the old socket: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("listen for commands: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = listener.Close()
		return fmt.Errorf("protect the socket: %w", err)
	}
	server := grpc.NewServer()
	pb.RegisterOperatorServiceServer(server, s)
	stop := context.AfterFunc(ctx, server.Stop)
	defer stop()
	if err := server.Serve(listener); err != nil && ctx.Err() == nil {
		return fmt.Errorf("serve commands: %w", err)
	}
	return nil
}

// Status tells the status once, or again after each change.
func (s *Server) Status(r *pb.StatusRequest, stream pb.OperatorService_StatusServer) error {
	ctx := stream.Context()
	for {
		changed := s.Next()
		doc := s.node.Status()
		if !r.GetUnreadable() {
			doc.Shorten()
		}
		b, err := json.Marshal(doc)
		if err != nil {
			return fmt.Errorf("write the status: %w", err)
		}
		if err := stream.Send(&pb.StatusResponse{Document: b}); err != nil || !r.GetFollow() {
			return err
		}
		if !pause(ctx, time.Duration(min(r.GetIntervalNanoseconds(), uint64(time.Hour)))) {
			return nil
		}
		// Ages grow though nothing happens: once a second is a change.
		timer := time.NewTimer(time.Second)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// pause waits for d; false if ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// ShowJournal tells entries from a place on.
func (s *Server) ShowJournal(r *pb.ShowJournalRequest, stream pb.OperatorService_ShowJournalServer) error {
	log, err := s.node.Journal()
	if err != nil {
		return failure(codes.FailedPrecondition, err)
	}
	after := max(journal.Sequence(r.GetFrom()), 1) - 1
	if r.GetFrom() == 0 {
		after = log.Start().Sequence
	}
	reader, err := log.Read(after)
	if err != nil {
		return failure(codes.OutOfRange, err)
	}
	defer func() { _ = reader.Close() }()
	for n := uint64(0); r.GetLimit() == 0 || n < r.GetLimit(); n++ {
		rec, ok, err := reader.TryNext()
		if err != nil {
			return fmt.Errorf("read the journal: %w", err)
		}
		if !ok {
			return nil
		}
		if err := stream.Send(journalLine(rec, log.Cursors())); err != nil {
			return err
		}
	}
	return nil
}

func journalLine(rec journal.Record, cursors []journal.Cursor) *pb.ShowJournalResponse {
	out := &pb.ShowJournalResponse{
		Position: wire.Position(rec.Position), Time: rec.Time.UnixNano(),
		Kind: uint32(rec.Entry.Kind), KindName: rec.Entry.Kind.String(),
		Path: []byte(rec.Entry.Path), From: []byte(rec.Entry.From), Facts: wire.Facts(rec.Entry.Facts),
	}
	for _, c := range cursors {
		if c.Position.Sequence >= rec.Position.Sequence && !c.Behind {
			out.Mirrors = append(out.Mirrors, c.Name)
		}
	}
	return out
}

// Invite makes a one-time token.
func (s *Server) Invite(_ context.Context, r *pb.InviteRequest) (*pb.InviteResponse, error) {
	token, expires, err := s.node.Invite(time.Duration(min(r.GetValidNanoseconds(), uint64(30*24*time.Hour))))
	if err != nil {
		return nil, failure(codes.FailedPrecondition, err)
	}
	return &pb.InviteResponse{Token: token, Expires: expires.UnixNano()}, nil
}

// Ready waits for mailboxes.
func (s *Server) Ready(ctx context.Context, r *pb.ReadyRequest) (*pb.ReadyResponse, error) {
	err := s.mailboxes.Ready(ctx, r.GetUser())
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, grpcstatus.FromContextError(ctx.Err()).Err()
	case err != nil:
		return nil, failure(codes.FailedPrecondition, err)
	}
	return &pb.ReadyResponse{}, nil
}
