package primary

import (
	"fmt"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// batch is what will be sent next: contents, and behind them entries.
type batch struct {
	contents []*pb.Content
	bytes    int
	entries  []wire.Entry
	first    journal.Sequence
}

// full reports whether the batch should be sent now.
func (b *batch) full() bool {
	return b.bytes >= wire.MaxBatchBytes || len(b.entries) >= wire.MaxBatchEntries || len(b.contents) >= wire.MaxBatchContents
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
	s.session.count(bytes)
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
		return err
	}
	return s.send(wire.HeartbeatMessage(wire.Heartbeat{
		Head: head, Lag: age, LagBytes: uint64(bytes), Now: cfg.Now(),
		State: store.State, Detail: store.Detail,
		Files: totals.Files, Bytes: uint64(totals.Bytes), Unread: totals.Unread,
	}))
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
		return err
	}
	if at < s.last.Sequence || s.marked && at == s.markedAt && digest == s.markedDigest {
		return nil
	}
	if err := s.sendUpTo(at); err != nil {
		return err
	}
	s.marked, s.markedAt, s.markedDigest = true, at, digest
	return s.flush(&pb.Mark{Sequence: uint64(at), Digest: digest[:], Unread: unread})
}
