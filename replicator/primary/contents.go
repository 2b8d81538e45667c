package primary

import (
	"cmp"
	"errors"
	"io"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/content"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// maxLearned is how many contents may be read before their ids are saved, and
// learnedDelay how long that may take while more are read. What is not saved when
// the primary dies has to be read again for the mirror that has it.
const (
	maxLearned   = 256
	learnedDelay = 200 * time.Millisecond
)

// hurrySize is up to which size a live content is compressed as fast as can be:
// on a slow network a larger one is there sooner if it is smaller.
const hurrySize = 64 << 10

// sendContentOf sends the content that an entry puts as the transfer of that
// number, unless the mirror has it, and notes in the entry what became of it.
func (s *sender) sendContentOf(e *wire.Entry, transfer uint64) error {
	has, err := s.mirrorHas(&e.Entry)
	if err != nil || has {
		return err
	}
	var src *source
	var failure error
	if err := s.await(func() { src, failure = s.server.openEntry(&e.Entry) }); err != nil {
		return err
	}
	if failure != nil {
		e.Outcome = s.failed(e.Path, failure)
		return nil
	}
	defer src.settle()
	s.server.cfg.Pace.Live(e.Facts.Size)
	r := &patientReader{s: s, r: src.reader()}
	s.live.Hurry(e.Facts.Size <= hurrySize, s.session.isNear())
	id, outcome, err := s.transfer(transfer, src, func(emit func(content.Piece) error) (content.Result, error) {
		res, err := s.live.Encode(r, false, emit)
		return res, cmp.Or(r.over, err)
	})
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

// patientReader reads in a goroutine of its own, so that the mirror goes on
// hearing of this primary when reading hangs.
type patientReader struct {
	s       *sender
	r       io.Reader
	between *content.Encoder // not nil: entries go between what this one encodes
	over    error            // why the sender has to end
}

// Read implements io.Reader.
func (p *patientReader) Read(b []byte) (int, error) {
	var n int
	var err error
	done := make(chan struct{})
	go func() {
		n, err = p.r.Read(b)
		close(done)
	}()
	if p.over = p.wait(done); p.over != nil {
		return 0, p.over
	}
	return n, err
}

// wait waits for the read, and sends the entries that come up.
func (p *patientReader) wait(done <-chan struct{}) error {
	if p.between == nil {
		return p.s.wait(done)
	}
	for {
		select {
		case rec := <-p.s.records:
			// Live contents take numbers of their own: the references that
			// are held back go before them.
			if err := p.between.Flush(); err != nil {
				return err
			}
			p.s.next = &rec
			if err := p.s.sendWaiting(); err != nil {
				return err
			}
		case <-p.s.tick.C:
			if err := p.s.heartbeat(); err != nil {
				return err
			}
		case <-p.s.ctx.Done():
			return p.s.ctx.Err()
		case <-done:
			return nil
		}
	}
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
// what the catalog says.
func (s *sender) transfer(number uint64, src *source,
	encode func(emit func(content.Piece) error) (content.Result, error)) (journal.ContentID, wire.Outcome, error) {
	res, err := encode(func(p content.Piece) error {
		s.addPiece(number, p)
		if s.batch.full(s.stride) {
			return s.flush()
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
	return res.ID, wire.OK, s.learn(src.path, src.item, res.ID)
}

// failed finds the outcome for an error, and remembers files that cannot be
// read.
func (s *sender) failed(p journal.Path, err error) wire.Outcome {
	switch {
	case errors.Is(err, errLater):
		return wire.Later
	case errors.Is(err, errNeverCame), errors.Is(err, errGivenUp):
		return wire.Unreadable
	case errors.Is(err, errGone):
		s.server.damaged.remove(p)
		return wire.Gone
	case errors.Is(err, errChanged):
		return wire.Changed
	}
	s.server.damaged.add(p, err.Error(), s.server.cfg.Now())
	return wire.Unreadable
}

// pieceSize is what a piece takes beside its bytes, at most.
const pieceSize = 48

// addPiece puts a piece into the batch.
func (s *sender) addPiece(transfer uint64, p content.Piece) {
	c := s.contentOf(transfer)
	c.Pieces = append(c.Pieces, wire.Piece(p))
	s.batch.bytes += p.Size() + pieceSize
}

// endTransfer closes a transfer in the batch.
func (s *sender) endTransfer(transfer uint64, end wire.ContentEnd) {
	s.contentOf(transfer).End = wire.ContentEndMessage(end)
	s.batch.bytes += factsSize(&end.Facts)
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

// countFile notes a content that was sent.
func (s *session) countFile(size int64) {
	s.mu.Lock()
	s.sent.files++
	s.sent.raw += uint64(size)
	s.mu.Unlock()
}
