package wire

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/mailtwin/mailtwin/journal"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
)

func sampleOffers() []Offer {
	return []Offer{
		{Mailbox: "u", Base: "1.M1", Origin: OriginNew, Content: journal.ContentID{1}, Size: 3, MTime: -5, Flags: mailstore.Flags{Unseen: true}},
		{Mailbox: "u/.A", Base: "2.M2,S=3", Origin: OriginKnown, WasIn: "u", Content: journal.ContentID{2},
			Flags: mailstore.Flags{Letters: "FS", Keywords: []string{"$Label1", "x y"}}, Was: mailstore.Flags{Letters: "S"}},
		{Mailbox: "\xff\n", Base: "\xff\n", Origin: OriginUnknown, Content: journal.ContentID{3}},
		{Mailbox: "u", Base: "3", Origin: OriginRemoved, WasIn: "u"},
	}
}

func sampleAnswers() []Answer {
	return []Answer{
		{Verdict: VerdictWanted, ContentHere: true},
		{Verdict: VerdictHave, Flags: mailstore.Flags{Letters: "T"}, Touched: true},
		{Verdict: VerdictHave, OtherMailbox: "u/.C", OtherContent: true},
		{Verdict: VerdictHave, Unreadable: true},
		{Verdict: VerdictTaken, Unreadable: true},
		{Verdict: VerdictElsewhere, OtherMailbox: "u/.B"},
		{Verdict: VerdictSameContent, OtherBases: []string{"7", "8"}},
	}
}

func TestSalvageComesBack(t *testing.T) {
	if got, err := ParseOffers(OffersMessage(sampleOffers())); err != nil || !reflect.DeepEqual(got, sampleOffers()) {
		t.Errorf("%v\n%+v", err, got)
	}
	if got, err := ParseAnswers(AnswersMessage(sampleAnswers()), len(sampleAnswers())); err != nil || !reflect.DeepEqual(got, sampleAnswers()) {
		t.Errorf("%v\n%+v", err, got)
	}
	items := []DeliveryItem{{3, ActionDeliver}, {0, ActionFlags}}
	if got, err := ParseDelivery(DeliveryMessage(items), 4); err != nil || !reflect.DeepEqual(got, items) {
		t.Errorf("%v\n%+v", err, got)
	}
	results := []DeliveryResult{{Outcome: DeliveryDone, Mailbox: "u", Dropped: []string{"x"}}, {Outcome: DeliverySend}}
	if got, err := ParseResults(ResultsMessage(results), 2); err != nil || !reflect.DeepEqual(got, results) {
		t.Errorf("%v\n%+v", err, got)
	}
}

// TestUnreadableForAnOlderNode: one that does not know that a message may be unreadable
// keeps its own all the same.
func TestUnreadableForAnOlderNode(t *testing.T) {
	for verdict, older := range map[Verdict]Answer{
		VerdictHave:  {Verdict: VerdictHave, OtherContent: true},
		VerdictTaken: {Verdict: VerdictTaken},
	} {
		m := AnswersMessage([]Answer{{Verdict: verdict, Unreadable: true}})
		m.GetAnswers()[0].Unreadable = false // it passes over what it does not know
		if got, err := ParseAnswers(m, 1); err != nil || !reflect.DeepEqual(got, []Answer{older}) {
			t.Errorf("it takes %+v, %v; want %+v", got, err, older)
		}
	}
}

// TestOffersThatAreRefused: what nobody could mean is an ErrProtocol.
func TestOffersThatAreRefused(t *testing.T) {
	for name, change := range map[string]func(*pb.SalvageOffer){
		"path that leads out":  func(o *pb.SalvageOffer) { o.Mailbox = []byte("../x") },
		"no mailbox":           func(o *pb.SalvageOffer) { o.Mailbox = nil },
		"base with a slash":    func(o *pb.SalvageOffer) { o.Base = []byte("a/b") },
		"base with flags":      func(o *pb.SalvageOffer) { o.Base = []byte("a:2,S") },
		"base that is a dot":   func(o *pb.SalvageOffer) { o.Base = []byte(".") },
		"base of a dot file":   func(o *pb.SalvageOffer) { o.Base = []byte(".hidden") },
		"no base":              func(o *pb.SalvageOffer) { o.Base = nil },
		"long base":            func(o *pb.SalvageOffer) { o.Base = []byte(strings.Repeat("b", 256)) },
		"no content":           func(o *pb.SalvageOffer) { o.Content = nil },
		"half a content id":    func(o *pb.SalvageOffer) { o.Content = o.GetContent()[:16] },
		"size beyond the last": func(o *pb.SalvageOffer) { o.Size = 1 << 63 },
		"origin 0":             func(o *pb.SalvageOffer) { o.Origin = 0 },
		"origin 9":             func(o *pb.SalvageOffer) { o.Origin = 9 },
		"small letters":        func(o *pb.SalvageOffer) { o.Flags.Letters = "a" },
		"letters out of order": func(o *pb.SalvageOffer) { o.Flags.Letters = "SF" },
		"letters that lead on": func(o *pb.SalvageOffer) { o.Flags.Letters = "S/../x" },
		"a keyword twice":      func(o *pb.SalvageOffer) { o.Flags.Keywords = []string{"a", "a"} },
		"an empty keyword":     func(o *pb.SalvageOffer) { o.Flags.Keywords = []string{""} },
		"known from nowhere":   func(o *pb.SalvageOffer) { o.Origin, o.WasIn = pb.SalvageOrigin_SALVAGE_ORIGIN_KNOWN, []byte("/") },
	} {
		m := OffersMessage(sampleOffers()[:1])
		change(m.GetOffers()[0])
		if _, err := ParseOffers(m); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
	many := make([]Offer, MaxOffers+1)
	for i := range many {
		many[i] = sampleOffers()[0]
	}
	if _, err := ParseOffers(OffersMessage(many)); !errors.Is(err, ErrProtocol) {
		t.Errorf("too many: %v", err)
	}
	for _, items := range [][]DeliveryItem{nil, {{4, ActionDeliver}}, {{1, 9}}, {{1, ActionFlags}, {1, ActionFlags}}} {
		if _, err := ParseDelivery(DeliveryMessage(items), 4); !errors.Is(err, ErrProtocol) {
			t.Errorf("%v: %v", items, err)
		}
	}
}

// FuzzSalvage: whatever is accepted of either side is the same after a second
// way over the wire.
func FuzzSalvage(f *testing.F) {
	for _, m := range []proto.Message{
		OffersMessage(sampleOffers()), AnswersMessage(sampleAnswers()), DeliveryMessage([]DeliveryItem{{1, ActionDeliver}}),
		ResultsMessage([]DeliveryResult{{Outcome: DeliveryDone}}),
		SalvageHelloMessage(SalvageHello{Name: "mx1"}), SalvageWelcomeMessage(SalvageWelcome{Version: 1, Name: "mx2", Reigns: []Reign{{Epoch: 2}, {Epoch: 3, Whole: true}}}),
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		for kind := range byte(6) {
			f.Add(kind, b)
		}
	}
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		switch kind % 6 {
		case 0:
			fuzzOne(t, b, &pb.SalvageOffers{}, ParseOffers, OffersMessage)
		case 1:
			m := &pb.SalvageAnswers{}
			fuzzOne(t, b, m, func(m *pb.SalvageAnswers) ([]Answer, error) { return ParseAnswers(m, len(m.GetAnswers())) }, AnswersMessage)
		case 2:
			fuzzOne(t, b, &pb.SalvageDelivery{}, func(m *pb.SalvageDelivery) ([]DeliveryItem, error) { return ParseDelivery(m, MaxOffers) }, DeliveryMessage)
		case 3:
			m := &pb.SalvageResults{}
			fuzzOne(t, b, m, func(m *pb.SalvageResults) ([]DeliveryResult, error) { return ParseResults(m, len(m.GetResults())) }, ResultsMessage)
		case 4:
			parse := func(m *pb.SalvageHello) (SalvageHello, error) {
				h, err := ParseSalvageHello(m)
				h.OldestVersion, h.NewestVersion = OldestVersion, NewestVersion // what the message says
				return h, err
			}
			fuzzOne(t, b, &pb.SalvageHello{}, parse, SalvageHelloMessage)
		case 5:
			fuzzOne(t, b, &pb.SalvageWelcome{}, ParseSalvageWelcome, SalvageWelcomeMessage)
		}
	})
}

func fuzzOne[M proto.Message, V any](t *testing.T, b []byte, in M, parse func(M) (V, error), message func(V) M) {
	t.Helper()
	if proto.Unmarshal(b, in) == nil {
		twice(t, in, parse, message)
	}
}
