package replicator

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/watch"
	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
	"github.com/mailtwin/mailtwin/replicator/mirror"
	"github.com/mailtwin/mailtwin/replicator/progress"
	"github.com/mailtwin/mailtwin/replicator/status"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// mirrorPart is a node that follows the primary.
type mirrorPart struct {
	n       *node
	st      identity.State
	root    *beneath.Root
	mirror  *mirror.Mirror
	tracker *tracker

	mu        sync.Mutex
	handshake error     // why the last one failed, or could not even begin
	dialled   string    // where
	arrived   time.Time // when bytes came last
	// stop ends what follows now; nil while nothing does. Then stopped is closed,
	// if it was asked for.
	stop    context.CancelFunc
	halted  bool          // nothing is to follow
	stopped chan struct{} // closed when halted is true and nothing follows
	change  chan struct{} // closed when halted changes
}

func newMirror(n *node, st identity.State, root *beneath.Root) (*mirrorPart, error) {
	if n.leader() == "" {
		return nil, errors.New("a mirror needs node.peer in its settings: where its primary listens")
	}
	if err := n.bequeath(st); err != nil {
		return nil, err
	}
	p := &mirrorPart{n: n, st: st, root: root, stopped: make(chan struct{}), change: make(chan struct{})}
	p.tracker = newTracker(n.opt.Clock, n.opt.Log.Named("sync"))
	p.mirror = mirror.New(mirror.Config{
		Name: n.id.Name(), Root: root, Catalog: n.catalog, Rules: mailstore.Maildir{},
		Log: n.opt.Log.Named("mirror"), Now: n.opt.Clock.Now, Retry: 2 * time.Duration(n.cfg.Store.RetryInterval),
		Epoch: func() journal.Epoch { return n.state().Epoch }, Led: n.led,
		TakeStock: func(ctx context.Context) error {
			return n.takeStock(ctx, root, watch.Unwritten{}, nil)
		},
		Dial: p.dial, Arrived: p.lastArrival, Explain: p.explain, Changed: n.server.Changed,
	})
	return p, nil
}

// leader returns where the primary is, as far as it is known: the one that leads
// the highest epoch, else the one of the settings. node.peer comes first as long
// as nobody has answered there: the operator may have changed it.
func (n *node) leader() string {
	peer := n.cfg.Node.Peer
	known := false
	for _, p := range n.peers.All() {
		known = known || p.Address == peer
	}
	if name := n.state().Leader; name != "" && (known || peer == "") {
		if address := n.peers.Address(name); address != "" {
			return address
		}
	}
	if peer == "" {
		for _, p := range n.peers.All() {
			return p.Address
		}
	}
	return peer
}

// askPrimary adds to an error who can do what this node cannot.
func (n *node) askPrimary(err error) error {
	primary := n.state().Leader
	if primary == "" {
		primary = "the primary"
	}
	if address := n.leader(); address != "" && n.state().Role != identity.Primary {
		primary += " (" + address + ")"
	}
	return hint.Add(err, "give the command on %s", primary)
}

// led is told which primary the mirror is about to follow.
func (n *node) led(name string, epoch journal.Epoch) error {
	c := identity.Claim{Epoch: epoch, Name: name}
	_, _, err := n.decide(func(s identity.State) (identity.State, error) {
		if s.Leads() == c {
			return s, nil
		}
		if !c.Beats(s.Leads()) {
			return s, fmt.Errorf("%v wants to be followed, and %v leads", c, s.Leads())
		}
		return succeeded(s, c, false), nil
	})
	return err
}

// dial makes a connection to the primary, which is established by its first
// use.
func (p *mirrorPart) dial(context.Context) (*grpc.ClientConn, error) {
	p.failed(nil)
	address := p.n.leader()
	p.mu.Lock()
	p.dialled = address
	p.mu.Unlock()
	return p.n.dialPrimary(address, func(_ net.Addr, err error) { p.failed(err) },
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			conn, err := wire.Dial(ctx, address)
			if err != nil {
				if ctx.Err() == nil { // else nobody waits for it any more
					p.failed(err)
				}
				return nil, err
			}
			return &noticed{conn, p.notice}, nil
		}))
}

// noticed is a connection of which each arrival of bytes is noticed.
type noticed struct {
	net.Conn
	arrived func()
}

// Read implements net.Conn.
func (c *noticed) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.arrived()
	}
	return n, err
}

func (p *mirrorPart) notice() {
	p.mu.Lock()
	p.arrived = p.n.opt.Clock.Now()
	p.mu.Unlock()
}

func (p *mirrorPart) lastArrival() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.arrived
}

// dialPrimary makes a connection to the primary, which is established by its
// first use. failed is told why a handshake failed; nil: nobody is.
func (n *node) dialPrimary(address string, failed func(net.Addr, error), more ...grpc.DialOption) (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient("passthrough:///"+address, append([]grpc.DialOption{
		grpc.WithTransportCredentials(n.id.ClientCredentials(failed)),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(wire.NewCodec()),
			grpc.MaxCallRecvMsgSize(wire.MaxMessage), grpc.MaxCallSendMsgSize(wire.MaxMessage)),
		grpc.WithInitialWindowSize(streamWindow), grpc.WithInitialConnWindowSize(connectionWindow),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: wire.SilenceLimit, PermitWithoutStream: true}),
		grpc.WithContextDialer(wire.Dial),
	}, more...)...)
	if err != nil {
		return nil, fmt.Errorf("dial the primary at %s: %w", address, err)
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
	handshake, address := p.handshake, p.dialled
	p.mu.Unlock()
	if handshake != nil {
		err = fmt.Errorf("connect to the primary at %s: %w", address, handshake)
	}
	p.n.problem(err.Error())
	return identity.Explain(err)
}

// run follows the primary until ctx ends, but while it is halted.
func (p *mirrorPart) run(ctx context.Context) error {
	p.n.door.Shut(fmt.Sprintf("%s is a mirror: %v leads", p.n.id.Name(), p.n.state().Leads()))
	p.n.opt.Log.Info("mirror", "store", p.n.cfg.Store.Path, "primary", p.n.leader())
	p.n.ready()
	track, stopTracking := context.WithCancel(ctx)
	var tracking sync.WaitGroup
	tracking.Go(func() { _ = p.tracker.run(track, p.courses) }) // it ends with its context
	defer tracking.Wait()
	defer stopTracking()
	for ctx.Err() == nil {
		p.mu.Lock()
		halted, change := p.halted, p.change
		follow, stop := context.WithCancel(ctx)
		p.stop = stop
		p.mu.Unlock()
		if halted {
			stop()
			close(p.stopped)
			select {
			case <-change:
			case <-ctx.Done():
			}
			continue
		}
		err := p.mirror.Run(follow)
		stop()
		if err != nil {
			return err
		}
	}
	return nil
}

// pause ends what follows the primary, and returns when nothing does: all that
// has arrived is durable then. To pause again does nothing.
func (p *mirrorPart) pause(ctx context.Context) error {
	p.mu.Lock()
	if !p.halted {
		p.halt(true)
	}
	stopped := p.stopped
	if p.stop != nil {
		p.stop()
	}
	p.mu.Unlock()
	select {
	case <-stopped:
		p.n.server.Changed()
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// resume follows again.
func (p *mirrorPart) resume() {
	p.mu.Lock()
	if p.halted {
		p.halt(false)
	}
	p.mu.Unlock()
	p.n.server.Changed()
}

// halt sets halted; mu is held.
func (p *mirrorPart) halt(halted bool) {
	p.halted = halted
	if halted {
		p.stopped = make(chan struct{})
	}
	close(p.change)
	p.change = make(chan struct{})
}

// paused reports whether nothing follows, because pause was called.
func (p *mirrorPart) paused() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.stopped:
		return p.halted
	default:
		return false
	}
}

func (p *mirrorPart) log() (*journal.Log, error) {
	return nil, p.n.askPrimary(errors.New("a mirror has no journal"))
}

// describe adds what the mirror knows of itself and of its primary.
func (p *mirrorPart) describe(d *status.Document) {
	s := p.mirror.Status()
	d.Epoch = max(d.Epoch, uint64(s.Epoch))
	d.Store.State, d.Store.Detail = "following", ""
	d.Store.OwnersNotApplied = s.OwnersLost
	w := p.n.lastWord(s.Primary, s.Epoch, s.Said, s.Beat)
	out := &status.Primary{
		Name: p.nameOf(s.Primary), Address: p.n.leader(), Connected: s.Connected, Since: &s.Since,
		Sequence: max(uint64(w.head), uint64(s.Applied)), AppliedTo: uint64(s.Applied), AckedSequence: uint64(s.Acked),
		LagBytes: w.lagBytes, LagSeconds: w.lag.Seconds(), ReceivedBytes: s.Received,
		FilesLeft: s.Progress.Files, BytesLeft: s.Progress.Bytes, Proven: s.Proven, ProvenSequence: uint64(s.ProvenAt),
	}
	if !s.LastHeard.IsZero() {
		out.LastHeard = &s.LastHeard
	}
	if !w.said.IsZero() {
		out.LastWord = &w.said
	}
	out.LagEntries = out.Sequence - min(out.AckedSequence, out.Sequence)
	if out.LagEntries == 0 {
		out.LagBytes, out.LagSeconds = 0, 0
	}
	age := d.Time.Sub(w.said)
	if s.Connected && age > freshWord {
		out.LagSeconds = max(out.LagSeconds, age.Seconds())
	}
	out.State, out.Detail = judgePrimary(s, w, age)
	if out.State == status.InSync || out.State == status.Behind {
		if len(s.Left) > 0 {
			out.State, out.Detail = status.Attention, leftWords(out.Name, s.Left)
		}
		if kept := slices.IndexFunc(s.Aside, p.n.keeps); kept >= 0 {
			out.State, out.Detail = status.Attention, asideWords(out.Name, s.Aside[kept])
		}
	}
	if p.paused() {
		out.State, out.Detail = status.Attention, "this mirror has stopped to follow: it is being promoted"
	}
	d.Store.Assumed = s.Totals.Guessed
	d.Store.Unreadable = int(min(s.Beat.Unreadable, math.MaxInt32))
	d.Store.DoubtWords = s.Beat.Doubtful
	d.Store.DamagedFiles = p.n.damaged.names(p.n.catalog)
	if s.Beat.Unread > 0 {
		d.Store.Unread = s.Beat.Unread
	}
	out.Progress = p.tracker.describe(p.n.id.Name(), courseOf(&s))
	d.Primary = out
	loss := status.Loss{
		Why:     unknownThere(out, s, age),
		Entries: out.LagEntries + s.Beat.Pending, Bytes: out.LagBytes, Seconds: out.LagSeconds, Files: d.Store.Missing,
		Assumed: s.Totals.Guessed, Unreadable: d.Store.Unreadable,
	}
	if !s.Whole {
		loss.Files += s.Beat.Files - min(s.Beat.Files, d.Store.Files)
		loss.Bytes += s.Beat.Bytes - min(s.Beat.Bytes, d.Store.Bytes)
	}
	d.Loss = status.Lost(loss)
}

// leftWords says that a disk does not let go of what was removed.
func leftWords(primary string, left []journal.Path) string {
	return fmt.Sprintf("%s does not have %q any more, which cannot be removed here (%d such names): not even what it is can be read; "+
		"it is removed as soon as that can be: check the disk and its file system", primary, string(left[0]), len(left))
}

// asideWords says what a person has to see to after a mirror was promoted that
// had less than this one.
func asideWords(primary string, aside journal.Path) string {
	return fmt.Sprintf("this node had what %s did not have when it took over: it is in %s, and nobody else may have it; "+
		"bring over what is missed, then remove that directory", primary, aside)
}

// courses tell how far this mirror is, while it hears of its primary.
func (p *mirrorPart) courses() map[string]course {
	s := p.mirror.Status()
	if !s.Connected {
		return nil
	}
	return map[string]course{p.n.id.Name(): courseOf(&s)}
}

func courseOf(s *mirror.Status) course {
	totals := s.Totals
	return course{
		going: s.Connected && !s.Whole, counted: s.Beat.State == "watching" || s.Beat.State == "scanning",
		State: progress.State{
			Messages: s.Beat.Files, MessagesDone: totals.Files - min(totals.Missing, totals.Files),
			Bytes: s.Beat.Bytes, BytesDone: uint64(max(totals.Bytes, 0)),
		},
	}
}

// nameOf returns what the primary is called whose own word for it is heard; one
// that was not reached yet has the name of the node that leads, or its address.
func (p *mirrorPart) nameOf(heard string) string {
	if heard != "" {
		return heard
	}
	if leader := p.n.state().Leader; leader != "" {
		return leader
	}
	return p.n.leader()
}

// freshWord is how old the primary's last word may be to be taken for how it is
// now. The stream of one that is dead ends after as long.
const freshWord = wire.SilenceLimit

// word is what the primary said last of how much it has.
type word struct {
	said     time.Time // or some moments later; by our clock
	head     journal.Sequence
	lagBytes uint64
	lag      time.Duration
}

// lastWord returns the newer one of what a primary said in its stream, where a
// heartbeat waits behind all contents that were sent before it, and of what it
// answered when the vigil asked it, on a connection of its own.
func (n *node) lastWord(primary string, epoch journal.Epoch, said time.Time, beat wire.Heartbeat) word {
	w := word{said: said, head: beat.Head, lagBytes: beat.LagBytes, lag: beat.Lag}
	r, asked := n.vigil.lastOf(primary)
	if r.Role == identity.Primary && r.Leads.Epoch == epoch && asked.After(said) {
		w = word{said: asked, head: max(w.head, r.Position.Sequence), lagBytes: r.LagBytes, lag: r.Lag}
	}
	return w
}

// judgePrimary finds the state of the replication as the mirror sees it, by a
// word of the primary's of some age.
func judgePrimary(s mirror.Status, w word, age time.Duration) (status.State, string) {
	switch {
	case s.Attention != "":
		return status.Attention, s.Attention
	case !s.Connected && s.LastError != "":
		return status.Unknown, "not connected: " + s.LastError
	case !s.Connected:
		return status.Unknown, "not connected"
	case s.Beat.State == "suspended":
		return status.Attention, "its store: " + s.Beat.Detail
	case s.Beat.JournalError != "":
		return status.Attention, "it cannot write its journal, so that what changes there does not come: " + s.Beat.JournalError
	case s.Beat.Doubtful != "":
		return status.Attention, s.Beat.Doubtful
	case s.Beat.Unreadable > 0:
		return status.Attention, fmt.Sprintf("it cannot read %d files", s.Beat.Unreadable)
	case !s.Whole:
		return status.Syncing, s.Resync
	case s.Said.IsZero():
		return status.Unknown, "connected, and it has not yet said how it is"
	case s.Beat.State != "watching":
		return status.Scanning, s.Beat.Detail
	case s.Beat.MailStopped != "":
		return status.Attention, s.Beat.MailStopped
	case w.head > s.Acked:
		return status.Behind, "changes are on their way"
	case age > freshWord:
		return status.Behind, fmt.Sprintf("what it says comes late, behind contents on a slow link or before a slow disk: how it is now is not known, but how it was %s ago",
			status.Age(age.Seconds()))
	case s.Totals.Guessed > 0:
		return status.Behind, status.AssumedWords(s.Totals.Guessed)
	case !s.Proven:
		return status.Behind, "everything is here, but it is not proven yet that both are equal"
	case s.Pending > 0:
		return status.Behind, fmt.Sprintf("%d names are still to be looked at there", s.Pending)
	}
	return status.InSync, "everything is durable here"
}

// unknownThere says why a mirror does not know all that would be lost if it were
// promoted now, by a word of its primary's of some age; "" if it does.
func unknownThere(p *status.Primary, s mirror.Status, age time.Duration) string {
	beat := &s.Beat
	switch {
	case age > freshWord && !s.Said.IsZero():
		return fmt.Sprintf("what %s says is %s old", p.Name, status.Age(age.Seconds()))
	case p.State == status.Unknown || s.Said.IsZero():
		return p.Name + " is not heard of"
	case beat.JournalError != "":
		return p.Name + " cannot write its journal: what changes there does not come"
	case beat.State != string(watch.PhaseWatching):
		return notWatching(beat.State, beat.Detail)
	case beat.Doubtful != "":
		return beat.Doubtful
	case beat.Polling != "":
		return status.Polled(beat.Polling)
	}
	return ""
}
