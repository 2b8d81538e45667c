package primary

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mailtwin/mailtwin/journal"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

var (
	errReplaced = errors.New("a newer stream of the same mirror took over")
	errSilent   = fmt.Errorf("the mirror has said nothing for %v", wire.SilenceLimit)
)

// MirrorState is how a mirror is, as its primary knows it.
type MirrorState struct {
	Name       string
	Connected  bool
	Since      time.Time // of this connection
	LastHeard  time.Time
	LastSeen   time.Time // when the last connection ended
	LastError  string    // why
	Acked      journal.Sequence
	LagEntries uint64
	LagBytes   int64
	Lag        time.Duration // age of the oldest entry not acknowledged
	Behind     bool          // what it needs was trimmed; it has to compare
	Resync     string        // why it compares now; "" if it does not
	SentBytes  uint64        // of contents and entries, in this connection
	SentFiles  uint64
	RawBytes   uint64 // what SentBytes and deduplication stand for
	// What the mirror says of itself.
	State, Detail       string
	DirectoriesLeft     uint64
	FilesLeft           uint64
	BytesLeft           uint64
	Files, Bytes        uint64
	Missing             uint64
	Proven              bool
	ProvenSequence      journal.Sequence
	UnreadOnPrimary     uint64
	Applied             journal.Sequence
	NotYetAcknowledging bool
}

// request is something that the mirror asked for: a comparison or a fetch.
type request struct {
	compare *wire.CompareItem
	fetch   *wire.FetchItem
}

// session is one mirror's stream.
type session struct {
	name   string
	server *Server
	stream pb.ReplicationService_ReplicateServer
	start  journal.Position // entries follow from here
	reason string           // why it has to compare; "" if it need not
	since  time.Time
	cancel context.CancelCauseFunc

	requests chan request
	wake     chan struct{} // credit came; capacity 1

	mu            sync.Mutex
	creditBytes   int64
	creditEntries int64
	acked         journal.Sequence
	lastHeard     time.Time
	report        wire.Report
	sent          sentTotals
}

type sentTotals struct {
	bytes, raw, files uint64
}

// welcome shakes hands: it decides from where the mirror goes on.
func (s *Server) welcome(ctx context.Context, name string, stream pb.ReplicationService_ReplicateServer) (*session, error) {
	first, err := stream.Recv()
	if err != nil {
		return nil, fmt.Errorf("wait for the mirror's hello: %w", err)
	}
	hello, err := wire.ParseHello(first.GetHello())
	if err != nil {
		return nil, err
	}
	if hello.Name != name {
		return nil, fmt.Errorf("%w: the certificate is of %q, the hello of %q", wire.ErrProtocol, name, hello.Name)
	}
	version, ok := wire.Negotiate(hello.OldestVersion, hello.NewestVersion)
	if !ok {
		return nil, fmt.Errorf("%w: the mirror speaks %d to %d, this primary %d to %d; update the older one",
			wire.ErrVersion, hello.OldestVersion, hello.NewestVersion, wire.OldestVersion, wire.NewestVersion)
	}
	sess := &session{
		name: name, server: s, stream: stream, since: s.cfg.Now(), lastHeard: s.cfg.Now(),
		requests: make(chan request, wire.MaxPendingRequests),
		wake:     make(chan struct{}, 1),
	}
	sess.start, sess.reason = s.place(hello)
	sess.acked = sess.start.Sequence
	if sess.reason != "" {
		sess.acked = 0
	}
	if err := s.cfg.Journal.SetCursor(name, sess.start); err != nil {
		return nil, fmt.Errorf("remember the place of %s: %w", name, err)
	}
	return sess, stream.Send(wire.Welcome(wire.WelcomeMessage{
		Version: version, Name: s.cfg.Name, Epoch: s.cfg.Epoch, Position: sess.start, Resync: sess.reason,
	}))
}

// place decides from where entries follow, and why the mirror has to compare.
func (s *Server) place(h wire.HelloMessage) (journal.Position, string) {
	err := s.cfg.Journal.Contains(h.Position)
	switch {
	case errors.Is(err, journal.ErrTrimmed):
		return s.cfg.Journal.Head(), "the journal no longer reaches back to where the mirror is"
	case err != nil:
		return s.cfg.Journal.Head(), "the mirror's position is not in this journal: " + err.Error()
	case !h.Whole && h.Position.Sequence == 0:
		return s.cfg.Journal.Head(), "the mirror is new"
	case !h.Whole:
		return h.Position, "the last comparison was not finished"
	}
	return h.Position, ""
}

// run serves the mirror until something ends it.
func (s *session) run(ctx context.Context) error {
	ctx, s.cancel = context.WithCancelCause(ctx)
	defer s.cancel(nil)
	if err := s.server.enter(s); err != nil {
		return err
	}
	s.server.cfg.Changed()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.receive(ctx) })
	group.Go(func() error { return s.watchSilence(ctx) })
	group.Go(func() error { return runSender(ctx, s) })
	err := group.Wait()
	if cause := context.Cause(ctx); errors.Is(cause, errReplaced) {
		return cause
	}
	return err
}

// receive takes what the mirror says. A stream's Recv ends only with the
// stream, so this returns at the latest when the handler does.
func (s *session) receive(ctx context.Context) error {
	messages := make(chan *pb.ReplicateRequest)
	failed := make(chan error, 1)
	go func() {
		for {
			m, err := s.stream.Recv()
			if err != nil {
				failed <- err
				return
			}
			select {
			case messages <- m:
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return fmt.Errorf("receive from the mirror: %w", err)
		case m := <-messages:
			if err := s.take(m); err != nil {
				return err
			}
		}
	}
}

// take acts on one message.
func (s *session) take(m *pb.ReplicateRequest) error {
	s.mu.Lock()
	s.lastHeard = s.server.cfg.Now()
	s.mu.Unlock()
	switch {
	case m.GetCredit() != nil:
		s.addCredit(m.GetCredit())
	case m.GetAcknowledgement() != nil:
		return s.acknowledge(journal.Sequence(m.GetAcknowledgement().GetSequence()))
	case m.GetReport() != nil:
		s.mu.Lock()
		s.report = wire.ParseReport(m.GetReport())
		s.mu.Unlock()
		s.server.cfg.Changed()
	case m.GetCompare() != nil:
		items, err := wire.ParseCompare(m.GetCompare())
		if err != nil {
			return err
		}
		for i := range items {
			if err := s.enqueue(request{compare: &items[i]}); err != nil {
				return err
			}
		}
	case m.GetFetch() != nil:
		items, err := wire.ParseFetch(m.GetFetch())
		if err != nil {
			return err
		}
		for i := range items {
			if err := s.enqueue(request{fetch: &items[i]}); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("%w: a message of no known kind", wire.ErrProtocol)
	}
	return nil
}

func (s *session) enqueue(r request) error {
	select {
	case s.requests <- r:
		return nil
	default:
		return fmt.Errorf("%w: more than %d requests wait", wire.ErrProtocol, wire.MaxPendingRequests)
	}
}

func (s *session) addCredit(c *pb.Credit) {
	s.mu.Lock()
	s.creditBytes += int64(c.GetBytes())
	s.creditEntries += int64(c.GetEntries())
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// acknowledge moves the mirror's cursor.
func (s *session) acknowledge(seq journal.Sequence) error {
	if head := s.server.cfg.Journal.Head().Sequence; seq > head {
		return fmt.Errorf("%w: entry %d acknowledged, the last is %d", wire.ErrProtocol, seq, head)
	}
	s.mu.Lock()
	s.acked = max(s.acked, seq)
	s.mu.Unlock()
	if err := s.server.cfg.Journal.SetCursor(s.name, journal.Position{Epoch: s.server.cfg.Epoch, Sequence: seq}); err != nil {
		return fmt.Errorf("move the cursor of %s: %w", s.name, err)
	}
	s.server.cfg.Changed()
	return nil
}

// watchSilence ends the stream of a mirror that says nothing any more.
func (s *session) watchSilence(ctx context.Context) error {
	tick := time.NewTicker(wire.HeartbeatInterval / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		s.mu.Lock()
		silent := s.server.cfg.Now().Sub(s.lastHeard)
		s.mu.Unlock()
		if silent > wire.SilenceLimit {
			return errSilent
		}
	}
}

// describe adds what the session knows of its mirror.
func (s *session) describe(m *MirrorState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m.Since, m.LastHeard = s.since, s.lastHeard
	// A sender that hangs keeps the session for a while after its peer is dead.
	if m.Connected = s.server.cfg.Now().Sub(s.lastHeard) <= wire.SilenceLimit; !m.Connected {
		m.LastError = errSilent.Error()
	}
	m.Acked, m.Resync = s.acked, s.reason
	m.SentBytes, m.SentFiles, m.RawBytes = s.sent.bytes, s.sent.files, s.sent.raw
	r := s.report
	m.State, m.Detail, m.Applied = r.State, r.Detail, r.Applied
	m.DirectoriesLeft, m.FilesLeft, m.BytesLeft = r.DirectoriesLeft, r.FilesLeft, r.BytesLeft
	m.Files, m.Bytes, m.Missing = r.Files, r.Bytes, r.Missing
	m.Proven, m.ProvenSequence = r.Proven, r.ProvenSequence
}
