package wire

import (
	"encoding/hex"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailtwin/mailtwin/journal"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
)

// TestGolden keeps the bytes of what a node of another version has to
// understand: proofs, partial listings and what is said of both.
func TestGolden(t *testing.T) {
	content := journal.ContentID{0: 0xaa, 31: 0xbb}
	for name, c := range map[string]struct {
		m    proto.Message
		want string
	}{
		"proof": {
			Fetch([]FetchItem{{Transfer: 1, Path: "a/b", Have: content, Proof: true}}),
			"2a2d0a2b08011203612f621a20" + hex.EncodeToString(content[:]) + "2801",
		},
		"later":     {ContentEndMessage(ContentEnd{Outcome: Later}), "0806"},
		"partial":   {&pb.Listing{Path: []byte("a"), Outcome: pb.Outcome_OUTCOME_OK, Partial: true}, "0a016110013001"},
		"heartbeat": {&pb.Heartbeat{Unreadable: 5}, "6005"},
		"doubts":    {&pb.Heartbeat{Doubtful: "a"}, "f2010161"},
		"blind heartbeat": {
			HeartbeatMessage(Heartbeat{Now: time.Unix(0, 0), Pending: 3, JournalError: "full", Polling: "no"}).GetHeartbeat(),
			"7003" + "7a0466756c6c" + "8201026e6f",
		},
		"report": {&pb.MirrorReport{Assumed: 300}, "68ac02"},
	} {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(c.m)
		if got := hex.EncodeToString(b); err != nil || got != c.want {
			t.Errorf("%s: %s, %v; want %s", name, got, err, c.want)
		}
	}
	end, err := ParseContentEnd(ContentEndMessage(ContentEnd{Outcome: Later}))
	if err != nil || end.Outcome != Later {
		t.Errorf("%+v, %v", end, err)
	}
	if _, err := ParseFetch(&pb.Fetch{Items: []*pb.FetchItem{{Transfer: 1, Path: []byte("a"), Proof: true}}}); err == nil {
		t.Error("a proof of nothing is taken")
	}
}
