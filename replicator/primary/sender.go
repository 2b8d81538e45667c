package primary

import (
	"context"
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
type sender struct {
	session *session
	server  *Server
	ctx     context.Context //nolint:containedctx // the sender lives exactly as long

	records <-chan journal.Record
	next    *journal.Record // taken from records, not yet sent
	answers <-chan chan *answer
	tick    *time.Ticker

	last         journal.Position // of the entry that was sent or batched last
	live         *content.Encoder
	bulk         *content.Encoder
	level        *content.Compressor
	entries      *content.StreamCompressor
	batch        batch
	marked       bool // a mark was sent, and this was the last:
	markedAt     journal.Sequence
	markedDigest catalog.Digest
	learned      []identified
}

// identified is a content that was read for the first time.
type identified struct {
	path  journal.Path
	stamp journal.Stamp
	id    journal.ContentID
}

// runSender sends until ctx ends or something fails.
func runSender(ctx context.Context, s *session) error {
	group, ctx := errgroup.WithContext(ctx)
	records := make(chan journal.Record, followAhead)
	answers := make(chan chan *answer, prefetchDepth)
	group.Go(func() error { return follow(ctx, s.server.cfg.Journal, s.start.Sequence, records) })
	group.Go(func() error { return prefetch(ctx, s, answers) })
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
			last: s.start, level: level, entries: entries,
			live: content.NewEncoder(window, level), bulk: content.NewEncoder(window, level),
		}
		defer snd.tick.Stop()
		return snd.loop()
	})
	return group.Wait()
}

// follow reads the journal ahead of the sender.
func follow(ctx context.Context, log *journal.Log, after journal.Sequence, out chan<- journal.Record) error {
	reader, err := log.Read(after)
	if err != nil {
		return fmt.Errorf("read the journal from %d: %w", after, err)
	}
	defer func() { _ = reader.Close() }()
	for {
		rec, err := reader.Next(ctx)
		if err != nil {
			return fmt.Errorf("read the journal: %w", err)
		}
		select {
		case out <- rec:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// loop sends whatever there is, entries before answers.
func (s *sender) loop() error {
	if err := s.heartbeat(); err != nil {
		return err
	}
	if err := s.mark(); err != nil {
		return err
	}
	for {
		if err := s.sendWaiting(); err != nil {
			return err
		}
		select {
		case <-s.ctx.Done():
			return s.ctx.Err()
		case rec := <-s.records:
			s.next = &rec
		case a := <-s.answers:
			if err := s.answer(a); err != nil {
				return err
			}
		case <-s.tick.C:
			if err := s.beat(); err != nil {
				return err
			}
		}
	}
}

// beat is what is due once a second.
func (s *sender) beat() error {
	if err := s.saveLearned(); err != nil {
		return err
	}
	if err := s.mark(); err != nil {
		return err
	}
	return s.heartbeat()
}

// sendWaiting sends all entries that wait.
func (s *sender) sendWaiting() error {
	for {
		if s.next == nil {
			select {
			case rec := <-s.records:
				s.next = &rec
			default:
				return s.flush(nil)
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
			case <-s.ctx.Done():
				return s.ctx.Err()
			}
		}
		if err := s.addRecord(); err != nil {
			return err
		}
	}
	return s.flush(nil)
}

// addRecord puts the next entry, behind the content it needs, into the batch.
func (s *sender) addRecord() error {
	rec := s.next
	s.next = nil
	e := wire.Entry{Entry: rec.Entry, Outcome: wire.OK}
	if rec.Entry.Kind == journal.KindPut && rec.Entry.Held == nil {
		if err := s.sendContentOf(&e, rec.Position.Sequence); err != nil {
			return err
		}
	}
	if len(s.batch.entries) == 0 {
		s.batch.first = rec.Position.Sequence
	}
	s.batch.entries = append(s.batch.entries, e)
	s.batch.bytes += len(e.Path)
	if e.Held != nil {
		s.batch.bytes += len(e.Held.Data)
	}
	s.last = rec.Position
	if s.batch.full() {
		return s.flush(nil)
	}
	return nil
}

// saveLearned writes the ids of contents that were read for the first time
// into the catalog.
func (s *sender) saveLearned() error {
	if len(s.learned) == 0 {
		return nil
	}
	err := s.server.cfg.Catalog.Update(func(t *catalog.Tx) error {
		for _, l := range s.learned {
			if _, err := t.Identify(l.path, l.stamp, l.id); err != nil {
				return err
			}
		}
		return nil
	})
	s.learned = s.learned[:0]
	return err
}
