package mirror

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/content"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// maxOpenTransfers bounds the transfers that a primary may have begun and not
// ended: a live one, and a large one that it interrupts.
const maxOpenTransfers = 4

// step is something that takes effect in its turn. Exactly one field is set,
// but contents come with the entries that need them.
type step struct {
	entries  *wire.Entries
	contents map[uint64]*arrived // of the entries, by transfer
	cost     int64               // bytes of the entries, to be granted again
	answer   *arrived
	listing  *wire.Listing
	activity *wire.Activity
	// after, of entries, is how many of the other steps came before them.
	after uint64
	mark  *wire.Mark
}

// arrived is a transfer that has ended.
type arrived struct {
	transfer uint64
	file     *staged // nil unless the outcome is OK and no chunk was lost
	end      wire.ContentEnd
	lost     bool // a chunk that it refers to is lost
}

// incoming is a transfer that goes on.
type incoming struct {
	assembly
	file   *staged
	f      *os.File
	source *chunkSource
	lost   bool
}

// assembly is what a transfer needs while it goes on, and the next one after it.
type assembly struct {
	w       *bufio.Writer // to the file
	decoder *content.Decoder
}

// receiver takes messages from the stream.
type receiver struct {
	c        *connection
	window   *content.Received
	entries  *content.StreamDecompressor
	open     map[uint64]*incoming
	contents map[uint64]*arrived // ended, for entries that follow
	spare    []assembly          // of transfers that have ended
	passed   uint64              // steps that were passed on, but entries
}

// writeBuffer is what is written at one time: most messages whole. Chunks that
// are not written yet are found in the window's cache, which is larger.
const writeBuffer = 128 << 10

func newReceiver(c *connection) *receiver {
	return &receiver{
		c:        c,
		window:   content.NewReceived(wire.ChunkWindow, content.DefaultCache),
		open:     make(map[uint64]*incoming),
		contents: make(map[uint64]*arrived),
	}
}

// run receives until the stream ends.
func (r *receiver) run(ctx context.Context) error {
	entries, err := content.NewStreamDecompressor(wire.MaxEntriesSize)
	if err != nil {
		return err
	}
	defer entries.Close()
	r.entries = entries
	defer r.closeOpen()
	defer r.window.Close()
	for {
		m, err := r.c.receive()
		if errors.Is(err, io.EOF) {
			return errors.New("the primary ended the stream")
		}
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return r.c.failure(err)
		}
		err = r.take(ctx, m.ReplicateResponse)
		m.Free()
		if err != nil {
			return err
		}
	}
}

func (r *receiver) closeOpen() {
	for _, in := range r.open {
		_ = in.f.Close()
	}
}

// assemble returns what a transfer into f needs.
func (r *receiver) assemble(f *os.File, source *chunkSource) assembly {
	last := len(r.spare) - 1
	if last < 0 {
		return assembly{w: bufio.NewWriterSize(f, writeBuffer), decoder: content.NewDecoder(r.window, source)}
	}
	a := r.spare[last]
	r.spare = r.spare[:last]
	a.w.Reset(f)
	a.decoder.Reset(source)
	return a
}

// take acts on one message, of which it keeps nothing.
func (r *receiver) take(ctx context.Context, m *pb.ReplicateResponse) error {
	switch {
	case m.GetBatch() != nil:
		return r.takeBatch(ctx, m.GetBatch())
	case m.GetListing() != nil:
		l, err := r.listing(m.GetListing())
		if err != nil {
			return err
		}
		return r.pass(ctx, step{listing: &l})
	case m.GetActivity() != nil:
		a, err := wire.ParseActivity(m.GetActivity())
		if err != nil {
			return err
		}
		return r.pass(ctx, step{activity: &a})
	case m.GetHeartbeat() != nil:
		return r.takeHeartbeat(ctx, m.GetHeartbeat())
	}
	return fmt.Errorf("%w: a message of no known kind", wire.ErrProtocol)
}

// listing unpacks a listing.
func (r *receiver) listing(packed *pb.PackedListing) (wire.Listing, error) {
	plain, err := r.entries.Decompress(packed.GetListing(), int(packed.GetSize()))
	if err != nil {
		return wire.Listing{}, err
	}
	return wire.UnmarshalListing(plain)
}

// takeHeartbeat notes how the primary is. The mark takes effect in its turn.
func (r *receiver) takeHeartbeat(ctx context.Context, m *pb.Heartbeat) error {
	beat, err := wire.ParseHeartbeat(m)
	if err != nil {
		return err
	}
	if passed := r.c.m.cfg.Now().Sub(r.c.began); beat.Heard < 0 || beat.Heard > passed {
		return fmt.Errorf("%w: a heartbeat that answers what this mirror will say in %v", wire.ErrProtocol, beat.Heard-passed)
	}
	mark := beat.Mark
	beat.Mark = nil
	r.c.m.update(func(s *Status) {
		s.Pending = min(s.Beat.Pending, beat.Pending)
		s.Beat, s.Said = beat, r.c.began.Add(beat.Heard)
	})
	if mark == nil {
		return nil
	}
	return r.pass(ctx, step{mark: mark})
}

// pass passes a step on to the committer: entries in a lane of their own, so
// that they need not wait for all contents of a comparison that came before.
func (r *receiver) pass(ctx context.Context, s step) error {
	lane := r.c.steps
	if s.entries != nil {
		lane, s.after = r.c.live, r.passed
	} else {
		r.passed++
	}
	select {
	case lane <- s:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// takeBatch stages contents, and passes on what takes effect.
func (r *receiver) takeBatch(ctx context.Context, b *pb.Batch) error {
	for _, c := range b.GetContents() {
		done, err := r.takeContent(c)
		if err != nil {
			return err
		}
		if done == nil {
			continue
		}
		if done.transfer < wire.PrimaryTransfer {
			err = r.pass(ctx, step{answer: done})
		} else {
			err = r.keep(done)
		}
		if err != nil {
			return err
		}
	}
	s, err := r.takeEntries(b)
	if err != nil {
		return err
	}
	count := 0
	if s.entries != nil {
		count = len(s.entries.Entries)
		if err := r.pass(ctx, s); err != nil {
			return err
		}
	}
	bytes, entries := wire.Cost(b, count)
	r.c.m.update(func(s *Status) { s.Received += uint64(bytes) })
	return r.c.spent(bytes-s.cost, entries)
}

// keep keeps a content until the entry comes that needs it.
func (r *receiver) keep(a *arrived) error {
	if a.file == nil && !a.lost {
		return nil // the entry says the same
	}
	if _, twice := r.contents[a.transfer]; twice || len(r.contents) >= wire.MaxBatchEntries {
		return fmt.Errorf("%w: contents without entries", wire.ErrProtocol)
	}
	r.contents[a.transfer] = a
	return nil
}

// takeEntries reads the entries of a batch, and takes the contents that they
// need from those that are kept.
func (r *receiver) takeEntries(b *pb.Batch) (step, error) {
	if b.GetEntriesSize() == 0 {
		return step{}, nil
	}
	plain, err := r.entries.Decompress(b.GetEntries(), int(b.GetEntriesSize()))
	if err != nil {
		return step{}, err
	}
	entries, err := wire.UnmarshalEntries(plain)
	if err != nil {
		return step{}, err
	}
	s := step{entries: &entries, contents: make(map[uint64]*arrived), cost: int64(b.GetEntriesSize())}
	for i := range entries.Entries {
		number := entries.Entries[i].Transfer
		if a := r.contents[number]; a != nil {
			s.contents[number] = a
			delete(r.contents, number)
		}
	}
	return s, nil
}

// takeContent writes the pieces of one transfer; at its end it returns what
// arrived.
func (r *receiver) takeContent(c *pb.Content) (*arrived, error) {
	number := c.GetTransfer()
	in := r.open[number]
	if in == nil && len(c.GetPieces()) > 0 {
		var err error
		if in, err = r.begin(number); err != nil {
			return nil, err
		}
	}
	for _, p := range c.GetPieces() {
		if err := r.write(in, wire.ParsePiece(p)); err != nil {
			return nil, err
		}
	}
	if c.GetEnd() == nil {
		return nil, nil
	}
	end, err := wire.ParseContentEnd(c.GetEnd())
	if err != nil {
		return nil, err
	}
	delete(r.open, number)
	return r.end(number, in, end)
}

// dress gives the file its attributes while it is open. Where that fails, the
// committer does it once more and says why.
func (in *incoming) dress(attr journal.Attributes) {
	if err := beneath.SetFileAttributes(in.f, attr); err != nil {
		return
	}
	if info, err := beneath.FileInfo(in.f); err == nil {
		in.file.attr, in.file.stamp = attr, info.Stamp
	}
}

// syncEarly begins to make a live content durable, through the descriptor that
// wrote it, which it closes then: its entry may still be on its way. It returns
// false if the committer is at work, for it will take what comes meanwhile
// together; or if so many are being synced that one sync of all is cheaper.
func (c *connection) syncEarly(in *incoming) bool {
	if !c.resting.Load() {
		return false
	}
	if c.syncing.Add(1) > fewFiles {
		c.syncing.Add(-1)
		return false
	}
	f, done := in.f, make(chan error, 1)
	in.file.early = done
	c.syncs.Go(func() {
		err := f.Sync()
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		c.syncing.Add(-1)
		done <- err
	})
	return true
}

// begin opens a file for a new transfer.
func (r *receiver) begin(number uint64) (*incoming, error) {
	if len(r.open) >= maxOpenTransfers {
		return nil, fmt.Errorf("%w: more than %d transfers at one time", wire.ErrProtocol, maxOpenTransfers)
	}
	file, f, err := r.c.stage.create()
	if err != nil {
		return nil, inStore(err, "write into", mailstore.Staging)
	}
	source := &chunkSource{c: r.c, name: file.name}
	in := &incoming{assembly: r.assemble(f, source), file: file, f: f, source: source}
	r.open[number] = in
	return in, nil
}

// write adds one piece to a transfer.
func (r *receiver) write(in *incoming, p content.Piece) error {
	if in.lost {
		return r.window.Skip(p)
	}
	err := in.decoder.Write(p, in.w)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, content.ErrChunkLost):
		in.lost = true
		return nil
	case errors.Is(err, content.ErrCorrupt):
		return err
	}
	return inStore(err, "write into", mailstore.Staging)
}

// end checks a transfer that has come to its end.
func (r *receiver) end(number uint64, in *incoming, end wire.ContentEnd) (*arrived, error) {
	out := &arrived{transfer: number, end: end}
	if in == nil {
		if end.Outcome != wire.OK {
			return out, nil
		}
		var err error
		if in, err = r.begin(number); err != nil { // an empty content has no pieces
			return nil, err
		}
		delete(r.open, number)
	}
	err := in.w.Flush()
	in.file.id, in.file.size = in.decoder.Sum(), in.decoder.Size()
	in.w.Reset(nil)
	in.decoder.Reset(nil)
	r.spare = append(r.spare, in.assembly)
	whole := err == nil && end.Outcome == wire.OK && !in.lost
	if whole {
		in.dress(end.Facts.Attr)
	}
	if whole && number >= wire.PrimaryTransfer && r.c.syncEarly(in) {
		r.c.stage.prepare() // while that one is being synced
	} else {
		if cerr := in.f.Close(); err == nil {
			err = cerr
		}
	}
	if err != nil {
		return nil, inStore(err, "write into", mailstore.Staging)
	}
	out.lost = in.lost
	switch {
	case end.Outcome != wire.OK || in.lost:
		r.c.stage.drop(in.file)
		return out, nil
	case end.Facts.Type != journal.TypeFile:
		return nil, fmt.Errorf("%w: a content of a thing of type %d", wire.ErrProtocol, end.Facts.Type)
	case in.file.id != end.Facts.Content || in.file.size != end.Facts.Size:
		return nil, fmt.Errorf("%w: a content of %d bytes, %s, came as %d bytes, %s", content.ErrCorrupt,
			end.Facts.Size, end.Facts.Content, in.file.size, in.file.id)
	}
	in.source.id, in.source.is, in.file.source = in.file.id, in.file.stamp, in.source
	out.file = in.file
	return out, nil
}
