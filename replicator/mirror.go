package replicator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
	"github.com/mailtwin/mailtwin/replicator/mirror"
	"github.com/mailtwin/mailtwin/replicator/status"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// mirrorPart is a node that follows the primary.
type mirrorPart struct {
	n      *node
	mirror *mirror.Mirror

	mu        sync.Mutex
	handshake error // why the last one failed
}

func newMirror(n *node, root *beneath.Root) (*mirrorPart, error) {
	if n.cfg.Node.Peer == "" {
		return nil, errors.New("a mirror needs node.peer in its settings: where its primary listens")
	}
	p := &mirrorPart{n: n}
	p.mirror = mirror.New(mirror.Config{
		Name: n.id.Name(), Root: root, Catalog: n.catalog, Rules: mailstore.Maildir{},
		Log: n.opt.Log.Named("mirror"), Now: n.opt.Clock.Now,
		Dial: p.dial, Explain: p.explain, Changed: n.server.Changed,
	})
	return p, nil
}

// dial makes a connection to the primary, which is established by its first
// use.
func (p *mirrorPart) dial(context.Context) (*grpc.ClientConn, error) {
	p.failed(nil)
	conn, err := grpc.NewClient("passthrough:///"+p.n.cfg.Node.Peer,
		grpc.WithTransportCredentials(p.n.id.ClientCredentials(func(_ net.Addr, err error) { p.failed(err) })),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(wire.MaxMessage), grpc.MaxCallSendMsgSize(wire.MaxMessage)),
		grpc.WithInitialWindowSize(streamWindow), grpc.WithInitialConnWindowSize(connectionWindow),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: wire.SilenceLimit, PermitWithoutStream: true}),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return (&net.Dialer{Timeout: wire.SilenceLimit}).DialContext(ctx, "tcp", address)
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("dial the primary at %s: %w", p.n.cfg.Node.Peer, err)
	}
	return conn, nil
}

func (p *mirrorPart) failed(err error) {
	p.mu.Lock()
	p.handshake = err
	p.mu.Unlock()
}

// explain prefers the reason of the handshake to what gRPC makes of it.
func (p *mirrorPart) explain(err error) error {
	p.mu.Lock()
	handshake := p.handshake
	p.mu.Unlock()
	if handshake != nil {
		err = fmt.Errorf("connect to the primary at %s: %w", p.n.cfg.Node.Peer, handshake)
	}
	p.n.problem(err.Error())
	return identity.Explain(err)
}

// run follows the primary until ctx ends.
func (p *mirrorPart) run(ctx context.Context) error {
	p.n.opt.Log.Info("mirror", "store", p.n.cfg.Store.Path, "primary", p.n.cfg.Node.Peer)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.mirror.Run(ctx) })
	p.n.ready()
	return group.Wait()
}

func (p *mirrorPart) log() (*journal.Log, error) {
	return nil, errors.New("a mirror has no journal: ask the primary")
}

// describe adds what the mirror knows of itself and of its primary.
func (p *mirrorPart) describe(d *status.Document) {
	s := p.mirror.Status()
	d.Epoch = max(d.Epoch, uint64(s.Epoch))
	d.Store.State, d.Store.Detail = "following", ""
	d.Store.OwnersNotApplied = s.OwnersLost
	out := &status.Primary{
		Name: s.Primary, Address: p.n.cfg.Node.Peer, Connected: s.Connected, Since: &s.Since,
		Sequence: max(uint64(s.Beat.Head), uint64(s.Applied)), AppliedTo: uint64(s.Applied), AckedSequence: uint64(s.Acked),
		LagBytes: s.Beat.LagBytes, LagSeconds: s.Beat.Lag.Seconds(), ReceivedBytes: s.Received,
		FilesLeft: s.Progress.Files, BytesLeft: s.Progress.Bytes, Proven: s.Proven, ProvenSequence: uint64(s.ProvenAt),
	}
	if !s.LastHeard.IsZero() {
		out.LastHeard = &s.LastHeard
	}
	out.LagEntries = out.Sequence - min(out.AckedSequence, out.Sequence)
	if out.LagEntries == 0 {
		out.LagBytes, out.LagSeconds = 0, 0
	}
	out.State, out.Detail = judgePrimary(s)
	if s.Beat.Unread > 0 {
		d.Store.Unread = s.Beat.Unread
	}
	d.Primary = out
	loss := status.Loss{
		Known:   out.State != status.Unknown && s.Beat.State == "watching",
		Entries: out.LagEntries, Bytes: out.LagBytes, Seconds: out.LagSeconds, Files: d.Store.Missing,
	}
	if !s.Whole {
		loss.Files += s.Beat.Files - min(s.Beat.Files, d.Store.Files)
		loss.Bytes += s.Beat.Bytes - min(s.Beat.Bytes, d.Store.Bytes)
	}
	d.Loss = status.Lost(loss)
}

// judgePrimary finds the state of the replication as the mirror sees it.
func judgePrimary(s mirror.Status) (status.State, string) {
	switch {
	case s.Attention != "":
		return status.Attention, s.Attention
	case !s.Connected && s.LastError != "":
		return status.Unknown, "not connected: " + s.LastError
	case !s.Connected:
		return status.Unknown, "not connected"
	case s.Beat.State == "suspended":
		return status.Attention, "its store: " + s.Beat.Detail
	case !s.Whole:
		return status.Syncing, s.Resync
	case s.Beat.State != "watching":
		return status.Scanning, s.Beat.Detail
	case s.Beat.Head > s.Acked:
		return status.Behind, "changes are on their way"
	case !s.Proven:
		return status.Behind, "everything is here, but it is not proven yet that both are equal"
	}
	return status.InSync, "everything is durable here"
}
