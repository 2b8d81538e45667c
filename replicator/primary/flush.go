package primary

import (
	"fmt"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// batch is what will be sent next: contents, and behind them entries. A batch
// is sent when it has MaxBatchBytes, and the largest entry that one can hold
// goes over that by less than MaxHeld, MaxXattrSize and three paths; so neither
// MaxEntriesSize nor MaxMessage is ever reached.
type batch struct {
	contents []*pb.Content
	bytes    int // no less than it takes on the wire, save what frames cost
	entries  []wire.Entry
	first    journal.Sequence
}

// full reports whether the batch should be sent now.
func (b *batch) full() bool {
	return b.bytes >= wire.MaxBatchBytes || len(b.entries) >= wire.MaxBatchEntries || len(b.contents) >= wire.MaxBatchContents
}

// The bytes of an entry, or of other facts, beside what is of variable length.
const (
	fixedSize      = 128
	fixedXattrSize = 16
)

// entrySize returns what an entry adds to a batch, at most.
func entrySize(e *journal.Entry) int {
	n := fixedSize + len(e.Path) + len(e.From) + factsSize(&e.Facts)
	if e.Held != nil {
		n += len(e.Held.Data)
	}
	return n
}

// factsSize returns what facts add to a message, at most.
func factsSize(f *journal.Facts) int {
	n := fixedSize + len(f.Target)
	for _, x := range f.Attr.Xattrs {
		n += fixedXattrSize + len(x.Name) + len(x.Value)
	}
	return n
}

// flushEntries sends the batch if there are entries in it.
func (s *sender) flushEntries() error {
	if len(s.batch.entries) == 0 {
		return nil
	}
	return s.flush(nil)
}

// flush sends the batch, and the mark if there is one.
func (s *sender) flush(mark *pb.Mark) error {
	if len(s.batch.contents) == 0 && len(s.batch.entries) == 0 && mark == nil {
		return nil
	}
	out := &pb.Batch{Contents: s.batch.contents, Mark: mark}
	count := len(s.batch.entries)
	if count > 0 {
		plain, err := wire.MarshalEntries(wire.Entries{First: s.batch.first, Entries: s.batch.entries, Last: s.last})
		if err != nil {
			return err
		}
		if out.Entries, err = s.entries.Compress(plain); err != nil {
			return err
		}
		out.EntriesSize = uint32(len(plain))
	}
	s.batch = batch{}
	bytes, entries := wire.Cost(out, count)
	if err := s.spend(bytes, entries); err != nil {
		return err
	}
	s.session.countBatch(bytes, s.last.Sequence)
	return s.send(&pb.ReplicateResponse{Message: &pb.ReplicateResponse_Batch{Batch: out}})
}

// send hands one message to the stream, and notes how long the network kept
// it waiting.
func (s *sender) send(m *pb.ReplicateResponse) error {
	start := s.server.cfg.Now()
	if err := s.session.stream.Send(m); err != nil {
		return fmt.Errorf("send to the mirror: %w", err)
	}
	s.level.ReportBlocked(s.server.cfg.Now().Sub(start))
	return nil
}

// spend waits until the mirror allows more, and takes the cost from what it
// allows. Meanwhile the mirror goes on hearing that this primary lives.
func (s *sender) spend(bytes, entries int64) error {
	if bytes == 0 && entries == 0 {
		return nil
	}
	for !s.session.takeCredit(bytes, entries) {
		select {
		case <-s.ctx.Done():
			return s.ctx.Err()
		case <-s.session.wake:
		case <-s.tick.C:
			if err := s.heartbeat(); err != nil {
				return err
			}
		}
	}
	return nil
}

// takeCredit takes the cost if some credit is left; the last batch may cost
// more than there was.
func (s *session) takeCredit(bytes, entries int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.creditBytes <= 0 || s.creditEntries <= 0 {
		return false
	}
	s.creditBytes -= bytes
	s.creditEntries -= entries
	return true
}

// countBatch notes what a batch carries, and the last entry that was sent with
// it or before.
func (s *session) countBatch(bytes int64, last journal.Sequence) {
	s.mu.Lock()
	s.sent.bytes += uint64(bytes)
	s.sentTo = max(s.sentTo, last)
	s.mu.Unlock()
}

// heartbeat tells the mirror how the primary is and how far it is behind.
func (s *sender) heartbeat() error {
	cfg := &s.server.cfg
	head := cfg.Journal.Head().Sequence
	s.session.mu.Lock()
	acked := s.session.acked
	s.session.mu.Unlock()
	bytes, age := s.server.ledger.lag(acked, head, cfg.Now())
	store := cfg.Store()
	var totals catalog.Totals
	if err := cfg.Catalog.View(func(t *catalog.Tx) error { totals = t.Totals(); return nil }); err != nil {
		return fmt.Errorf("count the store: %w", err)
	}
	return s.send(wire.HeartbeatMessage(wire.Heartbeat{
		Head: head, Lag: age, LagBytes: uint64(bytes), Now: cfg.Now(),
		State: store.State, Detail: store.Detail,
		Files: totals.Files, Bytes: uint64(totals.Bytes), Unread: totals.Unread,
	}))
}

// markWhenAcknowledged sends the mark as soon as the mirror has everything, so
// that equality is proven without waiting for the next beat, but no more often
// than that.
func (s *sender) markWhenAcknowledged() error {
	s.session.mu.Lock()
	acked := s.session.acked
	s.session.mu.Unlock()
	if acked < s.last.Sequence || s.server.cfg.Now().Sub(s.marked.when) < wire.HeartbeatInterval {
		return nil
	}
	if err := s.saveLearned(); err != nil {
		return err
	}
	return s.mark()
}

// mark sends the digest of the whole store, if it or the place changed since
// the last one. The digest is that of a snapshot of the catalog, and the mark
// follows the entry that the snapshot was made at.
func (s *sender) mark() error {
	if !s.server.cfg.Store().Complete {
		return nil
	}
	var at journal.Sequence
	var digest catalog.Digest
	var unread uint64
	err := s.server.cfg.Catalog.View(func(t *catalog.Tx) error {
		at, digest, unread = t.Position().Sequence, t.Digest(), t.Totals().Unread
		return nil
	})
	if err != nil {
		return fmt.Errorf("digest the store: %w", err)
	}
	m := &s.marked
	if at < s.last.Sequence || !m.when.IsZero() && at == m.at && digest == m.digest {
		return nil
	}
	if err := s.sendUpTo(at); err != nil {
		return err
	}
	*m = marked{when: s.server.cfg.Now(), at: at, digest: digest}
	return s.flush(&pb.Mark{Sequence: uint64(at), Digest: digest[:], Unread: unread})
}
