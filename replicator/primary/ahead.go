package primary

import (
	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// The contents that are sent ahead are few and small: what hurries one message
// holds up a flood of them.
const (
	aheadEntries = 4         // at most, of one append
	aheadBytes   = 256 << 10 // at most, of all their contents
	// maxAhead bounds the contents that a stream may have sent ahead of entries
	// that have not come: the mirror keeps them until the stream ends.
	maxAhead = 64
	// aheadTransfer marks the numbers of these transfers, which are counted: the
	// sequence number of the entry is not known yet.
	aheadTransfer = wire.PrimaryTransfer | 1<<62
)

// announced is what is about to be appended to the journal.
type announced struct {
	after journal.Sequence // the head before it
	puts  []journal.Entry
}

// Ahead is told which entries are about to be appended to the journal. What they
// put is sent to the mirrors that lack nothing else while the journal is made
// durable. The entries follow when they are durable, and not before: a mirror
// never knows of a change that a crash could take from the journal. A content
// without an entry is no change, and is dropped with the stream. Ahead never
// blocks.
func (s *Server) Ahead(entries []journal.Entry) {
	a := announced{after: s.cfg.Journal.Head().Sequence}
	bytes := int64(0)
	for i := range entries {
		e := &entries[i]
		if e.Kind != journal.KindPut || e.Held != nil || !e.Facts.Content.Known() || e.Facts.Size == 0 {
			continue
		}
		a.puts = append(a.puts, *e)
		bytes += e.Facts.Size
	}
	if len(a.puts) == 0 || len(a.puts) > aheadEntries || bytes > aheadBytes {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sess := range s.sessions {
		select {
		case sess.ahead <- a:
		default: // it is busy, and sends them with their entries
		}
	}
}

// aheadKey says which put a content was sent for.
type aheadKey struct {
	path    journal.Path
	stamp   journal.Stamp
	content journal.ContentID
	size    int64
}

func keyOf(e *journal.Entry) aheadKey {
	return aheadKey{path: e.Path, stamp: e.Stamp, content: e.Facts.Content, size: e.Facts.Size}
}

// sendAhead sends the contents of entries that are about to be journaled, unless
// something else comes before them.
func (s *sender) sendAhead(a announced) error {
	if a.after != s.last.Sequence || s.next != nil {
		return nil
	}
	for i := range a.puts {
		key := keyOf(&a.puts[i])
		if _, sent := s.ahead[key]; sent || len(s.ahead) >= maxAhead {
			continue // the append has failed, and is tried again
		}
		s.aheadCount++
		e := wire.Entry{Entry: a.puts[i], Outcome: wire.OK}
		if err := s.sendContentOf(&e, aheadTransfer|s.aheadCount); err != nil {
			return err
		}
		if e.Transfer != 0 {
			s.ahead[key] = e.Transfer
		}
	}
	return s.flush()
}

// wasAhead gives an entry the content that was sent ahead of it, if one was.
func (s *sender) wasAhead(e *wire.Entry) bool {
	key := keyOf(&e.Entry)
	transfer, sent := s.ahead[key]
	if sent {
		delete(s.ahead, key)
		e.Transfer = transfer
	}
	return sent
}
