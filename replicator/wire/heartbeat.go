package wire

import (
	"strings"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
)

// Heartbeat is what a primary says once a second.
type Heartbeat struct {
	Head          journal.Sequence
	Lag           time.Duration
	LagBytes      uint64
	Now           time.Time
	State, Detail string
	Files, Bytes  uint64
	Unread        uint64
	Heard         time.Duration // the stamp of the last report that had come; 0: none
	Unreadable    uint64        // names and contents that cannot be read
	MailStopped   string        // why the mail server does not run; "" if it does
	Pending       uint64        // names that are still to be looked at
	JournalError  string        // why no change can be journaled; "" if they can
	Polling       string        // why changes since the last scan are not known; "" if they are
	Mark          *Mark         // nil: it would be the one before
}

// Mark is the digest of the primary's store at a place in the journal.
type Mark struct {
	Sequence journal.Sequence
	Digest   [32]byte
	Unread   uint64 // files of which it proves nothing, for their content was not read yet
}

// HeartbeatMessage converts h for the wire.
func HeartbeatMessage(h Heartbeat) *pb.ReplicateResponse {
	out := &pb.Heartbeat{
		Head: uint64(h.Head), LagNanoseconds: uint64(h.Lag), LagBytes: h.LagBytes,
		Now: h.Now.UnixNano(), State: Words(h.State), Detail: Words(h.Detail),
		Files: h.Files, Bytes: h.Bytes, Unread: h.Unread, Heard: uint64(h.Heard),
		Unreadable:  h.Unreadable,
		MailStopped: Words(h.MailStopped),
		Pending:     h.Pending, JournalError: Words(h.JournalError), Polling: Words(h.Polling),
	}
	if m := h.Mark; m != nil {
		out.Mark = &pb.Mark{Sequence: uint64(m.Sequence), Digest: m.Digest[:], Unread: m.Unread}
	}
	return &pb.ReplicateResponse{Message: &pb.ReplicateResponse_Heartbeat{Heartbeat: out}}
}

// ParseHeartbeat checks and converts a heartbeat.
func ParseHeartbeat(in *pb.Heartbeat) (Heartbeat, error) {
	out := Heartbeat{
		Head: journal.Sequence(in.GetHead()), Lag: time.Duration(in.GetLagNanoseconds()), LagBytes: in.GetLagBytes(),
		Now: time.Unix(0, in.GetNow()), State: Words(in.GetState()), Detail: Words(in.GetDetail()),
		Files: in.GetFiles(), Bytes: in.GetBytes(), Unread: in.GetUnread(), Heard: time.Duration(in.GetHeard()),
		Unreadable:  in.GetUnreadable(),
		MailStopped: Words(in.GetMailStopped()),
		Pending:     in.GetPending(), JournalError: Words(in.GetJournalError()), Polling: Words(in.GetPolling()),
	}
	if m := in.GetMark(); m != nil {
		out.Mark = &Mark{Sequence: journal.Sequence(m.GetSequence()), Unread: m.GetUnread()}
		if err := fixed("a digest", out.Mark.Digest[:], m.GetDigest()); err != nil {
			return Heartbeat{}, err
		}
	}
	return out, nil
}

// Report is what a mirror says of itself.
type Report struct {
	State, Detail                         string
	Applied                               journal.Sequence
	DirectoriesLeft, FilesLeft, BytesLeft uint64
	Files, Bytes, Missing, Assumed        uint64
	Proven                                bool
	ProvenSequence                        journal.Sequence
	// Stamp is how long the stream has gone on, by the mirror's clock: heartbeats
	// say it back.
	Stamp time.Duration
}

// ReportMessage converts r for the wire.
func ReportMessage(r Report) *pb.ReplicateRequest {
	return &pb.ReplicateRequest{Message: &pb.ReplicateRequest_Report{Report: &pb.MirrorReport{
		State: Words(r.State), Detail: Words(r.Detail), Applied: uint64(r.Applied),
		DirectoriesToCompare: r.DirectoriesLeft, FilesToFetch: r.FilesLeft, BytesToFetch: r.BytesLeft,
		Files: r.Files, Bytes: r.Bytes, Missing: r.Missing, Assumed: r.Assumed,
		Proven: r.Proven, ProvenSequence: uint64(r.ProvenSequence), Stamp: uint64(r.Stamp),
	}}}
}

// ParseReport converts a report.
func ParseReport(r *pb.MirrorReport) Report {
	return Report{
		State: Words(r.GetState()), Detail: Words(r.GetDetail()), Applied: journal.Sequence(r.GetApplied()),
		DirectoriesLeft: r.GetDirectoriesToCompare(), FilesLeft: r.GetFilesToFetch(), BytesLeft: r.GetBytesToFetch(),
		Files: r.GetFiles(), Bytes: r.GetBytes(), Missing: r.GetMissing(), Assumed: r.GetAssumed(),
		Proven: r.GetProven(), ProvenSequence: journal.Sequence(r.GetProvenSequence()), Stamp: time.Duration(r.GetStamp()),
	}
}

// maxWords bounds a sentence that a node says for the other's operator.
const maxWords = 1000

// Words makes s what a message can hold: not too long, and valid UTF-8, which
// the names that mail users choose need not be.
func Words(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxWords)], "?")
}
