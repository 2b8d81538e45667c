package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/mailtwin/mailtwin/journal"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/failover"
	"github.com/mailtwin/mailtwin/replicator/hint"
)

// Promoter makes the node the primary. See failover.Promoter.
type Promoter interface {
	Plan(ctx context.Context) (failover.Plan, error)
	DryRun(ctx context.Context, note func(string)) (failover.Plan, error)
	Run(ctx context.Context, q failover.Request, report func(failover.Event)) (failover.Result, error)
}

// PlanFailover says what a promotion would do.
func (s *Server) PlanFailover(r *pb.PlanFailoverRequest, stream pb.OperatorService_PlanFailoverServer) error {
	ctx := stream.Context()
	var plan failover.Plan
	var err error
	if s.promoter == nil {
		return errNoPromoter()
	}
	if r.GetCheck() {
		plan, err = s.promoter.DryRun(ctx, func(line string) {
			// A caller that is gone ends ctx, and so what runs.
			_ = stream.Send(&pb.PlanFailoverResponse{Message: &pb.PlanFailoverResponse_Note{Note: clean(line)}})
		})
	} else {
		plan, err = s.promoter.Plan(ctx)
	}
	if err != nil {
		return stream.Send(&pb.PlanFailoverResponse{Message: &pb.PlanFailoverResponse_Failure{Failure: failureOf(err)}})
	}
	b, err := json.Marshal(plan)
	if err != nil {
		return fmt.Errorf("write the plan: %w", err)
	}
	return stream.Send(&pb.PlanFailoverResponse{Message: &pb.PlanFailoverResponse_Plan{Plan: b}})
}

// Failover promotes the node.
func (s *Server) Failover(r *pb.FailoverRequest, stream pb.OperatorService_FailoverServer) error {
	if s.promoter == nil {
		return errNoPromoter()
	}
	q := failover.Request{
		Confirmed: failover.Confirmed{
			Kind: failover.Kind(r.GetKind()), Primary: r.GetPrimary(),
			Position: failover.Place{
				Epoch: journal.Epoch(r.GetEpoch()), Sequence: journal.Sequence(r.GetSequence()), Digest: r.GetDigest(),
			},
		},
		Force: r.GetForce(), Reason: r.GetReason(),
	}
	result, err := s.promoter.Run(stream.Context(), q, func(e failover.Event) {
		// From raise on it goes on, whether the caller still listens or not.
		_ = stream.Send(&pb.FailoverResponse{Message: &pb.FailoverResponse_Event{Event: &pb.FailoverEvent{
			Step: string(e.Step), Phase: string(e.Phase), Text: clean(e.Text), Nanoseconds: uint64(max(e.Took, 0)),
		}}})
	})
	b, merr := json.Marshal(result)
	if merr != nil {
		return fmt.Errorf("write the result: %w", merr)
	}
	if err == nil {
		return stream.Send(&pb.FailoverResponse{Message: &pb.FailoverResponse_Result{Result: b}})
	}
	f := failureOf(err)
	if step, ok := errors.AsType[*failover.StepError](err); ok && step.Raised {
		f.Result = b
	}
	return stream.Send(&pb.FailoverResponse{Message: &pb.FailoverResponse_Failure{Failure: f}})
}

func errNoPromoter() error {
	return grpcstatus.Error(codes.FailedPrecondition, "this node cannot be promoted")
}

func failureOf(err error) *pb.FailoverFailure {
	return &pb.FailoverFailure{Words: clean(err.Error()), Hint: clean(hint.Of(err)), Stale: errors.Is(err, failover.ErrStale)}
}

// failed is a failure of the daemon's, as the client knows it.
type failed struct {
	words, hint string
	stale       bool
}

func (f *failed) Error() string { return f.words }

// Hint implements hint.Hinted.
func (f *failed) Hint() string { return f.hint }

// Is makes a failure failover.ErrStale, if it was that.
func (f *failed) Is(target error) bool { return f.stale && target == failover.ErrStale }

func failedOf(f *pb.FailoverFailure) error {
	return &failed{words: f.GetWords(), hint: f.GetHint(), stale: f.GetStale()}
}

// PlanFailover asks what a promotion would do, and returns it also as it came.
// With check set it is a dry run, and note gets what hooks write.
func (c *Client) PlanFailover(ctx context.Context, check bool, note func(string)) (plan failover.Plan, raw []byte, err error) {
	stream, err := pb.NewOperatorServiceClient(c.conn).PlanFailover(ctx, &pb.PlanFailoverRequest{Check: check})
	if err != nil {
		return plan, nil, c.explain(err)
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			return plan, nil, c.explain(broken(err))
		}
		switch m := m.GetMessage().(type) {
		case *pb.PlanFailoverResponse_Note:
			note(m.Note)
		case *pb.PlanFailoverResponse_Failure:
			return plan, nil, failedOf(m.Failure)
		case *pb.PlanFailoverResponse_Plan:
			if err := json.Unmarshal(m.Plan, &plan); err != nil {
				return plan, nil, fmt.Errorf("read the plan: %w", err)
			}
			return plan, m.Plan, nil
		}
	}
}

// Failover promotes the node, and calls report with each event. The result is
// returned also as it came; it is nil if the node did not become primary. An
// error is failover.ErrStale if the plan has to be confirmed again.
func (c *Client) Failover(ctx context.Context, q failover.Request, report func(failover.Event)) (result failover.Result, raw []byte, err error) {
	stream, err := pb.NewOperatorServiceClient(c.conn).Failover(ctx, &pb.FailoverRequest{
		Kind: string(q.Confirmed.Kind), Primary: q.Confirmed.Primary,
		Epoch: uint64(q.Confirmed.Position.Epoch), Sequence: uint64(q.Confirmed.Position.Sequence), Digest: q.Confirmed.Position.Digest,
		Force: q.Force, Reason: q.Reason,
	})
	if err != nil {
		return result, nil, c.explain(err)
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			return result, nil, hint.Add(c.explain(broken(err)), "run the command again: it goes on where this one ended")
		}
		switch m := m.GetMessage().(type) {
		case *pb.FailoverResponse_Event:
			report(failover.Event{
				Step: failover.Step(m.Event.GetStep()), Phase: failover.Phase(m.Event.GetPhase()),
				Text: m.Event.GetText(), Took: time.Duration(m.Event.GetNanoseconds()),
			})
		case *pb.FailoverResponse_Failure:
			return result, m.Failure.GetResult(), failedOf(m.Failure)
		case *pb.FailoverResponse_Result:
			if err := json.Unmarshal(m.Result, &result); err != nil {
				return result, nil, fmt.Errorf("read the result: %w", err)
			}
			return result, m.Result, nil
		}
	}
}

// broken names the end of a stream that should not have ended.
func broken(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
