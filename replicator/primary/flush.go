package primary

import (
	"fmt"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// batch is what will be sent next: contents, and behind them entries. A batch
// is sent when it has a stride, MaxBatchBytes at most, and the largest entry that
// one can hold goes over that by less than MaxHeld, MaxXattrSize and three paths; so
// neither MaxEntriesSize nor MaxMessage is ever reached.
type batch struct {
	contents []*pb.Content
	bytes    int // no less than it takes on the wire, save what frames cost
	entries  []wire.Entry
	first    journal.Sequence
	lent     [][]byte // what contents may be slices of, to be taken back when they were sent
}

// full reports whether the batch should be sent now.
func (b *batch) full(s stride) bool {
	return b.bytes >= int(s) || len(b.entries) >= wire.MaxBatchEntries || len(b.contents) >= wire.MaxBatchContents
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
	return s.flush()
}

// flush sends the batch, if there is anything in it.
func (s *sender) flush() error {
	if len(s.batch.contents) == 0 && len(s.batch.entries) == 0 {
		return nil // nothing is lent either: a content ends with something to be sent
	}
	out := &pb.Batch{Contents: s.batch.contents}
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
	lent, size := s.batch.lent, s.batch.bytes
	s.batch = batch{}
	bytes, entries := wire.Cost(out, count)
	if err := s.spend(bytes, entries); err != nil {
		return err
	}
	start := s.server.cfg.Now()
	s.session.countBatch(bytes, s.last.Sequence, count > 0, start)
	if err := s.send(&pb.ReplicateResponse{Message: &pb.ReplicateResponse_Batch{Batch: out}}); err != nil {
		return err
	}
	s.stride.took(size, s.server.cfg.Now().Sub(start))
	for _, data := range lent {
		s.server.buffers.takeBack(data)
	}
	return nil
}

// send hands one message to the stream, and notes how long the network kept
// it waiting.
func (s *sender) send(m *pb.ReplicateResponse) error {
	start := s.server.cfg.Now()
	if err := s.session.send(m); err != nil {
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
// it or before; entries says that there are some in it.
func (s *session) countBatch(bytes int64, last journal.Sequence, entries bool, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent.bytes += uint64(bytes)
	s.sentTo = max(s.sentTo, last)
	if entries {
		s.distance.sent(last, now)
	}
}
