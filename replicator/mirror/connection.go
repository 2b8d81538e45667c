package mirror

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// What the primary may send before it is granted more.
const (
	creditBytes   = 32 << 20
	creditEntries = 16 << 10
	grantBytes    = creditBytes / 8 // granted again in portions of this
	grantEntries  = creditEntries / 16
	stepsAhead    = 64 // steps received and not yet taken by the committer
)

var errSilent = fmt.Errorf("the primary has said nothing for %v", wire.SilenceLimit)

// connection is one stream.
type connection struct {
	m      *Mirror
	stream grpc.BidiStreamingClient[pb.ReplicateRequest, pb.ReplicateResponse]
	stage  *stage
	steps  chan step
	cancel context.CancelFunc // ends the stream, and whatever waits in it

	sendMu sync.Mutex

	mu           sync.Mutex
	ungranted    int64 // bytes received since the last grant
	ungrantedEnt int64
	lastHeard    time.Time
}

// connect runs one stream to its end, and says what ended it.
func (m *Mirror) connect(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := m.cfg.Root.Reopen(); err != nil {
		return inStore(err, "open", journal.Root)
	}
	stage, err := openStage(m.cfg.Root)
	if err != nil {
		return inStore(err, "prepare the staging directory", mailstore.Staging)
	}
	defer stage.close()
	conn, err := m.cfg.Dial(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	stream, err := pb.NewReplicationServiceClient(conn).Replicate(ctx)
	if err != nil {
		return fmt.Errorf("reach the primary: %w", err)
	}
	c := &connection{m: m, stream: stream, stage: stage, steps: make(chan step, stepsAhead), cancel: cancel, lastHeard: m.cfg.Now()}
	welcome, err := c.greet()
	if err != nil {
		return err
	}
	return c.run(ctx, welcome)
}

// greet shakes hands. It waits no longer than for any other sign of life.
func (c *connection) greet() (wire.WelcomeMessage, error) {
	var pos journal.Position
	var whole bool
	if err := c.m.cfg.Catalog.View(func(t *catalog.Tx) error {
		var err error
		pos = t.Position()
		whole, err = readWhole(t)
		return err
	}); err != nil {
		return wire.WelcomeMessage{}, err
	}
	if err := c.stream.Send(wire.Hello(wire.HelloMessage{Name: c.m.cfg.Name, Position: pos, Whole: whole})); err != nil {
		return wire.WelcomeMessage{}, c.failure(err)
	}
	first, err := c.stream.Recv()
	if err != nil {
		return wire.WelcomeMessage{}, c.failure(err)
	}
	w, err := wire.ParseWelcome(first.GetWelcome())
	if err != nil {
		return w, err
	}
	if w.Epoch < pos.Epoch {
		return w, fmt.Errorf("%w: %s is primary of epoch %d, this mirror has followed epoch %d already; %s must not be primary any more",
			wire.ErrProtocol, w.Name, w.Epoch, pos.Epoch, w.Name)
	}
	if w.Position != pos || w.Resync != "" {
		if err := c.m.cfg.Catalog.UpdateDurably(func(t *catalog.Tx) error {
			t.SetPosition(w.Position)
			return writeWhole(t, whole && w.Resync == "")
		}); err != nil {
			return w, err
		}
	}
	return w, nil
}

// failure finds out why a stream failed: the reason is in its status.
func (c *connection) failure(err error) error {
	if st, ok := status.FromError(err); ok {
		switch st.Code() {
		case codes.FailedPrecondition:
			return fmt.Errorf("%w: %s", wire.ErrVersion, st.Message())
		case codes.Unauthenticated, codes.InvalidArgument, codes.Aborted:
			return fmt.Errorf("the primary refused: %s", st.Message())
		}
	}
	return fmt.Errorf("talk to the primary: %w", err)
}

// run takes part in the stream until it ends.
func (c *connection) run(ctx context.Context, w wire.WelcomeMessage) error {
	now := c.m.cfg.Now()
	c.m.update(func(s *Status) {
		s.Primary, s.Epoch, s.Connected, s.Since, s.LastHeard = w.Name, w.Epoch, true, now, now
		s.LastError, s.Attention, s.Resync, s.Received = "", "", w.Resync, 0
		s.Proven = false
	})
	c.m.cfg.Log.Info("connected to the primary", "primary", w.Name, "position", w.Position, "resync", w.Resync)
	committer, err := newCommitter(c, w)
	if err != nil {
		return err
	}
	defer committer.close()
	if err := c.grant(creditBytes, creditEntries); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		err := newReceiver(c).run(ctx)
		if err == nil {
			err = errors.New("the primary ended the stream")
		}
		return err
	})
	group.Go(func() error { return committer.run(ctx) })
	group.Go(func() error { return c.report(ctx) })
	group.Go(func() error { return c.watchSilence(ctx) })
	// Recv and Send know nothing of the group's context: the first failure ends
	// the stream under them.
	stop := context.AfterFunc(ctx, c.cancel)
	defer stop()
	return group.Wait()
}

// send sends one message; it may be called concurrently.
func (c *connection) send(r *pb.ReplicateRequest) error {
	c.sendMu.Lock()
	defer c.sendMu.Unlock()
	if err := c.stream.Send(r); err != nil {
		return c.failure(err)
	}
	return nil
}

// grant allows the primary to send more.
func (c *connection) grant(bytes, entries int64) error {
	return c.send(&pb.ReplicateRequest{Message: &pb.ReplicateRequest_Credit{
		Credit: &pb.Credit{Bytes: uint64(bytes), Entries: uint64(entries)},
	}})
}

// spent notes what a batch has cost, and grants it again when enough has come
// together. What is received is on disk, and the steps that wait are few: the
// queue between receiver and committer is what holds the primary back.
func (c *connection) spent(bytes, entries int64) error {
	c.mu.Lock()
	c.ungranted += bytes
	c.ungrantedEnt += entries
	b, e := c.ungranted, c.ungrantedEnt
	if b < grantBytes && e < grantEntries {
		c.mu.Unlock()
		return nil
	}
	c.ungranted, c.ungrantedEnt = 0, 0
	c.mu.Unlock()
	return c.grant(b, e)
}

// heard notes a sign of life.
func (c *connection) heard() {
	c.mu.Lock()
	c.lastHeard = c.m.cfg.Now()
	c.mu.Unlock()
}

// report tells the primary once a second how the mirror is.
func (c *connection) report(ctx context.Context) error {
	tick := time.NewTicker(wire.HeartbeatInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if err := c.send(wire.ReportMessage(reportOf(c.m.Status()))); err != nil {
			return err
		}
	}
}

// watchSilence ends a stream on which the primary says nothing.
func (c *connection) watchSilence(ctx context.Context) error {
	tick := time.NewTicker(wire.HeartbeatInterval / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		c.mu.Lock()
		heard := c.lastHeard
		c.mu.Unlock()
		if c.m.cfg.Now().Sub(heard) > wire.SilenceLimit {
			return errSilent
		}
		c.m.update(func(s *Status) { s.LastHeard = heard })
	}
}

// reportOf makes of a status what the primary is told of it.
func reportOf(s Status) wire.Report {
	r := wire.Report{
		State: "following", Detail: s.Attention, Applied: s.Applied,
		DirectoriesLeft: s.Progress.Directories, FilesLeft: s.Progress.Files, BytesLeft: s.Progress.Bytes,
		Files: s.Totals.Files, Bytes: uint64(s.Totals.Bytes), Missing: s.Totals.Missing,
		Proven: s.Proven, ProvenSequence: s.ProvenAt,
	}
	if !s.Whole {
		r.State, r.Detail = "comparing", s.Resync
	}
	return r
}
