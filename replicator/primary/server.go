package primary

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/beneath/kindread"
	"github.com/mailtwin/mailtwin/journal/catalog"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// maxMirrors bounds the streams that a primary serves at one time.
const maxMirrors = 16

// StoreState says in a word and a sentence how the store is, and whether its
// catalog is complete, so that it can be compared.
type StoreState struct {
	State    string
	Detail   string
	Complete bool
	// Reached is how far the first look at the store is, see watch.Status; "": it
	// is over, or cannot go on now.
	Reached journal.Path
	// Unreadable is how many names of it cannot be looked at.
	Unreadable int
	// MailStopped says why no mail server works on it; "" if one does, as far as
	// that is known.
	MailStopped string
	// Pending is how many names were noticed and are still to be looked at.
	Pending int
	// JournalError says why no change can be journaled; "" if they can.
	JournalError string
	// Polling says why changes are found by repeated scans alone; "" if they are not.
	Polling string
}

// Config is what a Server is made of. All fields but Pace, Order and Reigns must be set.
type Config struct {
	Name    string
	Epoch   journal.Epoch
	Root    *beneath.Root
	Catalog *catalog.Catalog
	Journal *journal.Log
	Began   journal.Sequence // where Epoch began
	Reigns  []wire.Reign     // the promotions that the store has behind it, oldest first; may be nil
	Log     hclog.Logger
	Now     func() time.Time
	// Store tells the state of the store now.
	Store func() StoreState
	// Peer returns the name of the authenticated peer of a stream.
	Peer func(context.Context) (string, error)
	// Superseded is told by which mirror a higher epoch is known. It must not
	// block.
	Superseded func(mirror string, epoch journal.Epoch)
	// Changed is called when the state of a mirror changed; it must not block.
	Changed func()
	// Pace is asked before the array is; nil: it need not be.
	Pace Pace
	// Order is what a mirror is to copy first.
	Order Order
	// Idle says that the disks' scheduler can put what can wait behind the rest.
	Idle bool
	// Unseen reports whether the catalog may lack names that are in a directory,
	// whose Item.Observed is the second argument; nil: it never does.
	Unseen func(dir journal.Path, observed int64) bool
	// Proving says that contents which a mirror takes to be equal may be read for
	// a proof, with leave as ever; nil: always.
	Proving func() bool
	// Evacuating says that the array is about to be lost: what could not be read
	// twice is not asked of it any more. nil: it never is.
	Evacuating func() bool
}

// Server serves the journal to mirrors. It implements the generated
// ReplicationServiceServer. Its methods may be called concurrently.
type Server struct {
	pb.UnimplementedReplicationServiceServer
	cfg     Config
	ledger  ledger
	manner  kindread.Manner
	buffers buffers
	beside  chan struct{} // held by who reads a content while the first look at the store goes on

	mu       sync.Mutex
	sessions map[string]*session
	seen     map[string]lastSeen // mirrors that were here since the start
	stopped  bool                // no further session begins
	damaged  damageList
	corrupt  journal.Sequence // the journal cannot be read from here on, or from before
}

type lastSeen struct {
	at  time.Time
	err string
}

// New returns a Server. Run must be running while it serves.
func New(cfg Config) *Server {
	if cfg.Pace == nil {
		cfg.Pace = free{}
	}
	if cfg.Unseen == nil {
		cfg.Unseen = func(journal.Path, int64) bool { return false }
	}
	if cfg.Proving == nil {
		cfg.Proving = func() bool { return true }
	}
	if cfg.Evacuating == nil {
		cfg.Evacuating = func() bool { return false }
	}
	s := &Server{
		cfg:      cfg,
		sessions: make(map[string]*session),
		seen:     make(map[string]lastSeen),
		damaged:  damageList{paths: make(map[journal.Path]Damage)},
		beside:   make(chan struct{}, 1),
	}
	s.manner.SetIdle(cfg.Idle)
	return s
}

// Register makes a gRPC server answer mirrors with s.
func (s *Server) Register(r grpc.ServiceRegistrar) { pb.RegisterReplicationServiceServer(r, s) }

// Run follows the journal to know how far behind each mirror is. It returns
// when ctx ends, and the streams with it: no longer than patience after.
func (s *Server) Run(ctx context.Context) error {
	defer s.stop()
	started := s.cfg.Now()
	atStart := s.cfg.Journal.Head().Sequence
	after := s.oldestCursor()
	for {
		err := s.follow(ctx, after, started, atStart)
		if ctx.Err() != nil {
			return nil
		}
		switch {
		case errors.Is(err, journal.ErrTrimmed):
			after = s.cfg.Journal.Start().Sequence
		case errors.Is(err, journal.ErrCorrupt) && after < atStart:
			// The mirrors that need what is damaged compare instead (see
			// place); only their lag is not known exactly.
			s.cfg.Log.Error("the journal is damaged", "error", err)
			after = atStart
		default:
			return fmt.Errorf("follow the journal: %w", err)
		}
	}
}

// patience is how long a stop waits for what may hang in the array.
const patience = 2 * time.Second

// stop ends all sessions, and waits until they have let go of the catalog.
func (s *Server) stop() {
	s.mu.Lock()
	s.stopped = true
	sessions := slices.Collect(maps.Values(s.sessions))
	s.mu.Unlock()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for _, sess := range sessions {
		sess.cancel(errStopping)
	}
	for _, sess := range sessions {
		select {
		case <-sess.ended:
		case <-timer.C:
			return
		}
	}
}

// Wait returns when nothing is left of the sessions, after Run has, or when ctx
// ends: what hangs in the array may take long.
func (s *Server) Wait(ctx context.Context) error {
	s.mu.Lock()
	sessions := slices.Collect(maps.Values(s.sessions))
	s.mu.Unlock()
	for _, sess := range sessions {
		select {
		case <-sess.ended:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// follow notes what is journaled after a place, until ctx ends or the journal
// cannot be read.
func (s *Server) follow(ctx context.Context, after journal.Sequence, started time.Time, atStart journal.Sequence) error {
	reader, err := s.cfg.Journal.Read(after)
	if err != nil {
		return err
	}
	defer func() { _ = reader.Close() }()
	for {
		rec, err := reader.Next(ctx)
		if err != nil {
			return err
		}
		at := s.cfg.Now()
		if rec.Position.Sequence <= atStart {
			// Older than this process: only the wall clock knows, and it may
			// have been set since. What it says is capped to the past.
			if age := started.Sub(rec.Time); age > 0 {
				at = started.Add(-age)
			}
		}
		s.ledger.add(rec.Position.Sequence, putBytes(&rec.Entry), at)
		s.damaged.journaled(&rec.Entry)
		s.cfg.Changed()
	}
}

// oldestCursor returns the place from which a mirror may still lag.
func (s *Server) oldestCursor() journal.Sequence {
	oldest := s.cfg.Journal.Head().Sequence
	for _, c := range s.cfg.Journal.Cursors() {
		oldest = min(oldest, c.Position.Sequence)
	}
	return max(oldest, s.cfg.Journal.Start().Sequence)
}

func putBytes(e *journal.Entry) int64 {
	if e.Kind != journal.KindPut {
		return 0
	}
	if e.Held != nil {
		return int64(len(e.Held.Data))
	}
	return e.Facts.Size
}

// Replicate serves one mirror until its stream ends.
func (s *Server) Replicate(stream pb.ReplicationService_ReplicateServer) error {
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	name, err := s.cfg.Peer(ctx)
	if err != nil {
		return err
	}
	sess := newSession(s, name, stream, cancel, ctx.Done())
	go sess.listen(ctx)
	hello, err := sess.hello(ctx)
	if err == nil {
		err = s.enter(ctx, sess)
	}
	if err != nil {
		s.cfg.Log.Warn("a mirror was refused", "mirror", name, "error", err)
		return grpcError(err)
	}
	// What hangs in the stream returns only when this method has, and what
	// hangs in the array may take long; so nothing is waited for here. The next
	// stream of the same mirror waits, see enter.
	ended := make(chan error, 1)
	go func() {
		err := sess.run(ctx, hello)
		s.leave(sess)
		ended <- err
	}()
	select {
	case err = <-ended:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	s.lost(name, err)
	return grpcError(err)
}

// lost notes how the stream of a mirror ended.
func (s *Server) lost(name string, err error) {
	if errors.Is(err, context.Canceled) {
		err = errLeft // gRPC says no more
	}
	if errors.Is(err, errLeft) || errors.Is(err, errStopping) {
		s.cfg.Log.Info("mirror disconnected", "mirror", name)
	} else {
		s.cfg.Log.Warn("mirror's stream ended", "mirror", name, "error", err)
	}
	s.mu.Lock()
	s.seen[name] = lastSeen{at: s.cfg.Now(), err: err.Error()}
	s.mu.Unlock()
	s.cfg.Changed()
}

// enter registers a session. An older one of the same mirror is ended, for a
// mirror dials again only when it has given that one up, and waited for: two
// would move one cursor.
func (s *Server) enter(ctx context.Context, sess *session) error {
	timer := time.NewTimer(wire.SilenceLimit / 2)
	defer timer.Stop()
	for {
		s.mu.Lock()
		old := s.sessions[sess.name]
		full, stopped := len(s.sessions) >= maxMirrors, s.stopped
		if old == nil && !full && !stopped {
			s.sessions[sess.name] = sess
		}
		s.mu.Unlock()
		switch {
		case stopped:
			return errStopping
		case old == nil && full:
			return fmt.Errorf("%d mirrors are connected already", maxMirrors)
		case old == nil:
			return nil
		}
		old.cancel(errReplaced)
		select {
		case <-old.ended:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
			return errLingers
		}
	}
}

// leave forgets a session of which nothing is left.
func (s *Server) leave(sess *session) {
	s.mu.Lock()
	delete(s.sessions, sess.name)
	s.mu.Unlock()
	close(sess.ended)
	s.cfg.Changed()
}

// StoreChanged has the mirrors told soon if the state of the store is another
// one now. It never blocks.
func (s *Server) StoreChanged() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sess := range s.sessions {
		sess.wakeSender()
	}
}

// Mirrors tells how each mirror is, by name: those connected, and those that
// have a cursor in the journal.
func (s *Server) Mirrors() []MirrorState {
	head := s.cfg.Journal.Head().Sequence
	now := s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []MirrorState
	for _, c := range s.cfg.Journal.Cursors() {
		if c.Position.Epoch < s.cfg.Epoch && s.sessions[c.Name] == nil {
			continue // the journal is kept for a node that has not followed this epoch yet
		}
		m := MirrorState{Name: c.Name, Acked: c.Position.Sequence, Behind: c.Behind}
		if seen, ok := s.seen[c.Name]; ok {
			m.LastSeen, m.LastError = seen.at, seen.err
		}
		if sess := s.sessions[c.Name]; sess != nil && sess.connected() {
			sess.describe(&m)
		}
		m.LagEntries = uint64(head - min(m.Acked, head))
		m.LagBytes, m.Lag = s.ledger.lag(m.Acked, head, now)
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b MirrorState) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Damaged returns the files whose content could not be read or is not what it
// was, by path; no more than 4096 are known.
func (s *Server) Damaged() []Damage { return s.damaged.list() }

// grpcError gives an error the code by which the other side tells what it is.
func grpcError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, wire.ErrVersion):
		return status.Error(codes.FailedPrecondition, err.Error())
	case errors.Is(err, wire.ErrProtocol):
		return status.Error(codes.InvalidArgument, err.Error())
	case errors.Is(err, errReplaced), errors.Is(err, errFenced), errors.Is(err, errOldEpoch):
		return status.Error(codes.Aborted, err.Error())
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, err.Error())
	}
	return status.Error(codes.Unavailable, err.Error())
}
