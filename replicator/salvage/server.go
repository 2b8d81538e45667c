package salvage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// Reign is how a primary became one.
type Reign struct {
	Epoch journal.Epoch
	Start journal.Position // the place in the former primary's journal from which it began
	Whole bool             // it had all up to there, and has proven each content to be the former primary's
	// Guess says that it was not written down, and that the journal may not reach back
	// to where the node became primary.
	Guess bool
}

// ServerConfig is what a Server is made of. All fields but Reigns must be set.
type ServerConfig struct {
	Name    string
	Reign   Reign
	Reigns  []wire.Reign // the promotions that the store has behind it, with this one, oldest first
	Root    *beneath.Root
	Catalog *catalog.Catalog
	Journal *journal.Log
	Rules   Rules
	Log     hclog.Logger
	// Dir is a directory of the node's own for ledgers and for sorting. It is
	// made if need be.
	Dir string
	// Peer returns the name of the authenticated peer of a stream.
	Peer func(context.Context) (string, error)
}

var (
	errBusy     = errors.New("another salvage is going on")
	errReplaced = errors.New("a newer stream took over")
	errLeft     = errors.New("the other node ended the stream")
	errEpoch    = errors.New("a higher epoch is known")
	errSilent   = errors.New("the other node has said nothing for too long")
)

// turnLimit is how long a fenced node may take for its next message: it may
// have to read a large directory of a slow array.
const turnLimit = 10 * time.Minute

// Server takes on a primary what fenced nodes salvage. It implements the
// generated SalvageServiceServer. One salvage goes on at a time.
type Server struct {
	pb.UnimplementedSalvageServiceServer
	cfg   ServerConfig
	crash func(step string) error // of tests: ends the session at a step; else nil

	mu      sync.Mutex
	active  *session
	stopped bool
}

// NewServer returns a Server.
func NewServer(cfg ServerConfig) *Server { return &Server{cfg: cfg} }

// Register makes a gRPC server answer fenced nodes with s.
func (s *Server) Register(r grpc.ServiceRegistrar) { pb.RegisterSalvageServiceServer(r, s) }

// Salvage serves one fenced node until its stream ends.
func (s *Server) Salvage(stream pb.SalvageService_SalvageServer) error {
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	name, err := s.cfg.Peer(ctx)
	if err != nil {
		return err
	}
	sess := &session{s: s, peer: name, stream: stream, cancel: cancel, ended: make(chan struct{}), messages: make(chan received)}
	if err := s.enter(ctx, sess); err != nil {
		return grpcError(err)
	}
	go sess.listen(ctx)
	err = sess.run(ctx)
	s.leave(sess)
	if cause := context.Cause(ctx); cause != nil && err != nil {
		err = cause
	}
	if errors.Is(err, errLeft) {
		s.cfg.Log.Info("salvage ended", "node", name)
		return nil
	}
	s.cfg.Log.Warn("salvage broke off", "node", name, "error", err)
	return grpcError(err)
}

// enter makes a session the active one. An older one of the same node is ended,
// for a node dials again only when it has given that one up.
func (s *Server) enter(ctx context.Context, sess *session) error {
	timer := time.NewTimer(wire.SilenceLimit / 2)
	defer timer.Stop()
	for {
		s.mu.Lock()
		old, stopped := s.active, s.stopped
		if old == nil && !stopped {
			s.active = sess
		}
		s.mu.Unlock()
		switch {
		case stopped:
			return errStopping
		case old == nil:
			return nil
		}
		if old.peer != sess.peer {
			return fmt.Errorf("%w: that of %s", errBusy, old.peer)
		}
		old.cancel(errReplaced)
		select {
		case <-old.ended:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
			return fmt.Errorf("%w: the stream before this one has not ended yet", errBusy)
		}
	}
}

func (s *Server) leave(sess *session) {
	s.mu.Lock()
	s.active = nil
	s.mu.Unlock()
	close(sess.ended)
}

// step is where a test may end everything.
func (s *Server) step(name string) error {
	if s.crash == nil {
		return nil
	}
	return s.crash(name)
}

// ledger opens the ledger of a node in this reign, and makes an end of those of
// reigns before: their salvages are of the past.
// There is none, and none is made, where one only looks and nothing was
// delivered yet.
func (s *Server) ledger(peer string, lookOnly bool) (*ledger, error) {
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of ledgers: %w", err)
	}
	epoch := strconv.FormatUint(uint64(s.cfg.Reign.Epoch), 10)
	mine := peer + "." + epoch + ledgerSuffix
	names, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("look for old ledgers: %w", err)
	}
	for _, n := range names {
		owner, isLedger := strings.CutSuffix(n.Name(), ledgerSuffix)
		if !isLedger || filepath.Ext(owner) == "."+epoch {
			continue
		}
		if err := os.Remove(filepath.Join(s.cfg.Dir, n.Name())); err != nil {
			return nil, fmt.Errorf("remove an old ledger: %w", err)
		}
	}
	path := filepath.Join(s.cfg.Dir, mine)
	if _, err := os.Stat(path); lookOnly && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return openLedger(path)
}

const ledgerSuffix = ".ledger"

// grpcError gives an error the code by which the other side tells what it is.
func grpcError(err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	code := codes.Aborted
	switch {
	case errors.Is(err, wire.ErrProtocol):
		code = codes.InvalidArgument
	case errors.Is(err, wire.ErrVersion):
		code = codes.FailedPrecondition
	case errors.Is(err, errEpoch):
		code = codes.PermissionDenied
	case errors.Is(err, errBusy):
		code = codes.ResourceExhausted
	}
	return status.Error(code, err.Error())
}
