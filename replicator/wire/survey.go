package wire

import (
	"fmt"

	"github.com/mailtwin/mailtwin/journal"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
)

// maxPlace is the most bytes of a place in a survey.
const maxPlace = journal.MaxPath + 32

// SurveyItem asks which mailboxes are of the most value.
type SurveyItem struct {
	After string // Activity.Next of the answer before; "" at the beginning
	Files uint64 // that the mirror has
}

// Survey converts a request for the wire.
func Survey(s SurveyItem) *pb.ReplicateRequest {
	return &pb.ReplicateRequest{Message: &pb.ReplicateRequest_Survey{
		Survey: &pb.Survey{After: []byte(s.After), Files: s.Files},
	}}
}

// ParseSurvey checks and converts a request.
func ParseSurvey(in *pb.Survey) (SurveyItem, error) {
	if len(in.GetAfter()) > maxPlace {
		return SurveyItem{}, fmt.Errorf("%w: a place of %d bytes", ErrProtocol, len(in.GetAfter()))
	}
	return SurveyItem{After: string(in.GetAfter()), Files: in.GetFiles()}, nil
}

// Mailbox is a mailbox of the primary, and of what value it is.
type Mailbox struct {
	Path  journal.Path
	Turn  uint64 // the lower, the earlier
	First bool   // the operator wants it before all others
	Since int64  // not 0: it has messages that are not older, which are of the most value
}

// Activity is a part of what the primary knows of the value of its mailboxes.
type Activity struct {
	Mailboxes []Mailbox
	Next      string // where to go on; "": there is nothing more
}

// ActivityMessage converts a for the wire.
func ActivityMessage(a Activity) *pb.ReplicateResponse {
	out := &pb.Activity{Next: []byte(a.Next)}
	for _, m := range a.Mailboxes {
		out.Mailboxes = append(out.Mailboxes, &pb.Mailbox{Path: []byte(m.Path), Turn: m.Turn, First: m.First, Since: m.Since})
	}
	return &pb.ReplicateResponse{Message: &pb.ReplicateResponse_Activity{Activity: out}}
}

// ParseActivity checks and converts an answer.
func ParseActivity(in *pb.Activity) (Activity, error) {
	if len(in.GetMailboxes()) > MaxMailboxes || len(in.GetNext()) > maxPlace {
		return Activity{}, fmt.Errorf("%w: %d mailboxes in one answer, a place of %d bytes",
			ErrProtocol, len(in.GetMailboxes()), len(in.GetNext()))
	}
	out := Activity{Next: string(in.GetNext())}
	for _, m := range in.GetMailboxes() {
		p, err := ParsePath(m.GetPath())
		if err != nil {
			return out, err
		}
		out.Mailboxes = append(out.Mailboxes, Mailbox{Path: p, Turn: m.GetTurn(), First: m.GetFirst(), Since: m.GetSince()})
	}
	return out, nil
}
