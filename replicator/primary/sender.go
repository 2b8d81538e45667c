package primary

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/content"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// followAhead bounds the records read ahead of the sender.
const followAhead = 512

// sender is the one goroutine that sends on a stream.
//
// What it puts into a batch takes effect on the mirror in this order: ends of
// transfers that were asked for, then entries. So no such end is ever put into
// a batch that holds entries already; sendWaiting and sendUpTo see to it.
type sender struct {
	session *session
	server  *Server
	ctx     context.Context //nolint:containedctx // the sender lives exactly as long

	records <-chan journal.Record
	next    *journal.Record // taken from records, not yet sent
	answers <-chan chan *answer
	tick    *time.Ticker

	last    journal.Position // of the entry that was sent or batched last
	live    *content.Encoder
	bulk    *content.Encoder
	level   *content.Compressor
	entries *content.StreamCompressor
	batch   batch
	stride  stride
	marked  marked
	survey  askedSurvey

	ahead      map[aheadKey]uint64 // contents that were sent before their entries, and their transfers
	aheadCount uint64              // of all of them

	toldState string    // of the store, in the last heartbeat
	toldAt    time.Time // when that was
	learned   []identified
	learning  time.Time     // when the first of them was read
	saved     chan struct{} // some were saved, and are to be made durable; capacity 1
}

// identified is a content that was read for the first time.
type identified struct {
	path journal.Path
	item catalog.Item // as it was when it was read
	id   journal.ContentID
}

// sendAll sends until ctx ends or something fails.
func (s *session) sendAll(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	records := make(chan journal.Record, followAhead)
	answers := make(chan chan *answer, prefetchDepth)
	group.Go(func() error { return s.readAhead(ctx, records) })
	saved := make(chan struct{}, 1)
	group.Go(func() error { return prefetch(ctx, s, answers) })
	group.Go(func() error { return s.keepLearned(ctx, saved) })
	group.Go(func() error {
		entries, err := content.NewStreamCompressor()
		if err != nil {
			return err
		}
		window := content.NewSent(wire.ChunkWindow)
		level := content.NewCompressor(s.server.cfg.Now)
		snd := &sender{
			session: s, server: s.server, ctx: ctx,
			records: records, answers: answers, tick: time.NewTicker(wire.HeartbeatInterval),
			last: s.start, level: level, entries: entries, ahead: make(map[aheadKey]uint64), stride: newStride(),
			live: content.NewEncoder(window, level), bulk: content.NewEncoder(window, level), saved: saved,
		}
		defer snd.tick.Stop()
		err = snd.loop()
		// The mirror knows what was read; a stream that ends must not forget it.
		return errors.Join(err, snd.saveLearned(), s.server.cfg.Catalog.Sync())
	})
	return group.Wait()
}

// readAhead reads the journal ahead of the sender.
func (s *session) readAhead(ctx context.Context, out chan<- journal.Record) error {
	after := s.start.Sequence
	reader, err := s.server.cfg.Journal.Read(after)
	if err != nil {
		return fmt.Errorf("read the journal from %d: %w", after, err)
	}
	defer func() { _ = reader.Close() }()
	for {
		rec, err := reader.Next(ctx)
		if errors.Is(err, journal.ErrCorrupt) {
			s.server.corruptAfter(after)
		}
		if err != nil {
			return fmt.Errorf("read the journal: %w", err)
		}
		select {
		case out <- rec:
			after = rec.Position.Sequence
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// corruptAfter notes that the record after seq cannot be read: mirrors that
// need it have to compare.
func (s *Server) corruptAfter(seq journal.Sequence) {
	s.mu.Lock()
	s.corrupt = max(s.corrupt, seq+1)
	s.mu.Unlock()
}

// loop sends whatever there is, entries before answers.
func (s *sender) loop() error {
	if err := s.beat(); err != nil {
		return err
	}
	for {
		if err := s.sendWaiting(); err != nil {
			return err
		}
		if len(s.answers) == 0 { // else more goes into the same batch
			if err := s.flush(); err != nil {
				return err
			}
		}
		if err := s.one(); err != nil {
			return err
		}
	}
}

// one waits for something to do, and does it.
func (s *sender) one() error {
	select {
	case <-s.ctx.Done():
		return s.ctx.Err()
	case rec := <-s.records:
		s.next = &rec
		return nil
	case a := <-s.answers:
		return s.answer(a)
	case a := <-s.session.ahead:
		return s.sendAhead(a)
	case <-s.session.wake:
		if err := s.answerSurvey(); err != nil {
			return err
		}
		return s.beatEarly()
	case <-s.tick.C:
		if err := s.answerSurvey(); err != nil {
			return err
		}
		return s.beat()
	}
}

// sendWaiting sends all entries that wait.
func (s *sender) sendWaiting() error {
	for {
		if s.next == nil {
			select {
			case rec := <-s.records:
				s.next = &rec
			case <-s.tick.C: // not forgotten in a flood of entries
				if err := s.heartbeat(); err != nil {
					return err
				}
				continue
			default:
				return s.flushEntries()
			}
		}
		if err := s.addRecord(); err != nil {
			return err
		}
	}
}

// sendUpTo sends the entries up to seq and no further.
func (s *sender) sendUpTo(seq journal.Sequence) error {
	for s.last.Sequence < seq {
		if s.next == nil {
			select {
			case rec := <-s.records:
				s.next = &rec
			case <-s.tick.C:
				if err := s.heartbeat(); err != nil {
					return err
				}
				continue
			case <-s.ctx.Done():
				return s.ctx.Err()
			}
		}
		if err := s.addRecord(); err != nil {
			return err
		}
	}
	return s.flushEntries()
}

// addRecord puts the next entry, behind the content it needs, into the batch.
func (s *sender) addRecord() error {
	rec := s.next
	s.next = nil
	e := wire.Entry{Entry: rec.Entry, Outcome: wire.OK}
	if rec.Entry.Kind == journal.KindPut && rec.Entry.Held == nil {
		if !s.wasAhead(&e) {
			if err := s.sendContentOf(&e, wire.PrimaryTransfer|uint64(rec.Position.Sequence)); err != nil {
				return err
			}
		}
	}
	if len(s.batch.entries) == 0 {
		s.batch.first = rec.Position.Sequence
	}
	s.batch.entries = append(s.batch.entries, e)
	s.batch.bytes += entrySize(&e.Entry)
	s.last = rec.Position
	if s.batch.full(s.stride) {
		return s.flush()
	}
	return nil
}

// pause is the time between two looks at something that nobody tells of.
const pause = 2 * time.Millisecond

// wait waits for a moment, or until done is closed if that is set. Meanwhile
// the mirror goes on hearing that this primary lives.
func (s *sender) wait(done <-chan struct{}) error {
	var moment <-chan time.Time
	if done == nil {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		moment = timer.C
	}
	for {
		select {
		case <-s.ctx.Done():
			return s.ctx.Err()
		case <-done:
			return nil
		case <-moment:
			return nil
		case <-s.tick.C:
			if err := s.heartbeat(); err != nil {
				return err
			}
		}
	}
}

// await calls f, which may hang: reading does, when the array is in trouble.
// Its error is the sender's; then f may go on, and what it does is lost.
func (s *sender) await(f func()) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	return s.wait(done)
}

// errEarly says that the catalog has not come to the entry sent last.
var errEarly = errors.New("the catalog is behind the journal")

// snapshot calls f with the catalog at a place that is not before the entry
// that was sent last, and returns that place. The observer appends to the
// journal first and changes the catalog a moment later; what is read in between
// would bring back what an entry already sent has removed.
func (s *sender) snapshot(f func(*catalog.Tx) error) (journal.Sequence, error) {
	for {
		var at journal.Sequence
		err := s.server.cfg.Catalog.View(func(t *catalog.Tx) error {
			if at = t.Position().Sequence; at < s.last.Sequence {
				return errEarly
			}
			return f(t)
		})
		if !errors.Is(err, errEarly) {
			return at, err
		}
		if err := s.wait(nil); err != nil {
			return at, err
		}
	}
}

// learn notes the id of a content that the catalog did not know yet.
func (s *sender) learn(p journal.Path, item catalog.Item, id journal.ContentID) error {
	if item.Facts.Content.Known() {
		return nil
	}
	now := s.server.cfg.Now()
	if len(s.learned) == 0 {
		s.learning = now
	}
	s.learned = append(s.learned, identified{p, item, id})
	if len(s.learned) < maxLearned && now.Sub(s.learning) < learnedDelay {
		return nil
	}
	return s.saveLearned()
}

// saveLearned writes the ids of contents that were read for the first time
// into the catalog.
func (s *sender) saveLearned() error {
	if len(s.learned) == 0 {
		return nil
	}
	err := s.server.cfg.Catalog.Update(func(t *catalog.Tx) error {
		for i := range s.learned {
			if err := s.learned[i].save(t); err != nil {
				return err
			}
		}
		return nil
	})
	s.learned = s.learned[:0]
	if err != nil {
		return fmt.Errorf("note the contents that were read: %w", err)
	}
	select {
	case s.saved <- struct{}{}:
	default:
	}
	return nil
}

// keepLearned makes durable what was saved, beside the sender, which does not
// wait for the disk.
func (s *session) keepLearned(ctx context.Context, saved <-chan struct{}) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-saved:
		}
		if err := s.server.cfg.Catalog.Sync(); err != nil {
			return fmt.Errorf("keep the contents that were read: %w", err)
		}
	}
}

// save notes the id for every name that the file has by now: it may have been
// renamed since, and the mirror knows the content under the new name too. Most
// have the one name that they had.
func (l *identified) save(t *catalog.Tx) error {
	if l.item.Link == 0 {
		if done, err := t.Identify(l.path, l.item.Stamp, l.id); done || err != nil {
			return err
		}
	}
	names, err := t.FindStamp(l.item.Stamp)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		names = append(names, l.path)
	}
	for _, p := range names {
		now, err := t.Lookup(p)
		switch {
		case errors.Is(err, catalog.ErrNotFound):
			continue
		case err != nil:
			return err
		case now.Facts.Content.Known() || !still(now, l.item, l.id):
			continue
		}
		if _, err := t.Identify(p, now.Stamp, l.id); err != nil {
			return err
		}
	}
	return nil
}
