package wire

import (
	"reflect"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
)

// FuzzEntries: whatever is accepted is the same after a second way over the
// wire.
func FuzzEntries(f *testing.F) {
	b, err := MarshalEntries(sampleEntries())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		in, err := UnmarshalEntries(b)
		if err != nil {
			return
		}
		b, err = MarshalEntries(in)
		if err != nil {
			t.Fatal(err)
		}
		again, err := UnmarshalEntries(b)
		if err != nil || !reflect.DeepEqual(again, in) {
			t.Errorf("%v\ngot  %+v\nwant %+v", err, again, in)
		}
	})
}

// FuzzFromPrimary does the same with the messages of a primary.
func FuzzFromPrimary(f *testing.F) {
	for _, m := range []*pb.ReplicateResponse{
		Welcome(WelcomeMessage{Version: 1, Name: "mx1", Resync: "new", Reigns: []Reign{{Epoch: 2, Whole: true}}}),
		ActivityMessage(Activity{Next: "1:a", Mailboxes: []Mailbox{{Path: "a/b", Turn: 3, Since: 9, First: true}}}),
		HeartbeatMessage(Heartbeat{State: "watching", Mark: &Mark{Sequence: 1}}),
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var in pb.ReplicateResponse
		if proto.Unmarshal(b, &in) != nil {
			return
		}
		switch m := in.GetMessage().(type) {
		case *pb.ReplicateResponse_Welcome:
			twice(t, m.Welcome, ParseWelcome, func(w WelcomeMessage) *pb.Welcome { return Welcome(w).GetWelcome() })
		case *pb.ReplicateResponse_Activity:
			twice(t, m.Activity, ParseActivity, func(a Activity) *pb.Activity { return ActivityMessage(a).GetActivity() })
		case *pb.ReplicateResponse_Heartbeat:
			twice(t, m.Heartbeat, ParseHeartbeat, func(h Heartbeat) *pb.Heartbeat { return HeartbeatMessage(h).GetHeartbeat() })
		case *pb.ReplicateResponse_Batch:
			for _, c := range m.Batch.GetContents() {
				if c.GetEnd() != nil {
					twice(t, c.GetEnd(), ParseContentEnd, ContentEndMessage)
				}
			}
		}
	})
}

// FuzzFromMirror does the same with the messages of a mirror.
func FuzzFromMirror(f *testing.F) {
	for _, m := range []*pb.ReplicateRequest{
		Hello(HelloMessage{Name: "mx2", OldestVersion: 1, NewestVersion: 1}),
		Compare([]CompareItem{{Path: "a", Digest: [32]byte{1}, Since: 4}}),
		Survey(SurveyItem{After: "1:a/b", Files: 7}),
		Fetch([]FetchItem{{Transfer: 1, Path: "a/b", Have: [32]byte{1}}}),
		ReportMessage(Report{State: "following", Applied: 3}),
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var in pb.ReplicateRequest
		if proto.Unmarshal(b, &in) != nil {
			return
		}
		switch m := in.GetMessage().(type) {
		case *pb.ReplicateRequest_Hello:
			if h, err := ParseHello(m.Hello); err == nil {
				h.OldestVersion, h.NewestVersion = OldestVersion, NewestVersion // what Hello says
				twice(t, Hello(h).GetHello(), ParseHello, func(h HelloMessage) *pb.Hello { return Hello(h).GetHello() })
			}
		case *pb.ReplicateRequest_Compare:
			twice(t, m.Compare, ParseCompare, func(c []CompareItem) *pb.Compare { return Compare(c).GetCompare() })
		case *pb.ReplicateRequest_Fetch:
			twice(t, m.Fetch, ParseFetch, func(i []FetchItem) *pb.Fetch { return Fetch(i).GetFetch() })
		case *pb.ReplicateRequest_Survey:
			twice(t, m.Survey, ParseSurvey, func(s SurveyItem) *pb.Survey { return Survey(s).GetSurvey() })
		case *pb.ReplicateRequest_Report:
			parse := func(r *pb.MirrorReport) (Report, error) { return ParseReport(r), nil }
			twice(t, m.Report, parse, func(r Report) *pb.MirrorReport { return ReportMessage(r).GetReport() })
		}
	})
}

// twice parses a message, and what it says once more.
func twice[M any, V any](t *testing.T, in M, parse func(M) (V, error), message func(V) M) {
	t.Helper()
	v, err := parse(in)
	if err != nil {
		return
	}
	again, err := parse(message(v))
	if err != nil || !reflect.DeepEqual(again, v) {
		t.Errorf("%v\ngot  %+v\nwant %+v", err, again, v)
	}
}

// FuzzListing does the same with a listing that was unpacked.
func FuzzListing(f *testing.F) {
	b, err := MarshalListing(Listing{Path: "a", Outcome: OK, Facts: directory(), Items: []Item{{Name: "b", Facts: file(1, 1)}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var in pb.Listing
		if proto.Unmarshal(b, &in) == nil {
			twice(t, &in, parseListing, marshalListing)
		}
	})
}
