package replicator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/journal/vfs"
	"github.com/mailtwin/mailtwin/journal/watch"
	"github.com/mailtwin/mailtwin/replicator/config"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
	"github.com/mailtwin/mailtwin/replicator/operator"
	"github.com/mailtwin/mailtwin/replicator/pairing"
	"github.com/mailtwin/mailtwin/replicator/primary"
	"github.com/mailtwin/mailtwin/replicator/progress"
	"github.com/mailtwin/mailtwin/replicator/salvage"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// The rhythm of keeping the journal short.
const trimInterval = 10 * time.Second

// primaryPart is a node that has the mail server.
type primaryPart struct {
	n       *node
	st      identity.State
	root    *beneath.Root
	journal *journal.Log
	watcher *watch.Watcher
	server  *primary.Server
	reign   salvage.Reign
	pace    *pacing
	tracker *tracker

	sealing       sync.Mutex // held while the journal is sealed for a switchover
	isSealed      bool       // it is done, and durable. Guarded by sealing
	sealTried     time.Time  // when it was tried last, or the mail server was to be started again. Guarded by sealing
	enough        chan struct{}
	stopObserving func()        // closes enough
	observed      chan struct{} // closed when the observer has ended

	apart atomic.Bool // the UIDs of its mail seem to be elsewhere

	opening sync.Mutex // held while fenced nodes are let in, or out
	ending  bool       // they are not let in any more. Guarded by opening

	mu           sync.Mutex
	resumeFailed string // why the mail server could not be started again
	rates        map[string]rate
}

// rate measures how much a mirror is sent.
type rate struct {
	at        time.Time
	bytes     uint64
	perSecond float64
}

// journalOptions are those of the node's journal; one that is made has the epoch.
func (n *node) journalOptions(epoch journal.Epoch) journal.Options {
	return journal.Options{
		SegmentSize: int64(n.cfg.Journal.SegmentSize), MaxSize: int64(n.cfg.Journal.MaxSize),
		MaxAge: time.Duration(n.cfg.Journal.MaxAge), Now: n.opt.Clock.Now, Epoch: epoch,
	}
}

// newPrimary opens the journal and puts the parts together.
func newPrimary(ctx context.Context, n *node, st identity.State, root *beneath.Root) (*primaryPart, error) {
	dir := filepath.Join(n.cfg.StateDir, journalDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the journal's directory: %w", err)
	}
	log, err := journal.Open(vfs.OS(), dir, n.journalOptions(st.Epoch))
	if err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	p := &primaryPart{n: n, st: st, root: root, journal: log, rates: make(map[string]rate), isSealed: st.Sealed, sealTried: n.opt.Clock.Now()}
	p.enough, p.observed = make(chan struct{}), make(chan struct{})
	p.pace = newPacing(n)
	p.tracker = newTracker(n.opt.Clock, n.opt.Log.Named("sync"))
	p.stopObserving = sync.OnceFunc(func() { close(p.enough) })
	err = n.inherit(log)
	if err == nil && st.Sealed {
		// What a sealed node still serves is what it had when it was sealed.
		if _, err = log.Seal(); err == nil {
			err = watch.Replay(ctx, n.catalog, log)
		}
	}
	if err == nil {
		p.watcher, err = watch.New(watch.Config{
			Root: root, Catalog: n.catalog, Journal: log, Rules: mailstore.Maildir{}, Snapshots: mailstore.Maildir{},
			Pace: p.pace, Ahead: func(e []journal.Entry) { p.server.Ahead(e) }, // there is no server yet
			Boot: n.opt.Boot, Clock: n.opt.Clock, Log: n.opt.Log.Named("watch"), Timing: timing(n.cfg.Store),
		})
	}
	if err != nil {
		_ = log.Close()
		return nil, fmt.Errorf("watch the store: %w", err)
	}
	first, err := mailstore.ParseFirst(n.cfg.Sync.First)
	if err != nil {
		_ = log.Close()
		return nil, fmt.Errorf("what is copied first: %w", err)
	}
	p.server = primary.New(primary.Config{
		Name: n.id.Name(), Epoch: st.Epoch, Root: root, Catalog: n.catalog, Journal: log,
		Log: n.opt.Log.Named("primary"), Now: n.opt.Clock.Now,
		Store: p.storeState, Peer: n.id.RequirePeer, Superseded: p.superseded, Changed: n.server.Changed,
		Order: primary.Order{First: first, Messages: n.cfg.Sync.Order},
		Pace:  p.pace, Idle: p.pace.set.HonoursPriority(), Unseen: p.unseen, Evacuating: p.pace.evacuating,
		Proving: p.pace.proving,
	})
	p.reign = salvage.LoadReign(n.salvageDir(), st.Epoch, log.Start())
	return p, nil
}

// superseded is told that a mirror has followed a higher epoch.
func (p *primaryPart) superseded(mirror string, epoch journal.Epoch) {
	if _, err := p.n.learn(pairing.Crown{Claim: identity.Claim{Epoch: epoch}}, mirror); err != nil {
		p.n.opt.Log.Error("that another node is primary cannot be noted", "error", err)
	}
}

// indexQuiet is how long a mailbox is quiet, at most, before its index is
// replicated.
const indexQuiet = 5 * time.Second

// lastRetry is how many times as long as the first time between two attempts at
// what cannot be read the longest one is.
const lastRetry = 30

// timing is how often the observer does what the settings speak of.
func timing(s config.Store) watch.Timing {
	interval := time.Duration(s.IndexInterval)
	retry := time.Duration(s.RetryInterval)
	return watch.Timing{
		Snapshot: min(indexQuiet, interval/12), SnapshotAtLatest: interval,
		Unreadable: retry, UnreadableLast: lastRetry * retry,
	}
}

// storeState says how the store is, for the mirrors.
func (p *primaryPart) storeState() primary.StoreState {
	if p.n.state().Sealed {
		return primary.StoreState{State: "sealed", Detail: "sealed for a switchover", Complete: true}
	}
	s := p.watcher.Status()
	return primary.StoreState{
		State: string(s.Phase), Detail: s.Detail,
		Complete:    s.Phase == watch.PhaseScanning || s.Phase == watch.PhaseWatching,
		Unreadable:  s.UnreadableCount,
		MailStopped: p.n.mailStopped(p.n.state()),
	}
}

// unseen reports whether the catalog may lack names that are in a directory. A
// sealed store was looked at as a whole, or its seal says that it was not.
func (p *primaryPart) unseen(dir journal.Path, observed int64) bool {
	return !p.n.state().Sealed && p.watcher.Unseen(dir, observed)
}

// run observes the store and serves mirrors until ctx ends.
func (p *primaryPart) run(ctx context.Context) (err error) {
	defer func() {
		if cerr := p.journal.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("close the journal: %w", cerr)
		}
	}()
	p.n.opt.Log.Info("primary", "store", p.n.cfg.Store.Path, "listen", p.n.listen, "epoch", p.st.Epoch)
	recast := ctx
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.observe(ctx) })
	group.Go(func() error { return p.server.Run(ctx) })
	group.Go(func() error { p.pace.Run(ctx); return nil })
	group.Go(func() error { return p.pace.watchHealth(ctx) })
	group.Go(func() error { return p.trim(ctx) })
	group.Go(func() error { return p.tracker.run(ctx, p.courses) })
	group.Go(func() error { return p.tell(ctx) })
	group.Go(func() error { return p.resumeMail(ctx) })
	group.Go(func() error {
		p.n.modseq.Run(ctx, p.st.Epoch, p.n.proven(p.st.Epoch))
		return nil
	})
	go p.lookForUIDs(ctx) // which may hang with the array, and must not hold up the end
	p.n.door.Open(p.server)
	if !p.st.Sealed {
		p.letFencedIn()
	}
	defer p.letFencedOut()
	// Shut at once when the part is to end, and before it has ended: what comes
	// later would shut out those who come to the next part.
	shut := sync.OnceFunc(func() { p.n.door.Shut(p.n.id.Name() + " does not serve mirrors now") })
	defer shut()
	defer context.AfterFunc(ctx, shut)()
	p.n.ready()
	err = group.Wait()
	if errors.Is(context.Cause(recast), errRecast) {
		// What still waits for the array must not go on beside the next part.
		werr := p.server.Wait(p.n.lifetime)
		if err == nil && werr != nil {
			err = fmt.Errorf("wait for the mirrors' streams: %w", werr)
		}
	}
	return err
}

// observe watches the store until ctx ends or the journal is sealed.
func (p *primaryPart) observe(ctx context.Context) error {
	defer close(p.observed)
	if p.st.Sealed {
		return nil
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-p.enough:
			stop()
		case <-ctx.Done():
		}
	}()
	return p.watcher.Run(ctx)
}

// trim drops what every mirror has, and what is beyond the limits.
func (p *primaryPart) trim(ctx context.Context) error {
	durable := journal.Sequence(0)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.n.opt.Clock.After(trimInterval):
		}
		// What was removed just before the catalog was made durable is there still: a
		// salvage tells by it what a power cut has brought back.
		before := durable
		durable = p.n.catalog.DurablePosition().Sequence
		if err := p.journal.SaveCursors(); err != nil {
			p.n.problem("save the mirrors' places: " + err.Error())
			p.n.opt.Log.Error("the mirrors' places cannot be saved", "error", err)
			continue
		}
		if err := p.journal.Trim(before); err != nil {
			p.n.problem("trim the journal: " + err.Error())
			p.n.opt.Log.Error("the journal cannot be trimmed", "error", err)
		}
	}
}

// tell wakes those who follow the status when the observer has news.
func (p *primaryPart) tell(ctx context.Context) error {
	for {
		changed := p.watcher.Changed()
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			p.server.StoreChanged()
			p.n.server.Changed()
		}
	}
}

func (p *primaryPart) pacing() *pacing { return p.pace }

func (p *primaryPart) log() (*journal.Log, error) { return p.journal, nil }

// describe adds the store, the journal and the mirrors to the status.
func (p *primaryPart) describe(d *status.Document) {
	w := p.watcher.Status()
	s := &d.Store
	s.State, s.Detail = string(w.Phase), w.Detail
	if p.n.state().Sealed {
		s.State, s.Detail = "sealed", ""
	}
	if w.Suspended != "" {
		s.Detail = w.Suspended
	}
	s.Watch = watchOf(w)
	if p.apart.Load() {
		s.Apart = ApartWords
	}
	p.describeUnreadable(s, w)
	if w.JournalError != "" {
		d.LastError = &status.Problem{Time: d.Time, Text: w.JournalError}
	}
	d.IMAP = imapOf(p.n.modseq.Status(), p.st.Epoch)
	d.Journal = describeJournal(p.journal)
	for _, m := range p.server.Mirrors() {
		d.Mirrors = append(d.Mirrors, p.mirror(d, m))
	}
	d.Pace = p.pace.document()
	d.Loss = lossOf(d)
}

// maxUnreadableBytes bounds the names and errors that a status lists.
const maxUnreadableBytes = 2 << 20

// describeUnreadable adds what cannot be looked at and what cannot be read.
func (p *primaryPart) describeUnreadable(s *status.Store, w watch.Status) {
	damaged := p.server.Damaged()
	s.Unreadable = w.UnreadableCount + len(damaged)
	bytes := 0
	add := func(path journal.Path, err string, since time.Time) {
		if bytes += len(path) + len(err); bytes <= maxUnreadableBytes {
			s.UnreadableFiles = append(s.UnreadableFiles, status.Unreadable{Path: string(path), Error: err, Since: since})
		}
	}
	for _, u := range w.Unreadable {
		add(u.Path, u.Err, u.Since)
	}
	for _, d := range damaged {
		add(d.Path, d.Err, d.Since)
	}
}

// durability tells how far changes are durable on the mirrors.
func (p *primaryPart) durability() operator.Durability {
	d := operator.Durability{Settled: p.watcher.Settled()}
	d.Observed = p.journal.Head().Sequence // after that: what was settled is in it
	for _, c := range p.journal.Cursors() {
		if d.Mirrors == 0 || c.Position.Sequence < d.Durable {
			d.Durable = c.Position.Sequence
		}
		d.Mirrors++
	}
	return d
}

func describeJournal(log *journal.Log) *status.Journal {
	head := log.Head()
	bytes, entries := log.Size()
	return &status.Journal{
		Sequence: uint64(head.Sequence), Digest: head.Digest.String(),
		Start: uint64(log.Start().Sequence), Bytes: bytes, Entries: entries,
	}
}

func watchOf(w watch.Status) *status.Watch {
	out := &status.Watch{
		Mode: string(w.Mode), ModeReason: w.ModeReason, Complete: w.Complete, Watches: w.Watches,
		DirectoriesDone: w.DirectoriesDone, DirectoriesKnown: w.DirectoriesKnown,
		Overflows: w.Overflows, BeingWritten: w.BeingWritten, Pending: w.Dirty + w.Waiting,
		Indexes: w.Snapshots, LargeIndexes: w.LargeSnapshots,
	}
	if !w.LastOverflow.IsZero() {
		out.LastOverflow = &w.LastOverflow
	}
	return out
}

// mirror judges one mirror.
func (p *primaryPart) mirror(d *status.Document, m primary.MirrorState) status.Mirror {
	out := status.Mirror{
		Name: m.Name, Connected: m.Connected, AckedSequence: uint64(m.Acked),
		LagEntries: m.LagEntries, LagBytes: uint64(max(m.LagBytes, 0)), LagSeconds: m.Lag.Seconds(),
		SentBytes: m.SentBytes, SentFiles: m.SentFiles, SentRawBytes: m.RawBytes,
		BytesPerSecond: p.rate(m.Name, m.SentBytes), Files: m.Files, Bytes: m.Bytes,
		FilesLeft: m.FilesLeft, BytesLeft: m.BytesLeft, Missing: m.Missing, Assumed: m.Assumed,
		Proven: m.Proven, ProvenSequence: uint64(m.ProvenSequence),
	}
	switch {
	case m.Connected:
		out.Since = &m.Since
	case !m.LastSeen.IsZero():
		out.Since = &m.LastSeen
	}
	pending := uint64(0)
	if d.Store.Watch != nil {
		pending = uint64(d.Store.Watch.Pending)
	}
	out.State, out.Detail = judgeMirror(m, pending)
	out.Progress = p.tracker.describe(m.Name, p.course(&m, d.Store.Files, d.Store.Bytes))
	return out
}

// courses tell how far each mirror is that says so.
func (p *primaryPart) courses() map[string]course {
	out := make(map[string]course)
	var totals catalog.Totals
	if err := p.n.catalog.View(func(t *catalog.Tx) error {
		totals = t.Totals()
		return nil
	}); err != nil {
		return nil // others say so
	}
	for _, m := range p.server.Mirrors() {
		if m.State != "" {
			out[m.Name] = p.course(&m, totals.Files, uint64(totals.Bytes))
		}
	}
	return out
}

// course tells how far a mirror is with a store of so many files.
func (p *primaryPart) course(m *primary.MirrorState, files, bytes uint64) course {
	return course{
		going: m.State == "comparing", counted: p.storeState().Complete,
		State: progress.State{Messages: files, MessagesDone: m.Files - min(m.Missing, m.Files), Bytes: bytes, BytesDone: m.Bytes},
	}
}

// judgeMirror finds the state of a mirror, and says why.
func judgeMirror(m primary.MirrorState, pending uint64) (status.State, string) {
	switch {
	case !m.Connected && m.Behind:
		return status.Unknown, "not connected, and the journal no longer reaches back to where it was: it will have to compare"
	case !m.Connected && m.LastError != "":
		return status.Unknown, "not connected: " + m.LastError
	case !m.Connected:
		return status.Unknown, "not connected"
	case m.State == "":
		return status.Unknown, "connected, and has not yet said how it is"
	case m.State == "comparing":
		return status.Syncing, m.Detail
	case m.Detail != "":
		return status.Attention, m.Detail
	case m.Missing > 0:
		return status.Attention, fmt.Sprintf("lacks the content of %d files", m.Missing)
	case m.LagEntries > 0:
		return status.Behind, "changes are on their way"
	case m.Assumed > 0:
		return status.Behind, status.AssumedWords(m.Assumed)
	case !m.Proven:
		return status.Behind, "has everything, but it is not proven yet that both are equal"
	case pending > 0:
		return status.Behind, fmt.Sprintf("%d names are still to be looked at", pending)
	}
	return status.InSync, "everything is durable there"
}

// rate returns the bytes a second that a mirror was sent lately.
func (p *primaryPart) rate(name string, bytes uint64) float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.n.opt.Clock.Now()
	r := p.rates[name]
	passed := now.Sub(r.at).Seconds()
	switch {
	case r.at.IsZero() || bytes < r.bytes || passed < 0:
		r = rate{at: now, bytes: bytes}
	case passed >= 1:
		r = rate{at: now, bytes: bytes, perSecond: float64(bytes-r.bytes) / passed}
	}
	p.rates[name] = r
	return r.perSecond
}

// lossOf says what would be lost if the best mirror were promoted now.
func lossOf(d *status.Document) status.Loss {
	var best *status.Mirror
	for i := range d.Mirrors {
		if m := &d.Mirrors[i]; best == nil || m.AckedSequence > best.AckedSequence {
			best = m
		}
	}
	if best == nil {
		return status.Loss{
			Known: true, Files: d.Store.Files, Bytes: d.Store.Bytes,
			Words: fmt.Sprintf("everything: there is no mirror (%d files, %s)", d.Store.Files, status.Bytes(d.Store.Bytes)),
		}
	}
	l := status.Loss{
		Known: best.Connected && best.State != status.Unknown && d.Store.State == string(watch.PhaseWatching) &&
			d.Store.Watch.Mode == string(watch.ModeEvents),
		Entries: best.LagEntries, Bytes: best.LagBytes, Seconds: best.LagSeconds, Files: best.Missing,
		Assumed: best.Assumed,
	}
	if best.State == status.Syncing {
		if d.Store.Files > best.Files {
			l.Files += d.Store.Files - best.Files
		}
		if d.Store.Bytes > best.Bytes {
			l.Bytes += d.Store.Bytes - best.Bytes
		}
	}
	if d.Store.Watch != nil {
		l.Entries += uint64(d.Store.Watch.Pending)
	}
	return status.Lost(l)
}
