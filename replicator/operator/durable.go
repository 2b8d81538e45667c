package operator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/mailtwin/mailtwin/journal"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/hint"
)

// Durability is how far the changes of a primary are durable on its mirrors.
type Durability struct {
	Durable  journal.Sequence // on every mirror; 0 if there is none
	Mirrors  int
	Observed journal.Sequence // the last change in the journal, when the node had settled last
	Settled  bool             // nothing that was noticed is still to be looked at
}

// settleInterval is how often a node that has not settled is asked again: nobody
// tells when it has.
const settleInterval = 20 * time.Millisecond

// Durable tells how far changes are durable, and again whenever that has moved.
// It makes no document of the whole status, so that following it costs little.
func (s *Server) Durable(_ *pb.DurableRequest, stream pb.OperatorService_DurableServer) error {
	ctx := stream.Context()
	var told Durability
	for first := true; ; first = false {
		changed := s.Next()
		now, err := s.node.Durability()
		if err != nil {
			return failure(codes.FailedPrecondition, err)
		}
		var soon <-chan time.Time
		if !now.Settled {
			now.Observed, now.Settled = told.Observed, told.Settled // still true of that moment
			soon = time.After(settleInterval)
		}
		if first || now.moved(told) {
			told = now
			if err := stream.Send(&pb.DurableResponse{
				Durable: uint64(now.Durable), Mirrors: uint32(now.Mirrors), Observed: uint64(now.Observed), Settled: now.Settled,
			}); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			// The caller's deadline holds here too, and may be noticed here first.
			return grpcstatus.FromContextError(ctx.Err()).Err()
		case <-changed:
		case <-soon:
		}
	}
}

// moved reports whether there is something to tell after what was told last. That
// more was observed is told with what follows from it: each change is on its way
// then, and who is told at that moment takes the processor from it.
func (d Durability) moved(told Durability) bool {
	return d.Durable != told.Durable || d.Mirrors != told.Mirrors || d.Settled && !told.Settled
}

// FollowDurable calls f with how far changes are durable, now and whenever it has
// moved, until ctx ends or f fails. Settled says that Observed is known.
func (c *Client) FollowDurable(ctx context.Context, f func(Durability) error) error {
	err := c.followDurable(ctx, f)
	if _, ours := grpcstatus.FromError(err); ours {
		return c.explain(err)
	}
	return err
}

// followDurable is FollowDurable, with the errors of the socket as they are.
func (c *Client) followDurable(ctx context.Context, f func(Durability) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := pb.NewOperatorServiceClient(c.conn).Durable(ctx, &pb.DurableRequest{})
	if err != nil {
		return err
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		if err := f(Durability{
			Durable: journal.Sequence(m.GetDurable()), Mirrors: int(m.GetMirrors()),
			Observed: journal.Sequence(m.GetObserved()), Settled: m.GetSettled(),
		}); err != nil {
			return err
		}
	}
}

// ErrNotDurable says that changes were not durable on every mirror in time.
var ErrNotDurable = errors.New("not durable on every mirror yet")

// errReached ends a stream that has told enough.
var errReached = errors.New("durable")

// WaitDurable returns when all changes that the primary has noticed at some
// moment after the call began are durable on every mirror, of which there must be
// one. If the deadline of ctx comes before, that is ErrNotDurable.
func (c *Client) WaitDurable(ctx context.Context) error {
	var last Durability
	var want journal.Sequence
	heard, known := false, false
	err := c.followDurable(ctx, func(d Durability) error {
		last, heard = d, true
		if !known && d.Settled {
			known, want = true, d.Observed
		}
		if known && d.Mirrors > 0 && d.Durable >= want {
			return errReached
		}
		return nil
	})
	switch late := grpcstatus.Code(err) == codes.DeadlineExceeded; {
	case errors.Is(err, errReached):
		return nil
	case !late || !heard:
		return c.explain(err)
	case last.Mirrors == 0:
		return hint.Add(fmt.Errorf("%w: there is no mirror", ErrNotDurable), "make one with `mailtwin invite` and `mailtwin join`")
	case !known:
		return hint.Add(fmt.Errorf("%w: the store is still being looked at", ErrNotDurable), "`mailtwin status` says how far it is")
	}
	return hint.Add(fmt.Errorf("%w: change %d of %d is", ErrNotDurable, last.Durable, want), "`mailtwin status` says what is in the way")
}
