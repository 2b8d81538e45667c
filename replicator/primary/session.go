package primary

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

var (
	errReplaced = errors.New("a newer stream of the same mirror took over")
	errLingers  = errors.New("the stream before this one still waits for the store")
	errSilent   = fmt.Errorf("the mirror has said nothing for %v", wire.SilenceLimit)
	errLeft     = errors.New("the mirror ended the stream")
	errStopping = errors.New("the primary is stopping")
	errFenced   = errors.New("this node must not be primary any more")
	// errOldEpoch says that a mirror speaks for an epoch that is over.
	errOldEpoch = errors.New("message of an old epoch")
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
	State, Detail   string
	DirectoriesLeft uint64
	FilesLeft       uint64
	BytesLeft       uint64
	Files, Bytes    uint64
	Missing         uint64
	Assumed         uint64
	Proven          bool
	ProvenSequence  journal.Sequence
	Applied         journal.Sequence
}

// request is something that the mirror asked for: a comparison, a fetch or a
// survey.
type request struct {
	compare *wire.CompareItem
	fetch   *wire.FetchItem
	survey  *wire.SurveyItem
}

// session is one mirror's stream.
type session struct {
	name   string
	server *Server
	stream pb.ReplicationService_ReplicateServer
	cancel context.CancelCauseFunc
	done   <-chan struct{}  // closed when the stream is given up
	ended  chan struct{}    // closed when nothing of the session is left
	start  journal.Position // entries follow from here
	reason string           // why it has to compare; "" if it need not
	since  time.Time

	messages chan *pb.ReplicateRequest
	requests chan request
	ahead    chan announced
	wake     chan struct{} // credit or an acknowledgement came; capacity 1

	mu            sync.Mutex
	creditBytes   int64
	creditEntries int64
	sentTo        journal.Sequence // the last entry that was sent
	acked         journal.Sequence
	lastHeard     time.Time
	report        wire.Report
	sent          sentTotals
	distance      distance
}

type sentTotals struct {
	bytes, raw, files uint64
}

func newSession(s *Server, name string, stream pb.ReplicationService_ReplicateServer,
	cancel context.CancelCauseFunc, done <-chan struct{}) *session {
	return &session{
		name: name, server: s, stream: stream, cancel: cancel, done: done,
		ended: make(chan struct{}), since: s.cfg.Now(), lastHeard: s.cfg.Now(),
		messages: make(chan *pb.ReplicateRequest),
		requests: make(chan request, wire.MaxPendingRequests),
		ahead:    make(chan announced, 1),
		wake:     make(chan struct{}, 1),
	}
}

// connected reports whether the stream goes on.
func (s *session) connected() bool {
	select {
	case <-s.done:
		return false
	default:
		return true
	}
}

// listen receives until the stream ends. A stream's Recv ends only with the
// stream, so nobody waits for this.
func (s *session) listen(ctx context.Context) {
	for first := true; ; first = false {
		m, err := s.stream.Recv()
		if err == nil {
			err = s.current(m, first)
		}
		switch {
		case errors.Is(err, io.EOF):
			s.cancel(errLeft)
			return
		case err != nil:
			s.cancel(fmt.Errorf("receive from the mirror: %w", err))
			return
		}
		select {
		case s.messages <- m:
		case <-ctx.Done():
			return
		}
	}
}

// current refuses a message of another epoch than the primary's. Only the
// first may be of a lower one: a mirror has yet to be told.
func (s *session) current(m *pb.ReplicateRequest, first bool) error {
	own, epoch := s.server.cfg.Epoch, journal.Epoch(m.GetEpoch())
	switch {
	case epoch > own:
		return s.superseded(epoch)
	case epoch < own && !first:
		return fmt.Errorf("%w: %d, in epoch %d", errOldEpoch, epoch, own)
	}
	return nil
}

// superseded says that the mirror knows of a higher epoch than this primary's.
func (s *session) superseded(epoch journal.Epoch) error {
	s.server.cfg.Superseded(s.name, epoch)
	return fmt.Errorf("%w: %s knows of a primary of epoch %d, this one is of epoch %d",
		errFenced, s.name, epoch, s.server.cfg.Epoch)
}

// send hands one message to the stream, as all of them are.
func (s *session) send(m *pb.ReplicateResponse) error {
	m.Epoch = uint64(s.server.cfg.Epoch)
	return s.stream.Send(m)
}

// hello waits for the first message, no longer than for any other.
func (s *session) hello(ctx context.Context) (wire.HelloMessage, error) {
	timer := time.NewTimer(wire.SilenceLimit)
	defer timer.Stop()
	var hello wire.HelloMessage
	var err error
	select {
	case <-ctx.Done():
		return hello, fmt.Errorf("wait for the mirror's hello: %w", context.Cause(ctx))
	case <-timer.C:
		return hello, fmt.Errorf("wait for the mirror's hello: %w", errSilent)
	case m := <-s.messages:
		hello, err = wire.ParseHello(m.GetHello())
	}
	switch {
	case err != nil:
		return hello, err
	case hello.Name != s.name:
		return hello, fmt.Errorf("%w: the certificate is of %q, the hello of %q", wire.ErrProtocol, s.name, hello.Name)
	case hello.Position.Epoch > s.server.cfg.Epoch:
		return hello, s.superseded(hello.Position.Epoch)
	}
	return hello, nil
}

// welcome decides from where the mirror goes on, and tells it.
func (s *session) welcome(hello wire.HelloMessage) error {
	cfg := &s.server.cfg
	version, ok := wire.Negotiate(hello.OldestVersion, hello.NewestVersion)
	if !ok {
		return fmt.Errorf("%w: the mirror speaks %d to %d, this primary %d to %d; update the older one",
			wire.ErrVersion, hello.OldestVersion, hello.NewestVersion, wire.OldestVersion, wire.NewestVersion)
	}
	s.mu.Lock()
	s.start, s.reason = s.server.place(hello)
	s.sentTo = s.start.Sequence
	cursor := s.server.acknowledgedBefore(s.name, s.start)
	if s.reason == "" {
		s.acked = cursor.Sequence
	}
	s.mu.Unlock()
	// That it has followed this epoch is seen by the cursor's.
	if err := cfg.Journal.SetCursor(s.name, journal.Position{Epoch: cfg.Epoch, Sequence: cursor.Sequence}); err != nil {
		return fmt.Errorf("remember the place of %s: %w", s.name, err)
	}
	if err := s.send(wire.Welcome(wire.WelcomeMessage{
		Version: version, Name: cfg.Name, Epoch: cfg.Epoch, Position: s.start, Resync: s.reason, Began: cfg.Began, Reigns: cfg.Reigns,
	})); err != nil {
		return fmt.Errorf("welcome the mirror: %w", err)
	}
	cfg.Log.Info("mirror connected", "mirror", s.name, "position", s.start, "resync", s.reason)
	cfg.Changed()
	return nil
}

// acknowledgedBefore returns the place up to which a mirror is known to have
// everything when it connects. It may have applied more, without the contents
// that it still has to ask for: its position is not an acknowledgement. The place
// of one whose entries were trimmed would hold nothing back, and it needs what
// follows its comparison: like a new one it has the start of the journal.
func (s *Server) acknowledgedBefore(name string, start journal.Position) journal.Position {
	for _, c := range s.cfg.Journal.Cursors() {
		switch {
		case c.Name != name:
		case c.Behind:
			return s.cfg.Journal.Start()
		case c.Position.Sequence <= start.Sequence:
			return c.Position
		default:
			return start
		}
	}
	return s.cfg.Journal.Start()
}

// place decides from where entries follow, and why the mirror has to compare.
func (s *Server) place(h wire.HelloMessage) (journal.Position, string) {
	s.mu.Lock()
	corrupt := s.corrupt
	s.mu.Unlock()
	if !h.Whole && h.Position.Sequence == 0 {
		return s.cfg.Journal.Head(), "the mirror is new"
	}
	err := s.cfg.Journal.Contains(h.Position)
	switch {
	case errors.Is(err, journal.ErrTrimmed):
		return s.cfg.Journal.Head(), "the journal no longer reaches back to where the mirror is"
	case err != nil:
		return s.cfg.Journal.Head(), "the mirror's position is not in this journal: " + err.Error()
	case h.Position.Sequence < corrupt:
		return s.cfg.Journal.Head(), "the journal is damaged behind where the mirror is"
	case !h.Whole:
		return h.Position, "the last comparison was not finished"
	}
	return h.Position, ""
}

// run serves the mirror until something ends the stream, and returns what that
// was when nothing of the session is left.
func (s *session) run(ctx context.Context, hello wire.HelloMessage) error {
	if err := s.welcome(hello); err != nil {
		return err
	}
	var group sync.WaitGroup
	for _, part := range []func(context.Context) error{s.receive, s.watchSilence, s.sendAll} {
		group.Go(func() { s.cancel(part(ctx)) })
	}
	group.Wait()
	return context.Cause(ctx)
}

// receive takes what the mirror says.
func (s *session) receive(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case m := <-s.messages:
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
	case m.GetSurvey() != nil:
		q, err := wire.ParseSurvey(m.GetSurvey())
		if err != nil {
			return err
		}
		return s.enqueue(request{survey: &q})
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

// maxCredit is more than any mirror means.
const maxCredit = 1 << 40

func (s *session) addCredit(c *pb.Credit) {
	s.mu.Lock()
	s.creditBytes = min(s.creditBytes+int64(min(c.GetBytes(), maxCredit)), maxCredit)
	s.creditEntries = min(s.creditEntries+int64(min(c.GetEntries(), maxCredit)), maxCredit)
	s.mu.Unlock()
	s.wakeSender()
}

func (s *session) wakeSender() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// acknowledge moves the mirror's cursor. What it has said to be durable stays
// so: the cursor never goes back.
func (s *session) acknowledge(seq journal.Sequence) error {
	s.mu.Lock()
	sent, news := s.sentTo, seq > s.acked
	if news && seq <= sent {
		s.acked = seq
		s.distance.acknowledged(seq, s.server.cfg.Now())
	}
	s.mu.Unlock()
	switch {
	case seq > sent:
		return fmt.Errorf("%w: entry %d acknowledged, the last one sent is %d", wire.ErrProtocol, seq, sent)
	case !news:
		return nil
	}
	// The digest at that place is not at hand; cursors are told apart by their
	// sequence only.
	if err := s.server.cfg.Journal.SetCursor(s.name, journal.Position{Epoch: s.server.cfg.Epoch, Sequence: seq}); err != nil {
		return fmt.Errorf("move the cursor of %s: %w", s.name, err)
	}
	s.wakeSender()
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
	m.Files, m.Bytes, m.Missing, m.Assumed = r.Files, r.Bytes, r.Missing, r.Assumed
	m.Proven, m.ProvenSequence = r.Proven, r.ProvenSequence
}
