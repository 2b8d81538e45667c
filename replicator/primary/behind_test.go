package primary

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// TestMirrorBehindTheJournalsEnd: what a mirror needs was trimmed. That is told
// while it is away; when it is back it compares, and from then on what follows is
// kept for it, until an acknowledgement says that it is up to date.
func TestMirrorBehindTheJournalsEnd(t *testing.T) {
	p := newStoreOf(t, journal.Options{SegmentSize: 1 << 10, MaxSize: 8 << 10})
	made := 0
	fill := func() journal.Position {
		var last journal.Record
		for range 30 { // less than the journal may hold
			made++
			last = p.put(journal.Path(fmt.Sprint("m", made)), []byte("x"))
		}
		return last.Position
	}
	trim := func() { p.must(p.journal.Trim(p.journal.Head().Sequence)) }
	mirror := func() MirrorState { return p.server.Mirrors()[0] }

	first := p.put("first", []byte("x")).Position
	s := p.dial(t, wire.HelloMessage{Name: "mx2", Position: first, Whole: true})
	s.welcome(t)
	s.say(acknowledgement(1))
	until(t, "acknowledged", func() bool { return mirror().Acked == 1 })
	_ = s.end()
	fill()
	trim()
	if m := mirror(); m.Behind || p.journal.Start().Sequence > 1 {
		t.Fatalf("the journal begins at %v, and %+v is behind", p.journal.Start(), m)
	}
	for p.journal.Start().Sequence <= 1 {
		fill()
		trim()
	}
	if m := mirror(); !m.Behind || m.Connected {
		t.Errorf("the journal begins at %v, and the mirror is %+v", p.journal.Start(), m)
	}

	s = p.dial(t, wire.HelloMessage{Name: "mx2", Position: first, Whole: true})
	w := s.welcome(t)
	if !strings.Contains(w.Resync, "no longer reaches back") || w.Position != p.journal.Head() {
		t.Errorf("from %v, resync %q; the journal ends at %v", w.Position, w.Resync, p.journal.Head())
	}
	if m := mirror(); m.Behind || !m.Connected || !strings.Contains(m.Resync, "no longer reaches back") {
		t.Errorf("while it compares it is %+v", m)
	}
	// It takes nothing yet, for want of credit.
	trim()
	fill()
	trim()
	if err := p.journal.Contains(w.Position); err != nil {
		t.Errorf("what follows its comparison was dropped: %v", err)
	}
	s.say(credit(1<<20, 100))
	head := p.journal.Head().Sequence
	until(t, "sent", func() bool {
		p.server.mu.Lock()
		sess := p.server.sessions["mx2"]
		p.server.mu.Unlock()
		sess.mu.Lock()
		defer sess.mu.Unlock()
		return sess.sentTo == head
	})
	s.say(acknowledgement(head))
	until(t, "up to date", func() bool { m := mirror(); return m.Acked == head && m.LagEntries == 0 && !m.Behind })
	_ = s.end()
	if m := mirror(); m.Behind {
		t.Errorf("afterwards it is %+v", m)
	}
}

// TestTrimmedUnderAStream: a mirror that takes its entries too slowly is told to
// compare, not sent a history with a gap.
func TestTrimmedUnderAStream(t *testing.T) {
	p := newStoreOf(t, journal.Options{SegmentSize: 1 << 10, MaxSize: 8 << 10})
	first := p.put("first", []byte("x")).Position
	s := p.dial(t, wire.HelloMessage{Name: "mx2", Position: first, Whole: true})
	s.welcome(t)
	for i := range 3 * followAhead { // more than is read ahead; it gives no credit
		p.put(journal.Path(fmt.Sprint("m", i)), []byte("x"))
		if i%followAhead == 0 {
			p.must(p.journal.Trim(p.journal.Head().Sequence))
		}
	}
	p.must(p.journal.Trim(p.journal.Head().Sequence))
	s.say(credit(1<<30, 1<<20))
	if why := s.refusal(t); !strings.Contains(why, journal.ErrTrimmed.Error()) {
		t.Errorf("the stream ends with %q", why)
	}
	if m := p.server.Mirrors()[0]; m.Connected || !m.Behind || !strings.Contains(m.LastError, journal.ErrTrimmed.Error()) {
		t.Errorf("the mirror is %+v", m)
	}
	s = p.dial(t, wire.HelloMessage{Name: "mx2", Position: first, Whole: true})
	if w := s.welcome(t); w.Position != p.journal.Head() || !strings.Contains(w.Resync, "no longer reaches back") {
		t.Errorf("from %v, resync %q", w.Position, w.Resync)
	}
}
