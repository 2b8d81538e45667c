package primary

import (
	"errors"
	"io"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/content"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// maxLearned is how many contents may be read before their ids are saved.
const maxLearned = 256

// sendContentOf sends the content that an entry puts, unless the mirror has
// it, and notes in the entry what became of it.
func (s *sender) sendContentOf(e *wire.Entry, seq journal.Sequence) error {
	has, err := s.mirrorHas(&e.Entry)
	if err != nil || has {
		return err
	}
	src, err := s.server.openEntry(&e.Entry)
	if err != nil {
		e.Outcome = s.failed(e.Path, err)
		return nil
	}
	defer src.close()
	transfer := wire.PrimaryTransfer | uint64(seq)
	id, outcome, err := s.transfer(s.live, transfer, src, src.reader(), false, nil)
	if err != nil {
		return err
	}
	e.Outcome = outcome
	if outcome != wire.OK {
		s.endTransfer(transfer, wire.ContentEnd{Outcome: outcome})
		return nil
	}
	e.Transfer, e.Facts.Content = transfer, id
	s.endTransfer(transfer, wire.ContentEnd{Outcome: wire.OK, Facts: e.Facts})
	return nil
}

// mirrorHas reports whether the content of a new file is one that the store
// had already under another name. The mirror may have lost it all the same;
// then it asks.
func (s *sender) mirrorHas(e *journal.Entry) (bool, error) {
	if !e.Facts.Content.Known() || e.Facts.Size == 0 {
		return e.Facts.Size == 0 && e.Facts.Content.Known(), nil
	}
	has := false
	err := s.server.cfg.Catalog.View(func(t *catalog.Tx) error {
		paths, err := t.FindContent(e.Facts.Content)
		if err != nil {
			return err
		}
		for _, p := range paths {
			if p == e.Path {
				continue
			}
			it, err := t.Lookup(p)
			if errors.Is(err, catalog.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			// What got its name later than this file may not be there yet.
			has = has || it.Stamp.Change < e.Stamp.Change
		}
		return nil
	})
	return has, err
}

// transfer sends the bytes of a content as pieces and checks them against
// what the catalog says. Every now and then between calls it.
func (s *sender) transfer(enc *content.Encoder, number uint64, src *source, r io.Reader, plain bool, between func() error) (journal.ContentID, wire.Outcome, error) {
	encode := enc.Encode
	if plain {
		encode = enc.EncodePlain
	}
	res, err := encode(r, func(p content.Piece) error {
		s.addPiece(number, p)
		if !s.batch.full() {
			return nil
		}
		if err := s.flush(nil); err != nil {
			return err
		}
		if between != nil {
			return between()
		}
		return nil
	})
	if err != nil && !errors.Is(err, content.ErrRead) {
		return journal.ContentID{}, 0, err
	}
	if err == nil {
		err = src.check(res.ID, res.Size)
	}
	if err != nil {
		return journal.ContentID{}, s.failed(src.path, err), nil
	}
	s.session.countFile(res.Size)
	s.server.damaged.remove(src.path)
	if !src.item.Facts.Content.Known() {
		s.learned = append(s.learned, identified{src.path, src.item.Stamp, res.ID})
		if len(s.learned) >= maxLearned {
			if err := s.saveLearned(); err != nil {
				return journal.ContentID{}, 0, err
			}
		}
	}
	return res.ID, wire.OK, nil
}

// failed finds the outcome for an error, and remembers files that cannot be
// read.
func (s *sender) failed(p journal.Path, err error) wire.Outcome {
	switch {
	case errors.Is(err, errGone):
		s.server.damaged.remove(p)
		return wire.Gone
	case errors.Is(err, errChanged):
		return wire.Changed
	}
	s.server.damaged.add(p, err.Error())
	return wire.Unreadable
}

// addPiece puts a piece into the batch.
func (s *sender) addPiece(transfer uint64, p content.Piece) {
	c := s.contentOf(transfer)
	c.Pieces = append(c.Pieces, wire.Piece(p))
	s.batch.bytes += p.Size()
}

// endTransfer closes a transfer in the batch.
func (s *sender) endTransfer(transfer uint64, end wire.ContentEnd) {
	s.contentOf(transfer).End = wire.ContentEndMessage(end)
}

// contentOf returns the part of the batch for a transfer.
func (s *sender) contentOf(transfer uint64) *pb.Content {
	if n := len(s.batch.contents); n > 0 && s.batch.contents[n-1].GetTransfer() == transfer {
		return s.batch.contents[n-1]
	}
	c := &pb.Content{Transfer: transfer}
	s.batch.contents = append(s.batch.contents, c)
	return c
}

// count adds to what this connection has carried.
func (s *session) count(bytes int64) {
	s.mu.Lock()
	s.sent.bytes += uint64(bytes)
	s.mu.Unlock()
}

func (s *session) countFile(size int64) {
	s.mu.Lock()
	s.sent.files++
	s.sent.raw += uint64(size)
	s.mu.Unlock()
}
