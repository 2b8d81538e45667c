package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/mailtwin/mailtwin/journal"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/salvage"
)

// RejoinOptions say how a node rejoins.
type RejoinOptions struct {
	List     bool // only tell what would be done
	Subjects bool // tell the subjects of messages too
	Force    bool // go on though the hook demote failed: the mail server is stopped
}

// RejoinTeller is told what rejoin does. An error of it ends the rejoin.
type RejoinTeller interface {
	// Step tells, in words, what is being done.
	Step(words string) error
	// Line tells what became of one message.
	Line(l salvage.Line) error
}

// RejoinResult is what a rejoin came to.
type RejoinResult struct {
	salvage.Summary
	Mirror bool // the node is a mirror now
}

// Rejoiner is a daemon that can rejoin its pair.
type Rejoiner interface {
	// Rejoin hands over what was never replicated, and makes the node a mirror.
	Rejoin(ctx context.Context, opt RejoinOptions, tell RejoinTeller) (RejoinResult, error)
}

// Rejoin makes the node a mirror, and tells what it does.
func (s *Server) Rejoin(r *pb.RejoinRequest, stream pb.OperatorService_RejoinServer) error {
	node, ok := s.node.(Rejoiner)
	if !ok {
		return grpcstatus.Error(codes.Unimplemented, "this daemon cannot rejoin")
	}
	result, err := node.Rejoin(stream.Context(), RejoinOptions{List: r.GetList(), Subjects: r.GetSubjects(), Force: r.GetForce()}, streamTeller{stream})
	if err != nil {
		text := err.Error()
		if h := hint.Of(err); h != "" {
			text += hintMark + h
		}
		return grpcstatus.Error(codes.FailedPrecondition, text)
	}
	return stream.Send(&pb.RejoinResponse{Message: &pb.RejoinResponse_Summary{Summary: summaryMessage(result)}})
}

// hintMark parts an error from what to do about it.
const hintMark = "\nhint: "

// streamTeller tells over a stream.
type streamTeller struct {
	stream pb.OperatorService_RejoinServer
}

// Step implements RejoinTeller.
func (t streamTeller) Step(words string) error {
	return t.stream.Send(&pb.RejoinResponse{Message: &pb.RejoinResponse_Step{Step: words}})
}

// Line implements RejoinTeller.
func (t streamTeller) Line(l salvage.Line) error {
	m := &pb.RejoinLine{
		Change: string(l.Change), Outcome: string(l.Outcome), Mailbox: []byte(l.Mailbox), Path: []byte(l.Path),
		Size: uint64(l.Size), Detail: l.Detail, To: []byte(l.To), Dropped: l.Dropped, Subject: l.Subject,
	}
	if !l.Date.IsZero() {
		m.Date = l.Date.UnixNano()
	}
	return t.stream.Send(&pb.RejoinResponse{Message: &pb.RejoinResponse_Line{Line: m}})
}

func summaryMessage(r RejoinResult) *pb.RejoinSummary {
	m := &pb.RejoinSummary{
		Primary: r.Primary, Uncertain: r.Uncertain, Outcomes: make(map[string]uint64),
		DeliveredBytes: uint64(r.Delivered), SentBytes: uint64(r.Sent), History: r.History, Mirror: r.Mirror,
	}
	for o, n := range r.Outcomes {
		m.Outcomes[string(o)] = n
	}
	return m
}

// Rejoin asks the node to rejoin its pair, and passes on what it tells.
func (c *Client) Rejoin(ctx context.Context, opt RejoinOptions, tell RejoinTeller) (RejoinResult, error) {
	stream, err := pb.NewOperatorServiceClient(c.conn).Rejoin(ctx, &pb.RejoinRequest{List: opt.List, Subjects: opt.Subjects, Force: opt.Force})
	if err != nil {
		return RejoinResult{}, c.explain(err)
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return RejoinResult{}, fmt.Errorf("%w: it broke off", ErrNotRunning)
		}
		if err != nil {
			return RejoinResult{}, withHint(c.explain(err))
		}
		switch {
		case m.GetSummary() != nil:
			return parseSummary(m.GetSummary(), opt.List), nil
		case m.GetLine() != nil:
			err = tell.Line(parseLine(m.GetLine()))
		default:
			err = tell.Step(m.GetStep())
		}
		if err != nil {
			return RejoinResult{}, err
		}
	}
}

func parseLine(m *pb.RejoinLine) salvage.Line {
	l := salvage.Line{
		Change: salvage.Change(m.GetChange()), Outcome: salvage.Outcome(m.GetOutcome()),
		Mailbox: journal.Path(m.GetMailbox()), Path: journal.Path(m.GetPath()), Size: int64(m.GetSize()),
		Detail: m.GetDetail(), To: journal.Path(m.GetTo()), Dropped: m.GetDropped(), Subject: m.GetSubject(),
	}
	if m.GetDate() != 0 {
		l.Date = time.Unix(0, m.GetDate())
	}
	return l
}

func parseSummary(m *pb.RejoinSummary, look bool) RejoinResult {
	r := RejoinResult{Mirror: m.GetMirror(), Summary: salvage.Summary{
		Primary: m.GetPrimary(), Uncertain: m.GetUncertain(), LookOnly: look, Outcomes: make(map[salvage.Outcome]uint64),
		Delivered: int64(m.GetDeliveredBytes()), Sent: int64(m.GetSentBytes()), History: m.GetHistory(),
	}}
	for o, n := range m.GetOutcomes() {
		r.Outcomes[salvage.Outcome(o)] = n
	}
	return r
}

// withHint takes the remedy out of the text of an error.
func withHint(err error) error {
	text, remedy, found := strings.Cut(err.Error(), hintMark)
	if !found {
		return err
	}
	return hint.Add(errors.New(text), "%s", remedy)
}
