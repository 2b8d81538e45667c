package primary

import (
	"fmt"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// beat is what is due once a second.
func (s *sender) beat() error {
	if err := s.saveLearned(); err != nil {
		return err
	}
	mark, err := s.mark()
	if err != nil {
		return err
	}
	return s.tell(mark)
}

// earlyBeat is the least time between two beats that tell how the store is.
const earlyBeat = wire.HeartbeatInterval / 10

// Marks that are sent early, because the mirror has acknowledged everything. A few
// may follow each other, for after a start or a pause each change is one to be
// proven soon; where changes go on and on, there is one in each interval.
const (
	earlyMark  = wire.HeartbeatInterval / 40 // the least time between two
	earlyMarks = 8                           // so many in a row, at most
)

// beatEarly beats as soon as the mirror has acknowledged everything, or the
// store has become another than the mirror was told, so that equality is proven
// without waiting for the next beat. That comes later then.
func (s *sender) beatEarly() error {
	s.session.mu.Lock()
	acked := s.session.acked
	s.session.mu.Unlock()
	now := s.server.cfg.Now()
	if acked >= s.last.Sequence && s.last.Sequence != s.marked.at {
		if wait, ok := s.marked.early(now); ok && wait == 0 {
			return s.beat()
		} else if ok {
			s.tick.Reset(wait)
			return nil
		}
	}
	if s.server.cfg.Store().State == s.toldState {
		return nil
	}
	if wait := earlyBeat - now.Sub(s.toldAt); wait > 0 && wait <= earlyBeat {
		s.tick.Reset(wait)
		return nil
	}
	return s.beat()
}

// heartbeat tells the mirror how the primary is, from within whatever takes
// long.
func (s *sender) heartbeat() error { return s.tell(nil) }

// tell tells the mirror how the primary is and how far it is behind.
func (s *sender) tell(mark *wire.Mark) error {
	cfg := &s.server.cfg
	head := cfg.Journal.Head().Sequence
	s.session.mu.Lock()
	acked, heard := s.session.acked, s.session.report.Stamp
	s.session.mu.Unlock()
	bytes, age := s.server.ledger.lag(acked, head, cfg.Now())
	store := cfg.Store()
	s.toldState, s.toldAt = store.State, cfg.Now()
	s.tick.Reset(wire.HeartbeatInterval)
	var totals catalog.Totals
	if err := cfg.Catalog.View(func(t *catalog.Tx) error { totals = t.Totals(); return nil }); err != nil {
		return fmt.Errorf("count the store: %w", err)
	}
	return s.send(wire.HeartbeatMessage(wire.Heartbeat{
		Head: head, Lag: age, LagBytes: uint64(bytes), Now: cfg.Now(),
		State: store.State, Detail: store.Detail,
		Files: totals.Files, Bytes: uint64(totals.Bytes), Unread: totals.Unread, Heard: heard, MailStopped: store.MailStopped, Mark: mark,
		Unreadable: uint64(store.Unreadable + s.server.damaged.len()),
		Pending:    uint64(store.Pending), JournalError: store.JournalError, Polling: store.Polling,
	}))
}

// marked is the mark that was sent last.
type marked struct {
	when     time.Time // zero: none was sent
	next     time.Time // no other one is sent early before
	at       journal.Sequence
	digest   catalog.Digest
	outdated bool // a content or a listing was sent since: it may have changed the mirror, if not this node
}

// sent takes note of a mark.
func (m *marked) sent(now time.Time, at journal.Sequence, digest catalog.Digest) {
	next := m.next
	if oldest := now.Add(-earlyMarks * wire.HeartbeatInterval); next.Before(oldest) {
		next = oldest
	}
	*m = marked{when: now, next: next.Add(wire.HeartbeatInterval), at: at, digest: digest}
}

// early returns how long to wait before another mark may be sent early; false if
// the next beat is soon enough.
func (m *marked) early(now time.Time) (wait time.Duration, ok bool) {
	if m.next.After(now) && m.next.Sub(now) <= earlyMarks*wire.HeartbeatInterval { // else the clock was set back
		return 0, false
	}
	wait = earlyMark - now.Sub(m.when)
	if wait > earlyMark {
		wait = 0 // the same
	}
	return max(wait, 0), true
}

// mark returns the digest of the whole store as it is after all that was sent,
// nil if neither it nor the place has changed since the last one, nor an answer
// was sent, or there is none now. The digest is that of a snapshot of the catalog; what leads up to
// the snapshot is sent.
func (s *sender) mark() (*wire.Mark, error) {
	if !s.server.cfg.Store().Complete {
		return nil, nil
	}
	var at journal.Sequence
	var digest catalog.Digest
	var unread uint64
	err := s.server.cfg.Catalog.View(func(t *catalog.Tx) error {
		at, digest, unread = t.Position().Sequence, t.Digest(), t.Totals().Unread
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("digest the store: %w", err)
	}
	m := &s.marked
	same := at == m.at && digest == m.digest && !m.outdated && !m.when.IsZero()
	if at < s.last.Sequence || same {
		return nil, nil
	}
	if err := s.sendUpTo(at); err != nil {
		return nil, err
	}
	if err := s.flush(); err != nil { // the contents whose ids are in the digest
		return nil, err
	}
	m.sent(s.server.cfg.Now(), at, digest)
	return &wire.Mark{Sequence: at, Digest: digest, Unread: unread}, nil
}
