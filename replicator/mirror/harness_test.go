package mirror

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/content"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

const patience = 20 * time.Second

// fixture is a mirror with a store and a catalog of its own.
type fixture struct {
	t       *testing.T
	store   string
	m       *Mirror
	changed chan struct{} // the status tells something new
	epoch   journal.Epoch // that the node knows to have begun
	stocks  int           // how often the store was looked at as a whole
	led     func(string, journal.Epoch) error
}

func newFixture(t *testing.T) *fixture { return newFixtureIn(t, t.TempDir()) }

func newFixtureIn(t *testing.T, store string) *fixture {
	return newFixtureOf(t, store, filepath.Join(t.TempDir(), "catalog"))
}

// newFixtureOf makes a mirror of a store and a catalog that may be there already.
func newFixtureOf(t *testing.T, store, catalogDir string) *fixture {
	t.Helper()
	root, err := beneath.Open(store)
	if err != nil {
		t.Fatal(err)
	}
	cat, err := catalog.Open(catalogDir, catalog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cat.Check(); err != nil {
			t.Errorf("at the end: %v", err)
		}
		if err := errors.Join(cat.Close(), root.Close()); err != nil {
			t.Error(err)
		}
	})
	f := &fixture{t: t, store: store, changed: make(chan struct{}, 1)}
	f.led = func(string, journal.Epoch) error { return nil }
	f.m = New(Config{
		Name: "mx2", Root: root, Catalog: cat, Rules: mailstore.Maildir{},
		Log: hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: t.Output()}),
		Now: time.Now, Arrived: func() time.Time { return time.Time{} }, Explain: func(err error) error { return err },
		Epoch: func() journal.Epoch { return f.epoch },
		Led:   func(primary string, epoch journal.Epoch) error { return f.led(primary, epoch) },
		TakeStock: func(context.Context) error {
			f.stocks++
			return nil
		},
		Changed: func() {
			select {
			case f.changed <- struct{}{}:
			default:
			}
		},
	})
	if err := f.m.loadStatus(); err != nil {
		t.Fatal(err)
	}
	return f
}

// files reads the store: what is at each path, in words.
func (f *fixture) files() map[string]string {
	f.t.Helper()
	found := make(map[string]string)
	err := filepath.WalkDir(f.store, func(p string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(f.store, p)
		switch {
		case err != nil:
			return err
		case rel == ".":
			return nil
		case rel == mailstore.Staging || rel == "lost+found":
			return fs.SkipDir
		case d.IsDir():
			found[rel] = "dir"
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			found[rel] = "-> " + target
			return err
		default:
			data, err := os.ReadFile(p)
			found[rel] = "file " + string(data)
			return err
		}
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return found
}

// holds compares the store with what ought to be in it.
func (f *fixture) holds(want map[string]file) {
	f.t.Helper()
	words := make(map[string]string)
	for p, it := range want {
		switch {
		case it.dir:
			words[p] = "dir"
		case it.target != "":
			words[p] = "-> " + it.target
		default:
			words[p] = "file " + it.data
		}
		for d := filepath.Dir(p); d != "."; d = filepath.Dir(d) {
			words[d] = "dir"
		}
	}
	got := f.files()
	for _, p := range slices.Sorted(maps.Keys(words)) {
		if got[p] != words[p] {
			f.t.Errorf("%q is %.60q, want %.60q", p, got[p], words[p])
		}
	}
	for _, p := range slices.Sorted(maps.Keys(got)) {
		if words[p] == "" {
			f.t.Errorf("%q (%.60q) ought not to be there", p, got[p])
		}
	}
}

func (f *fixture) view(look func(t *catalog.Tx) error) {
	f.t.Helper()
	if err := f.m.cfg.Catalog.View(look); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) totals() (t catalog.Totals) {
	f.t.Helper()
	f.view(func(tx *catalog.Tx) error { t = tx.Totals(); return nil })
	return t
}

func (f *fixture) position() (p journal.Position) {
	f.t.Helper()
	f.view(func(tx *catalog.Tx) error { p = tx.Position(); return nil })
	return p
}

// fakePrimary is the other end of one stream, which a test speaks for.
type fakePrimary struct {
	f        *fixture
	ctx      context.Context
	requests chan *pb.ReplicateRequest
	answers  chan *pb.ReplicateResponse
	ended    chan error // what the mirror's end of the stream said
	codec    *wire.Codec
	entries  *content.StreamCompressor
	hello    wire.HelloMessage
	acked    journal.Sequence
	fetches  []wire.FetchItem   // asked for, not answered
	compares []wire.CompareItem // the same
	surveys  []string           // the same: from where on
	asked    []string           // all files that were asked for, in their order
	surveyed bool               // the test answers surveys; else there are no mailboxes
	next     journal.Sequence
	epoch    journal.Epoch // of the welcome, and of entries
	welcomed journal.Epoch // of all messages
	reigns   []wire.Reign  // it tells of them
}

// fakeStream is the mirror's end.
type fakeStream struct {
	p   *fakePrimary
	ctx context.Context
}

func (s fakeStream) Send(m *pb.ReplicateRequest) error {
	if m.GetHello() == nil && m.GetEpoch() != uint64(s.p.welcomed) {
		s.p.f.t.Errorf("%v is of epoch %d, in epoch %d", m, m.GetEpoch(), s.p.welcomed)
	}
	select {
	case s.p.requests <- m:
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

func (s fakeStream) Recv() (*pb.ReplicateResponse, error) {
	select {
	case m, ok := <-s.p.answers:
		if !ok {
			return nil, io.EOF
		}
		if m.GetEpoch() == 0 {
			m.Epoch = uint64(s.p.welcomed)
		}
		return m, nil
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	}
}

func (s fakeStream) Header() (metadata.MD, error) { return nil, nil }
func (s fakeStream) Trailer() metadata.MD         { return nil }
func (s fakeStream) CloseSend() error             { return nil }
func (s fakeStream) Context() context.Context     { return s.ctx }
func (s fakeStream) SendMsg(any) error            { return errors.ErrUnsupported }

// RecvMsg has each message come across in memory that is used again, as gRPC has.
func (s fakeStream) RecvMsg(m any) error {
	sent, err := s.Recv()
	if err != nil {
		return err
	}
	data, err := s.p.codec.Marshal(sent)
	if err != nil {
		return err
	}
	defer data.Free()
	plain := data.Materialize()
	half := len(plain) / 2
	return s.p.codec.Unmarshal(mem.BufferSlice{mem.SliceBuffer(plain[:half]), mem.SliceBuffer(plain[half:])}, m)
}

// Replicate implements pb.ReplicationServiceClient.
func (p *fakePrimary) Replicate(ctx context.Context, _ ...grpc.CallOption) (grpc.BidiStreamingClient[pb.ReplicateRequest, pb.ReplicateResponse], error) {
	return fakeStream{p, ctx}, nil
}

// connect begins a stream, and waits for the hello.
func (f *fixture) connect() *fakePrimary {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	p := &fakePrimary{
		f: f, ctx: ctx, epoch: 1,
		requests: make(chan *pb.ReplicateRequest, 1000), answers: make(chan *pb.ReplicateResponse),
		ended: make(chan error, 1), codec: wire.NewCodec(),
	}
	var err error
	if p.entries, err = content.NewStreamCompressor(); err != nil {
		f.t.Fatal(err)
	}
	streamCtx, stop := context.WithCancel(ctx)
	go func() {
		err := f.m.connectTo(streamCtx, p)
		f.m.lost(err)
		p.ended <- err
	}()
	f.t.Cleanup(func() {
		stop()
		_ = p.end()
		cancel()
	})
	select {
	case m := <-p.requests:
		if p.hello, err = wire.ParseHello(m.GetHello()); err != nil {
			f.t.Fatal(err)
		}
	case err := <-p.ended:
		p.ended <- err
	}
	return p
}

// connectTo is connect without dialling.
func (m *Mirror) connectTo(ctx context.Context, client pb.ReplicationServiceClient) error {
	stage, err := m.prepare(ctx)
	if err != nil {
		return err
	}
	defer stage.close()
	return m.follow(ctx, client, stage)
}

func (p *fakePrimary) send(m *pb.ReplicateResponse) {
	p.f.t.Helper()
	for {
		select {
		case p.answers <- m:
			return
		case r := <-p.requests:
			p.take(r)
		case err := <-p.ended:
			p.ended <- err
			return
		case <-p.ctx.Done():
			p.f.t.Fatal("the mirror does not listen")
		}
	}
}

// take notes a request.
func (p *fakePrimary) take(r *pb.ReplicateRequest) {
	switch {
	case r.GetAcknowledgement() != nil:
		p.acked = journal.Sequence(r.GetAcknowledgement().GetSequence())
	case r.GetFetch() != nil:
		items, err := wire.ParseFetch(r.GetFetch())
		if err != nil {
			p.f.t.Error(err)
		}
		p.fetches = append(p.fetches, items...)
		for _, w := range items {
			p.asked = append(p.asked, string(w.Path))
		}
	case r.GetSurvey() != nil:
		p.surveys = append(p.surveys, string(r.GetSurvey().GetAfter()))
		if !p.surveyed {
			p.send(wire.ActivityMessage(wire.Activity{}))
		}
	case r.GetCompare() != nil:
		items, err := wire.ParseCompare(r.GetCompare())
		if err != nil {
			p.f.t.Error(err)
		}
		p.compares = append(p.compares, items...)
	}
}

// until takes requests until something is so.
func (p *fakePrimary) until(what string, ok func() bool) {
	p.f.t.Helper()
	for !ok() {
		select {
		case r := <-p.requests:
			p.take(r)
		case <-p.f.changed:
		case err := <-p.ended:
			p.ended <- err
			p.f.t.Fatalf("not %s: the stream ended: %v", what, err)
		case <-p.ctx.Done():
			p.f.t.Fatalf("not %s in time; acknowledged %d, fetches %v, status %+v", what, p.acked, p.fetches, p.f.m.Status())
		}
	}
}

// untilAcked waits for an acknowledgement.
func (p *fakePrimary) untilAcked(s journal.Sequence) {
	p.f.t.Helper()
	p.until("acknowledged", func() bool { return p.acked >= s })
}

// end waits for the end of the stream.
func (p *fakePrimary) end() error {
	p.f.t.Helper()
	for {
		select {
		case <-p.requests:
		case err := <-p.ended:
			p.ended <- err
			return err
		case <-time.After(patience):
			p.f.t.Fatal("the stream does not end")
		}
	}
}

// hangUp ends the stream from this side.
func (p *fakePrimary) hangUp() {
	p.f.t.Helper()
	close(p.answers)
	_ = p.end()
}

func at(epoch journal.Epoch, s journal.Sequence) journal.Position {
	return journal.Position{Epoch: epoch, Sequence: s, Digest: journal.Digest{byte(s)}}
}

// welcome lets the mirror go on from where it is, or compare.
func (p *fakePrimary) welcome(pos journal.Position, resync string) {
	p.f.t.Helper()
	p.next, p.welcomed = pos.Sequence+1, p.epoch
	p.send(wire.Welcome(wire.WelcomeMessage{Version: 1, Name: "mx1", Epoch: p.epoch, Position: pos, Resync: resync, Reigns: p.reigns}))
}

// batch makes one message of entries and the contents they bring.
func (p *fakePrimary) batch(entries ...entry) *pb.Batch {
	p.f.t.Helper()
	out := &pb.Batch{}
	list := wire.Entries{First: p.next, Last: at(p.epoch, p.next+journal.Sequence(len(entries))-1)}
	for i := range entries {
		e := entries[i]
		if e.bring {
			e.Transfer = wire.PrimaryTransfer | uint64(p.next) + uint64(i)
			out.Contents = append(out.Contents, transfer(e.Transfer, e.data, wire.ContentEnd{Outcome: wire.OK, Facts: e.Facts}))
		}
		list.Entries = append(list.Entries, e.Entry)
	}
	p.next += journal.Sequence(len(entries))
	plain, err := wire.MarshalEntries(list)
	if err == nil {
		out.Entries, err = p.entries.Compress(plain)
	}
	if err != nil {
		p.f.t.Fatal(err)
	}
	out.EntriesSize = uint32(len(plain))
	return out
}

// transfer is the whole of a content.
func transfer(number uint64, data string, end wire.ContentEnd) *pb.Content {
	out := &pb.Content{Transfer: number, End: wire.ContentEndMessage(end)}
	for chunk := range slices.Chunk([]byte(data), 64<<10) {
		out.Pieces = append(out.Pieces, wire.Piece(content.Piece{Raw: bytes.Clone(chunk)}))
	}
	return out
}

func asBatch(b *pb.Batch) *pb.ReplicateResponse {
	return &pb.ReplicateResponse{Message: &pb.ReplicateResponse_Batch{Batch: b}}
}

// send entries; they are consecutive.
func (p *fakePrimary) journal(entries ...entry) {
	p.f.t.Helper()
	p.send(asBatch(p.batch(entries...)))
}

// answer answers a fetch of a path.
func (p *fakePrimary) answer(path string, end wire.ContentEnd, data string) {
	p.f.t.Helper()
	p.until("asked for "+path, func() bool { return p.fetchOf(path) >= 0 })
	i := p.fetchOf(path)
	number := p.fetches[i].Transfer
	p.fetches = slices.Delete(p.fetches, i, i+1)
	p.send(asBatch(&pb.Batch{Contents: []*pb.Content{transfer(number, data, end)}}))
}

func (p *fakePrimary) fetchOf(path string) int {
	return slices.IndexFunc(p.fetches, func(i wire.FetchItem) bool { return i.Path == journal.Path(path) })
}

// brings answers a fetch with the content.
func (p *fakePrimary) brings(path string, f file) {
	p.f.t.Helper()
	p.answer(path, wire.ContentEnd{Outcome: wire.OK, Facts: f.facts(), Link: f.link}, f.data)
}

// serve answers everything from a store, until the mirror has compared all.
func (p *fakePrimary) serve(store map[string]file, page int) {
	p.f.t.Helper()
	for !p.f.m.Status().Whole {
		p.until("served", func() bool {
			return len(p.compares)+len(p.fetches) > 0 || p.f.m.Status().Whole
		})
		p.serveOnce(store, page)
	}
}

// serveOnce answers what was asked for by now.
func (p *fakePrimary) serveOnce(store map[string]file, page int) {
	p.f.t.Helper()
	for len(p.compares) > 0 {
		c := p.compares[0]
		p.compares = p.compares[1:]
		for _, l := range listings(store, string(c.Path), page) {
			p.lists(l)
		}
	}
	for len(p.fetches) > 0 {
		it := p.fetches[0]
		f, ok := store[string(it.Path)]
		switch {
		case !ok:
			p.answer(string(it.Path), wire.ContentEnd{Outcome: wire.Gone}, "")
		case it.Have == contentID(f.data):
			p.answer(string(it.Path), wire.ContentEnd{Outcome: wire.Same, Facts: f.facts(), Link: f.link}, "")
		default:
			p.brings(string(it.Path), f)
		}
	}
}
