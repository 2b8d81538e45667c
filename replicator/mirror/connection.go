package mirror

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

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
	// stepsAhead is how many steps may wait for the committer: as many as come
	// while it waits for the disk. What they hold in memory is bounded by the
	// credit; an answer holds nothing but names.
	stepsAhead = 2 * fetchesInFlight
	// liveAhead is the same of batches of entries.
	liveAhead = 1024
)

var (
	errSilent = fmt.Errorf("the primary has said nothing for %v", wire.SilenceLimit)
	// errOldEpoch says that somebody who is primary no more goes on as one.
	errOldEpoch = errors.New("primary of an old epoch")
)

// connection is one stream.
type connection struct {
	m      *Mirror
	stream grpc.BidiStreamingClient[pb.ReplicateRequest, pb.ReplicateResponse]
	stage  *stage
	steps  chan step     // but entries
	live   chan step     // entries
	news   chan struct{} // the primary should hear soon how the mirror is; capacity 1
	// epoch is the highest that this mirror has followed: what is sent is of it,
	// and nothing of a lower one is taken. Set before the stream is shared.
	epoch   journal.Epoch
	greeted bool // the primary is of that very epoch
	began   time.Time

	resting atomic.Bool    // the committer waits for steps
	syncing atomic.Int32   // contents that are being synced as they arrived
	syncs   sync.WaitGroup // of them

	sendMu sync.Mutex

	mu           sync.Mutex
	ungranted    int64 // bytes received since the last grant
	ungrantedEnt int64
	lastHeard    time.Time
	listening    time.Time // since when the receiver waits for the primary; zero if it does something else
}

// connect runs one stream to its end, and says what ended it.
func (m *Mirror) connect(ctx context.Context) error {
	stage, err := m.prepare(ctx)
	if err != nil {
		return err
	}
	defer stage.close()
	conn, err := m.cfg.Dial(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	return m.follow(ctx, pb.NewReplicationServiceClient(conn), stage)
}

// prepare makes sure that the store is the one that the catalog is of, and says what
// is in it, and makes room for contents.
func (m *Mirror) prepare(ctx context.Context) (*stage, error) {
	if err := m.openStore(); err != nil {
		return nil, err
	}
	if err := m.adopt(ctx); err != nil {
		return nil, err
	}
	if err := m.recognize(ctx); err != nil {
		return nil, err
	}
	stage, err := openStage(m.cfg.Root)
	return stage, inStore(err, "prepare the staging directory", mailstore.Staging)
}

// follow runs one stream over a connection.
func (m *Mirror) follow(ctx context.Context, client pb.ReplicationServiceClient, stage *stage) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// Whatever hangs in the stream ends with its context.
	slow := time.AfterFunc(2*wire.SilenceLimit, func() { cancel(errSilent) })
	defer slow.Stop()
	stream, err := client.Replicate(ctx, grpc.ForceCodecV2(wire.NewCodec()))
	if err != nil {
		return fmt.Errorf("reach the primary: %w", err)
	}
	now := m.cfg.Now()
	c := &connection{m: m, stream: stream, stage: stage, steps: make(chan step, stepsAhead), live: make(chan step, liveAhead), news: make(chan struct{}, 1), lastHeard: now, began: now}
	welcome, err := c.greet()
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	if err != nil {
		return err
	}
	if !slow.Stop() {
		return errSilent
	}
	return c.run(ctx, cancel, welcome)
}

// greet shakes hands.
func (c *connection) greet() (wire.WelcomeMessage, error) {
	var pos journal.Position
	var whole bool
	var was progressMeta
	if err := c.m.cfg.Catalog.View(func(t *catalog.Tx) error {
		pos = t.Position()
		var err, perr error
		whole, err = readWhole(t)
		was, perr = readProgress(t)
		return errors.Join(err, perr)
	}); err != nil {
		return wire.WelcomeMessage{}, inCatalog(err)
	}
	c.epoch = max(pos.Epoch, was.Epoch, c.m.cfg.Epoch())
	if err := c.send(wire.Hello(wire.HelloMessage{Name: c.m.cfg.Name, Position: pos, Whole: whole})); err != nil {
		return wire.WelcomeMessage{}, err
	}
	first, err := c.receive()
	if err != nil && !errors.Is(err, errOldEpoch) {
		return wire.WelcomeMessage{}, c.failure(err)
	}
	w, werr := wire.ParseWelcome(first.GetWelcome())
	if werr != nil {
		return w, werr
	}
	if err != nil || w.Epoch < c.epoch {
		return w, fmt.Errorf("%w: %s is primary of epoch %d, this mirror knows of epoch %d already; %s must not be primary any more",
			errOldEpoch, w.Name, w.Epoch, c.epoch, w.Name)
	}
	c.epoch, c.greeted = w.Epoch, true
	if err := c.m.cfg.Led(w.Name, w.Epoch); err != nil {
		return w, err
	}
	if w.Position.Epoch > w.Epoch || w.Resync == "" && (w.Position != pos || !whole) {
		return w, fmt.Errorf("%w: entries are to follow from %v, in epoch %d; this mirror is at %v",
			wire.ErrProtocol, w.Position, w.Epoch, pos)
	}
	return w, c.begin(pos, whole, was, w)
}

// begin notes from where the mirror goes on, before it does, and which promotions its
// store has behind it from then on: not before, for it may be promoted itself instead.
func (c *connection) begin(pos journal.Position, whole bool, was progressMeta, w wire.WelcomeMessage) error {
	if another := w.Resync != "" || w.Epoch != was.Epoch; another && !c.m.tidy {
		// What is compared are catalogs, and none would tell of what the last group made,
		// which does not come again, or not from a primary that never had it.
		c.m.untold = "something was made in it before a crash or an error that its catalog may not tell of"
		why := cmp.Or(w.Resync, "the epoch is another one")
		return fmt.Errorf("%s is primary of epoch %d, and goes on from %v (%s); but first, this store is looked at as a whole",
			w.Name, w.Epoch, w.Position, why)
	}
	now := was
	now.Epoch = w.Epoch
	if w.Position != pos || w.Epoch != was.Epoch {
		// What was applied beyond the position may be of another history.
		now.Applied = 0
		if was.Applied > pos.Sequence && w.Resync == "" {
			return c.startOver(was, w)
		}
	}
	if w.Position.Sequence < now.Owed {
		now.Owed = w.Position.Sequence + 1
	}
	if w.Position == pos && w.Resync == "" && now == was {
		return c.m.noteReigns(w.Reigns)
	}
	return inCatalog(c.m.cfg.Catalog.UpdateDurably(func(t *catalog.Tx) error {
		t.SetPosition(w.Position)
		if err := writeProgress(t, now); err != nil {
			return err
		}
		if err := writeReigns(t, w.Reigns); err != nil {
			return err
		}
		if w.Resync != "" && mayHaveMore(pos, was, w) {
			if err := openSplit(t, was.Epoch); err != nil {
				return err
			}
		}
		return writeWhole(t, whole && w.Resync == "")
	}))
}

// startOver ends a stream whose entries cannot be told from those that this
// mirror has applied already; the next one begins with a comparison.
func (c *connection) startOver(was progressMeta, w wire.WelcomeMessage) error {
	err := c.m.cfg.Catalog.UpdateDurably(func(t *catalog.Tx) error { return writeWhole(t, false) })
	if err != nil {
		return inCatalog(err)
	}
	return fmt.Errorf("entry %d was applied in epoch %d, and the epoch is %d now: the stores have to be compared",
		was.Applied, was.Epoch, w.Epoch)
}

// failure finds out why a stream failed: the reason is in its status.
func (c *connection) failure(err error) error {
	if errors.Is(err, errOldEpoch) || errors.Is(err, wire.ErrProtocol) {
		return err
	}
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

// run takes part in the stream until it ends. cancel ends it in both
// directions.
func (c *connection) run(ctx context.Context, cancel context.CancelCauseFunc, w wire.WelcomeMessage) error {
	now := c.m.cfg.Now()
	c.m.update(func(s *Status) {
		s.Primary, s.Epoch, s.Connected, s.Since, s.LastHeard = w.Name, w.Epoch, true, now, now
		s.LastError, s.Resync, s.Received = "", w.Resync, 0
		s.Proven, s.Whole = false, w.Resync == ""
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
	// The first to fail ends the stream for the others, who may hang in it; what
	// they say then is not the reason.
	var group sync.WaitGroup
	for _, part := range []func(context.Context) error{newReceiver(c).run, committer.run, c.report, c.watchSilence} {
		group.Go(func() { cancel(part(ctx)) })
	}
	group.Wait()
	c.syncs.Wait()
	return context.Cause(ctx)
}

// untoldError is a message that could not be sent.
type untoldError struct{ error }

func (e *untoldError) Unwrap() error { return e.error }

// send sends one message, as all of them are; it may be called concurrently.
func (c *connection) send(r *pb.ReplicateRequest) error {
	c.sendMu.Lock()
	defer c.sendMu.Unlock()
	r.Epoch = uint64(c.epoch)
	err := c.stream.Send(r)
	if err != nil && !errors.Is(err, io.EOF) {
		return &untoldError{c.failure(err)}
	}
	return nil // with io.EOF the stream has ended: what has arrived is still to be read, and then why
}

// grant allows the primary to send more.
func (c *connection) grant(bytes, entries int64) error {
	return c.send(&pb.ReplicateRequest{Message: &pb.ReplicateRequest_Credit{
		Credit: &pb.Credit{Bytes: uint64(bytes), Entries: uint64(entries)},
	}})
}

// spent notes what the primary has sent and has no place in memory any more,
// and grants it again when enough has come together: contents when they are
// staged, entries when they are committed.
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

// receive waits for the next message, which whoever gets it frees. It is errOldEpoch,
// with the message, if that is of a lower epoch than the mirror has followed.
func (c *connection) receive() (*wire.Received, error) {
	c.mu.Lock()
	c.listening = c.m.cfg.Now()
	c.mu.Unlock()
	m := &wire.Received{}
	err := c.stream.RecvMsg(m)
	c.mu.Lock()
	c.listening = time.Time{}
	if err == nil {
		c.lastHeard = c.m.cfg.Now()
	}
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	switch epoch := journal.Epoch(m.GetEpoch()); {
	case epoch < c.epoch:
		err = fmt.Errorf("%w: a message of epoch %d, in epoch %d", errOldEpoch, epoch, c.epoch)
	case epoch > c.epoch && c.greeted:
		err = fmt.Errorf("%w: a message of epoch %d from a primary of epoch %d", wire.ErrProtocol, epoch, c.epoch)
	}
	return m, err
}

// reportSoon has the primary told at once what has become better.
func (c *connection) reportSoon() {
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// report tells the primary once a second how the mirror is, and when there is
// news.
func (c *connection) report(ctx context.Context) error {
	tick := time.NewTicker(wire.HeartbeatInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		case <-c.news:
		}
		r := reportOf(c.m.Status())
		r.Stamp = c.m.cfg.Now().Sub(c.began)
		if err := c.send(wire.ReportMessage(r)); err != nil {
			return err
		}
	}
}

// watchSilence ends a stream on which the primary says nothing. Who does not
// listen, because a disk is slow, has nobody to blame.
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
		heard, listening := c.lastHeard, c.listening
		c.mu.Unlock()
		since := listening
		if arrived := c.m.cfg.Arrived(); arrived.After(since) {
			since = arrived // a message that is large takes its time on a slow link
		}
		if !listening.IsZero() && c.m.cfg.Now().Sub(since) > wire.SilenceLimit {
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
		Files: s.Totals.Files, Bytes: uint64(s.Totals.Bytes), Missing: s.Totals.Missing, Assumed: s.Totals.Guessed,
		Proven: s.Proven, ProvenSequence: s.ProvenAt,
	}
	if !s.Whole {
		r.State, r.Detail = "comparing", s.Resync
	}
	return r
}
