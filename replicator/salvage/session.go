package salvage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/content"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// received is a message, or why there are no more.
type received struct {
	m   *pb.SalvageRequest
	err error
}

// session is one fenced node's stream on the primary.
type session struct {
	s        *Server
	peer     string
	stream   pb.SalvageService_SalvageServer
	cancel   context.CancelCauseFunc
	ended    chan struct{}
	messages chan received

	lookOnly bool
	ledger   *ledger
	stage    *stage
	index    *index
	offers   []wire.Offer
	last     wire.Offer // the greatest that was offered
	began    bool

	window   *content.Received // of the contents since the last delivery
	arriving *arriving         // the content that goes on
	arrived  map[int]*staged   // by offer
}

// listen receives until the stream ends.
func (s *session) listen(ctx context.Context) {
	for {
		m, err := s.stream.Recv()
		select {
		case s.messages <- received{m, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// receive waits for the next message.
func (s *session) receive(ctx context.Context) (*pb.SalvageRequest, error) {
	timer := time.NewTimer(turnLimit)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-timer.C:
		return nil, errSilent
	case r := <-s.messages:
		switch {
		case errors.Is(r.err, io.EOF):
			return nil, errLeft
		case r.err != nil:
			return nil, fmt.Errorf("receive from the fenced node: %w", r.err)
		}
		if known := journal.Epoch(r.m.GetEpoch()); known > s.s.cfg.Reign.Epoch {
			return nil, fmt.Errorf("%w: %s has heard of epoch %d, this primary is of epoch %d", errEpoch, s.peer, known, s.s.cfg.Reign.Epoch)
		}
		return r.m, nil
	}
}

func (s *session) send(m *pb.SalvageResponse) error {
	m.Epoch = uint64(s.s.cfg.Reign.Epoch)
	if err := s.stream.Send(m); err != nil {
		return fmt.Errorf("answer the fenced node: %w", err)
	}
	return nil
}

// run takes one salvage, to its end.
func (s *session) run(ctx context.Context) error {
	defer s.close()
	welcome, err := s.greet(ctx)
	if err != nil {
		return err
	}
	if err := s.prepare(ctx, &welcome); err != nil {
		return err
	}
	if err := s.send(&pb.SalvageResponse{Message: &pb.SalvageResponse_Welcome{Welcome: wire.SalvageWelcomeMessage(welcome)}}); err != nil {
		return err
	}
	for {
		m, err := s.receive(ctx)
		if err == nil {
			err = s.take(ctx, m)
		}
		if err != nil {
			return err
		}
	}
}

// greet takes the hello.
func (s *session) greet(ctx context.Context) (wire.SalvageWelcome, error) {
	cfg := &s.s.cfg
	w := wire.SalvageWelcome{Name: cfg.Name, Start: cfg.Reign.Start, Whole: cfg.Reign.Whole, Reigns: cfg.Reigns}
	m, err := s.receive(ctx)
	if err != nil {
		return w, err
	}
	hello, err := wire.ParseSalvageHello(m.GetHello())
	if err != nil {
		return w, err
	}
	if hello.Name != s.peer {
		return w, fmt.Errorf("%w: the certificate is of %q, the hello of %q", wire.ErrProtocol, s.peer, hello.Name)
	}
	version, ok := wire.Negotiate(hello.OldestVersion, hello.NewestVersion)
	if !ok {
		return w, fmt.Errorf("%w: the fenced node speaks %d to %d, this primary %d to %d; update the older one",
			wire.ErrVersion, hello.OldestVersion, hello.NewestVersion, wire.OldestVersion, wire.NewestVersion)
	}
	w.Version, s.lookOnly = version, hello.LookOnly
	return w, nil
}

// prepare finishes what a salvage before this one began, and learns what
// happened since this primary began.
func (s *session) prepare(ctx context.Context, w *wire.SalvageWelcome) (err error) {
	cfg := &s.s.cfg
	if s.ledger, err = s.s.ledger(s.peer, s.lookOnly); err != nil {
		return err
	}
	if !s.lookOnly {
		if s.stage, err = openStage(cfg.Root); err != nil {
			return err
		}
		if err := s.redo(); err != nil {
			return fmt.Errorf("finish what was being delivered: %w", err)
		}
	}
	s.index, err = newIndex(ctx, cfg, s.ledger)
	if err != nil {
		return fmt.Errorf("learn what happened since this node is primary: %w", err)
	}
	w.Complete = s.index.complete
	w.Whole = w.Whole && s.index.whole
	return nil
}

func (s *session) close() {
	if s.arriving != nil {
		_ = s.arriving.w.Close()
	}
	if s.index != nil {
		s.index.close()
	}
	if s.stage != nil {
		s.stage.close()
	}
	if s.ledger != nil {
		s.ledger.close()
	}
}

// take acts on one message.
func (s *session) take(ctx context.Context, m *pb.SalvageRequest) error {
	switch {
	case m.GetOffers() != nil:
		return s.takeOffers(ctx, m.GetOffers())
	case m.GetContents() != nil && !s.lookOnly:
		return s.takeContents(m.GetContents())
	case m.GetDelivery() != nil && !s.lookOnly:
		return s.takeDelivery(m.GetDelivery())
	}
	return fmt.Errorf("%w: a message of no kind that is expected", wire.ErrProtocol)
}

// takeOffers answers offers.
func (s *session) takeOffers(ctx context.Context, m *pb.SalvageOffers) error {
	offers, err := wire.ParseOffers(m)
	if err != nil {
		return err
	}
	if err := s.beginContents(); err != nil {
		return err
	}
	answers := make([]wire.Answer, 0, len(offers))
	for i := range offers {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if s.began && !s.last.Before(&offers[i]) {
			return fmt.Errorf("%w: %q after %q is out of order", wire.ErrProtocol, offers[i].Base, s.last.Base)
		}
		s.last, s.began = offers[i], true
		a, err := s.index.answer(&offers[i])
		if err != nil {
			return fmt.Errorf("look for %q: %w", offers[i].Base, err)
		}
		answers = append(answers, a)
	}
	s.offers = offers
	return s.send(&pb.SalvageResponse{Message: &pb.SalvageResponse_Answers{Answers: wire.AnswersMessage(answers)}})
}

// beginContents forgets the contents that came so far: their chunks, and the
// files that no delivery has named.
func (s *session) beginContents() error {
	if err := s.endArriving(); err != nil {
		return err
	}
	for _, f := range s.arrived {
		s.stage.drop(f)
	}
	if s.window != nil {
		s.window.Close()
	}
	s.window, s.arrived = nil, make(map[int]*staged)
	return nil
}

// takeContents writes the contents that come.
func (s *session) takeContents(m *pb.SalvageContents) error {
	if n := len(m.GetContents()); n > wire.MaxContents {
		return fmt.Errorf("%w: %d contents at a time", wire.ErrProtocol, n)
	}
	for _, c := range m.GetContents() {
		if err := s.takeContent(int(c.GetOffer()), c.GetPieces()); err != nil {
			return err
		}
	}
	return nil
}

// takeContent writes some of one content.
func (s *session) takeContent(offer int, pieces []*pb.Piece) error {
	if s.arriving == nil || s.arriving.offer != offer {
		if offer >= len(s.offers) || s.arrived[offer] != nil || !s.offers[offer].Content.Known() {
			return fmt.Errorf("%w: a content of offer %d", wire.ErrProtocol, offer)
		}
		if err := s.endArriving(); err != nil {
			return err
		}
		if s.window == nil {
			s.window = content.NewReceived(chunkWindow, content.DefaultCache)
		}
		var err error
		if s.arriving, err = s.stage.begin(s.ledger, s.window, offer); err != nil {
			return err
		}
		s.arrived[offer] = s.arriving.file
	}
	a := s.arriving
	for _, p := range pieces {
		if err := a.decoder.Write(wire.ParsePiece(p), a.w); err != nil {
			return fmt.Errorf("take a content: %w", err)
		}
		if a.decoder.Size() > s.offers[offer].Size {
			return fmt.Errorf("%w: a content of more than the %d bytes that were offered", wire.ErrProtocol, s.offers[offer].Size)
		}
	}
	return nil
}

// endArriving closes the content that came last.
func (s *session) endArriving() error {
	a := s.arriving
	if a == nil {
		return nil
	}
	s.arriving = nil
	if err := a.w.Close(); err != nil {
		return fmt.Errorf("write a content: %w", err)
	}
	a.file.id, a.file.size = a.decoder.Sum(), a.decoder.Size()
	return nil
}
