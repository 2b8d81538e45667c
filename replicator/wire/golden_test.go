package wire

import (
	"encoding/hex"
	"encoding/json"
	"errors"
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
		"blind heartbeat": {
			HeartbeatMessage(Heartbeat{Now: time.Unix(0, 0), Pending: 3, JournalError: "full", Polling: "no"}).GetHeartbeat(),
			"7003" + "7a0466756c6c" + "8201026e6f",
		},
		"report": {&pb.MirrorReport{Assumed: 300}, "68ac02"},
		"reigns": {
			&pb.Welcome{Reigns: reignMessages(goldenReigns())},
			"4a1c" + "0802" + "1216" + "0801" + "1007" + "1a10" + "01020000000000000000000000000000" + "1801",
		},
		"reigns of a salvage": {
			&pb.SalvageWelcome{Reigns: reignMessages(goldenReigns())},
			"321c" + "0802" + "1216" + "0801" + "1007" + "1a10" + "01020000000000000000000000000000" + "1801",
		},
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

func goldenReigns() []Reign {
	return []Reign{{Epoch: 2, Start: journal.Position{Epoch: 1, Sequence: 7, Digest: journal.Digest{1, 2}}, Whole: true}}
}

// TestReignsAreKept: mirrors keep the reigns as JSON, and no more of them are taken, or in
// another order, than one would send.
func TestReignsAreKept(t *testing.T) {
	const want = `[{"epoch":2,"start":{"Epoch":1,"Sequence":7,"Digest":[1,2,0,0,0,0,0,0,0,0,0,0,0,0,0,0]},"whole":true}]`
	got, err := json.Marshal(goldenReigns())
	if err != nil || string(got) != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
	var many []Reign
	for e := range journal.Epoch(MaxReigns + 1) {
		many = append(many, Reign{Epoch: e + 1})
	}
	sent := reignMessages(many)
	if back, err := parseReigns(sent); err != nil || len(back) != MaxReigns || back[0].Epoch != 2 {
		t.Errorf("%+v, %v", back, err)
	}
	if _, err := parseReigns(append(sent, sent[0])); !errors.Is(err, ErrProtocol) {
		t.Errorf("too many: %v", err)
	}
	if _, err := parseReigns([]*pb.Reign{sent[1], sent[0]}); !errors.Is(err, ErrProtocol) {
		t.Errorf("out of order: %v", err)
	}
}
