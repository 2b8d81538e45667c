package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/mailtwin/mailtwin/journal"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// ErrNotRunning says that no daemon answers on the socket.
var ErrNotRunning = errors.New("the daemon does not answer")

// maxDocument bounds a status, whose names may need six bytes for each of theirs.
const maxDocument = 32 << 20

// Client asks a daemon.
type Client struct {
	conn *grpc.ClientConn
	path string
}

// Dial returns a client of the daemon with that state directory. Whether it
// runs is found out by the first call.
func Dial(stateDir string) (*Client, error) {
	path := filepath.Join(stateDir, socketName)
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxDocument)))
	if err != nil {
		return nil, fmt.Errorf("the daemon's socket %q: %w", path, err)
	}
	return &Client{conn: conn, path: path}, nil
}

// Close ends the client.
func (c *Client) Close() error {
	if err := c.conn.Close(); err != nil {
		return fmt.Errorf("close the daemon's socket: %w", err)
	}
	return nil
}

// Status returns the status, and the document as it came. With all set it lists
// all names that it knows of something, not only the first.
func (c *Client) Status(ctx context.Context, all bool) (status.Document, []byte, error) {
	var doc status.Document
	var raw []byte
	err := c.follow(ctx, &pb.StatusRequest{Unreadable: all}, func(b []byte) error {
		raw = b
		return json.Unmarshal(b, &doc)
	})
	return doc, raw, err
}

// Follow calls f with each new status, at most once in interval, until ctx
// ends or f fails.
func (c *Client) Follow(ctx context.Context, interval time.Duration, f func(status.Document, []byte) error) error {
	return c.follow(ctx, &pb.StatusRequest{Follow: true, IntervalNanoseconds: uint64(interval)}, func(b []byte) error {
		var doc status.Document
		if err := json.Unmarshal(b, &doc); err != nil {
			return fmt.Errorf("read the status: %w", err)
		}
		return f(doc, b)
	})
}

func (c *Client) follow(ctx context.Context, r *pb.StatusRequest, f func([]byte) error) error {
	stream, err := pb.NewOperatorServiceClient(c.conn).Status(ctx, r)
	if err != nil {
		return c.explain(err)
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return c.explain(err)
		}
		if err := f(m.GetDocument()); err != nil {
			return err
		}
	}
}

// unavailable says why the daemon does not answer. What gRPC says is used where a
// look at the socket does not tell.
func (c *Client) unavailable(message string) error {
	remedy := "start it with `mailtwin daemon`, or name its settings with --config"
	conn, err := net.Dial("unix", c.path)
	switch {
	case err == nil:
		_ = conn.Close()
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		message = "it does not run"
	case errors.Is(err, fs.ErrPermission):
		message, remedy = "permission denied", "give the command as root, or as the user of the daemon"
	}
	return hint.Add(fmt.Errorf("%w on %q: %s", ErrNotRunning, c.path, message), "%s", remedy)
}

// JournalLine is an entry of the journal, and which mirrors have it.
type JournalLine struct {
	Sequence journal.Sequence
	Epoch    journal.Epoch
	Time     time.Time
	Kind     string
	Path     journal.Path
	From     journal.Path
	Size     int64
	Content  []byte
	Mirrors  []string
}

// Journal calls f with up to limit entries from a sequence number on; 0 stands
// for the oldest one, and for no limit.
func (c *Client) Journal(ctx context.Context, from journal.Sequence, limit uint64, f func(JournalLine) error) error {
	stream, err := pb.NewOperatorServiceClient(c.conn).ShowJournal(ctx, &pb.ShowJournalRequest{From: uint64(from), Limit: limit})
	if err != nil {
		return c.explain(err)
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return c.explain(err)
		}
		line := JournalLine{
			Sequence: journal.Sequence(m.GetPosition().GetSequence()), Epoch: journal.Epoch(m.GetPosition().GetEpoch()),
			Time: time.Unix(0, m.GetTime()), Kind: m.GetKindName(),
			Path: journal.Path(m.GetPath()), From: journal.Path(m.GetFrom()),
			Size: int64(m.GetFacts().GetSize()), Content: m.GetFacts().GetContent(), Mirrors: m.GetMirrors(),
		}
		if err := f(line); err != nil {
			return err
		}
	}
}

// Invite asks for a one-time token for a new mirror.
func (c *Client) Invite(ctx context.Context, validFor time.Duration) (string, time.Time, error) {
	r, err := pb.NewOperatorServiceClient(c.conn).Invite(ctx, &pb.InviteRequest{ValidNanoseconds: uint64(validFor)})
	if err != nil {
		return "", time.Time{}, c.explain(err)
	}
	return r.GetToken(), time.Unix(0, r.GetExpires()), nil
}

// ErrNotReady says that mailboxes were not ready in time.
var ErrNotReady = errors.New("not ready yet")

// Ready returns when the mailboxes of a user, or of all if it is "", may be
// opened after a promotion. If the deadline of ctx comes before, that is
// ErrNotReady.
func (c *Client) Ready(ctx context.Context, user string) error {
	_, err := pb.NewOperatorServiceClient(c.conn).Ready(ctx, &pb.ReadyRequest{User: user})
	switch grpcstatus.Code(err) {
	case codes.OK:
		return nil
	case codes.DeadlineExceeded:
		return hint.Add(ErrNotReady, "`mailtwin status` says how far it is")
	default:
		return c.explain(err)
	}
}

// explain puts an error of the socket into words.
func (c *Client) explain(err error) error {
	st, _ := grpcstatus.FromError(err)
	switch st.Code() {
	case codes.Unavailable:
		return c.unavailable(st.Message())
	case codes.Canceled:
		return context.Canceled
	case codes.DeadlineExceeded:
		return fmt.Errorf("%w on %q in time", ErrNotRunning, c.path)
	}
	return parseFailure(st.Message())
}
