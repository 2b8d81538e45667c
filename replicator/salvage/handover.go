package salvage

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailtwin/mailtwin/journal"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/content"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// deliveryBytes is how much is sent before it is made durable and answered:
// what has to be sent again if the stream breaks.
const deliveryBytes = 32 << 20

// errOldEpoch says that somebody who is primary no more goes on as one.
var errOldEpoch = errors.New("primary of an old epoch")

// link is the fenced node's end of the stream.
type link struct {
	stream grpc.BidiStreamingClient[pb.SalvageRequest, pb.SalvageResponse]
	epoch  journal.Epoch
}

// greet opens the stream and shakes hands.
func greet(ctx context.Context, cfg Config, conn grpc.ClientConnInterface) (*link, wire.SalvageWelcome, error) {
	stream, err := pb.NewSalvageServiceClient(conn).Salvage(ctx)
	if err != nil {
		return nil, wire.SalvageWelcome{}, fmt.Errorf("reach the new primary: %w", err)
	}
	l := &link{stream: stream, epoch: cfg.Epoch}
	hello := wire.SalvageHelloMessage(wire.SalvageHello{Name: cfg.Name, LookOnly: cfg.LookOnly})
	if err := l.send(&pb.SalvageRequest{Message: &pb.SalvageRequest_Hello{Hello: hello}}); err != nil {
		return nil, wire.SalvageWelcome{}, err
	}
	m, err := l.receive()
	if err != nil {
		return nil, wire.SalvageWelcome{}, err
	}
	w, err := wire.ParseSalvageWelcome(m.GetWelcome())
	return l, w, err
}

func (l *link) send(m *pb.SalvageRequest) error {
	m.Epoch = uint64(l.epoch)
	if err := l.stream.Send(m); err != nil {
		_, rerr := l.receive() // which knows the reason
		return rerr
	}
	return nil
}

func (l *link) receive() (*pb.SalvageResponse, error) {
	m, err := l.stream.Recv()
	if err != nil {
		return nil, failure(err)
	}
	epoch := journal.Epoch(m.GetEpoch())
	if epoch < l.epoch {
		return nil, fmt.Errorf("%w: it is primary of epoch %d, this node knows of epoch %d", errOldEpoch, epoch, l.epoch)
	}
	l.epoch = epoch
	return m, nil
}

// failure finds out why a stream failed: the reason is in its status.
func failure(err error) error {
	st, ok := status.FromError(err)
	if !ok || st.Code() == codes.OK {
		if err == nil {
			err = wire.ErrProtocol // nothing was asked for
		}
		return fmt.Errorf("the new primary ended the stream: %w", err)
	}
	switch st.Code() {
	case codes.FailedPrecondition:
		return fmt.Errorf("%w: %s", wire.ErrVersion, st.Message())
	case codes.Unauthenticated, codes.InvalidArgument, codes.Aborted, codes.PermissionDenied, codes.ResourceExhausted:
		return fmt.Errorf("the new primary refused: %s", st.Message())
	case codes.Unimplemented:
		return fmt.Errorf("the other node is not primary: %s", st.Message())
	}
	return fmt.Errorf("talk to the new primary: %w", err)
}

// ask offers messages and returns the answers.
func (l *link) ask(offers []wire.Offer) ([]wire.Answer, error) {
	if err := l.send(&pb.SalvageRequest{Message: &pb.SalvageRequest_Offers{Offers: wire.OffersMessage(offers)}}); err != nil {
		return nil, err
	}
	m, err := l.receive()
	if err != nil {
		return nil, err
	}
	return wire.ParseAnswers(m.GetAnswers(), len(offers))
}

// deliver asks for a delivery and waits until it is durable.
func (l *link) deliver(items []wire.DeliveryItem) ([]wire.DeliveryResult, error) {
	if err := l.send(&pb.SalvageRequest{Message: &pb.SalvageRequest_Delivery{Delivery: wire.DeliveryMessage(items)}}); err != nil {
		return nil, err
	}
	m, err := l.receive()
	if err != nil {
		return nil, err
	}
	return wire.ParseResults(m.GetResults(), len(items))
}

// end says that nothing more comes, and waits until the primary has let go.
func (l *link) end() error {
	if err := l.stream.CloseSend(); err != nil {
		return fmt.Errorf("end the salvage: %w", err)
	}
	if _, err := l.stream.Recv(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("end the salvage: %w", failure(err))
	}
	return nil
}

// handOver sends what was decided on, in portions, and waits until it is
// durable.
func (s *salvager) handOver(batch []*candidate) error {
	var todo []int
	for i, c := range batch {
		if c.action != 0 {
			todo = append(todo, i)
		}
	}
	for len(todo) > 0 {
		items, left, err := s.sendSome(batch, todo)
		if err != nil {
			return err
		}
		todo = left
		if len(items) == 0 {
			continue
		}
		results, err := s.link.deliver(items)
		if err != nil {
			return err
		}
		for i, r := range results {
			if s.took(batch[items[i].Offer], items[i].Action, r) {
				todo = append(todo, items[i].Offer)
			}
		}
	}
	return nil
}

// sendSome sends contents until it is worth a delivery, and returns what the
// delivery is of and what is left to do.
func (s *salvager) sendSome(batch []*candidate, todo []int) (items []wire.DeliveryItem, left []int, err error) {
	p := &packer{l: s.link, encoder: content.NewEncoder(content.NewSent(chunkWindow), s.encoder)}
	for n, i := range todo {
		c := batch[i]
		if p.total >= deliveryBytes {
			left = todo[n:]
			break
		}
		if c.action == wire.ActionDeliver {
			good, err := s.sendContent(p, i, c)
			if err != nil {
				return nil, nil, err
			}
			if !good {
				continue
			}
		}
		items = append(items, wire.DeliveryItem{Offer: i, Action: c.action})
	}
	s.summary.Sent += p.total
	return items, left, p.flush()
}

// sendContent sends one content. If it cannot be read, or is not what was
// offered any more, the message is kept here and false is returned: what came
// of it is dropped there.
func (s *salvager) sendContent(p *packer, offer int, c *candidate) (bool, error) {
	r, err := openPath(s.cfg.Root, c.path)
	if err != nil {
		return false, s.unsent(c, err)
	}
	defer func() { _ = r.Close() }()
	if err := p.begin(offer); err != nil {
		return false, err
	}
	result, err := p.encoder.Encode(r, false, p.piece)
	switch {
	case errors.Is(err, content.ErrRead):
		return false, s.unsent(c, err)
	case err != nil:
		return false, err
	case result.ID != c.offer.Content:
		s.changed++
		return false, s.unsent(c, errChanging)
	}
	return true, nil
}

// unsent notes that a message could not be read.
func (s *salvager) unsent(c *candidate, err error) error {
	c.line.Outcome, c.line.Detail, c.keep = OutcomeKept, "it cannot be read: "+err.Error(), true
	return nil
}

// took notes what became of a message, and reports whether it has to be sent.
func (s *salvager) took(c *candidate, action wire.Action, r wire.DeliveryResult) bool {
	c.line.To, c.line.Dropped = r.Mailbox, r.Dropped
	switch r.Outcome {
	case wire.DeliverySend:
		c.action = wire.ActionDeliver
		return true
	case wire.DeliveryHave:
		c.line.Outcome = OutcomeThere
	case wire.DeliveryNoMailbox:
		c.line.Outcome, c.line.Detail, c.keep = OutcomeKept, "there is no mailbox for it", true
	case wire.DeliveryConflict:
		c.line.Outcome = OutcomeConflict
	default:
		if action == wire.ActionFlags {
			c.line.Outcome = OutcomeSet
			return false
		}
		c.line.Outcome = OutcomeDelivered
		s.summary.Delivered += c.offer.Size
	}
	return false
}

// packer puts pieces of contents into messages.
type packer struct {
	l       *link
	encoder *content.Encoder
	parts   []*pb.SalvageContent
	bytes   int
	total   int64 // bytes of pieces
}

// begin begins a content; it may have no pieces.
func (p *packer) begin(offer int) error {
	if len(p.parts) == wire.MaxContents {
		if err := p.flush(); err != nil {
			return err
		}
	}
	p.parts = append(p.parts, &pb.SalvageContent{Offer: uint32(offer)})
	return nil
}

// piece adds a piece of the content that was begun last.
func (p *packer) piece(piece content.Piece) error {
	last := p.parts[len(p.parts)-1]
	last.Pieces = append(last.Pieces, wire.Piece(piece))
	p.bytes += piece.Size()
	p.total += int64(piece.Size())
	if p.bytes < wire.MaxBatchBytes {
		return nil
	}
	if err := p.flush(); err != nil {
		return err
	}
	return p.begin(int(last.GetOffer()))
}

// flush sends what has come together.
func (p *packer) flush() error {
	if len(p.parts) == 0 {
		return nil
	}
	m := &pb.SalvageContents{Contents: p.parts}
	p.parts, p.bytes = nil, 0
	return p.l.send(&pb.SalvageRequest{Message: &pb.SalvageRequest_Contents{Contents: m}})
}
