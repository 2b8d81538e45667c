package wire

import (
	"fmt"

	"github.com/mailtwin/mailtwin/journal"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
)

// MaxReigns is how many promotions are told of.
const MaxReigns = 64

// Reign is how a node became primary.
type Reign struct {
	Epoch journal.Epoch    `json:"epoch"`
	Start journal.Position `json:"start"` // the place in the former primary's journal from which it began
	Whole bool             `json:"whole"` // it had all up to there, and each content proven
}

// reignMessages converts the latest of some reigns for the wire.
func reignMessages(reigns []Reign) (out []*pb.Reign) {
	for _, r := range reigns[max(0, len(reigns)-MaxReigns):] {
		out = append(out, &pb.Reign{Epoch: uint64(r.Epoch), Start: Position(r.Start), Whole: r.Whole})
	}
	return out
}

// parseReigns checks and converts reigns, whose epochs have to ascend.
func parseReigns(in []*pb.Reign) (out []Reign, err error) {
	if len(in) > MaxReigns {
		return nil, fmt.Errorf("%w: %d promotions, at most %d are told of", ErrProtocol, len(in), MaxReigns)
	}
	var last journal.Epoch
	for _, m := range in {
		r := Reign{Epoch: journal.Epoch(m.GetEpoch()), Whole: m.GetWhole()}
		if r.Start, err = ParsePosition(m.GetStart()); err != nil {
			return nil, err
		}
		if r.Epoch <= last {
			return nil, fmt.Errorf("%w: a promotion of epoch %d behind one of epoch %d", ErrProtocol, r.Epoch, last)
		}
		last = r.Epoch
		out = append(out, r)
	}
	return out, nil
}
