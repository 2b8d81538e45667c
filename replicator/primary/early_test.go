package primary

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/content"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// come says how far the first look at the store is; "": it is over.
func (p *primaryStore) come(reached journal.Path) {
	p.mu.Lock()
	p.reached, p.complete = reached, reached == ""
	p.mu.Unlock()
	p.server.StoreChanged()
}

// mailboxes waits for the answer of a survey that has some, or is the last one.
func (s *script) mailboxes(t *testing.T) (paths []string, next string) {
	t.Helper()
	for {
		a := await(t, s, (*pb.ReplicateResponse).GetActivity)
		for _, m := range a.GetMailboxes() {
			paths = append(paths, string(m.GetPath()))
		}
		if next = string(a.GetNext()); len(paths) > 0 || next == "" {
			return paths, next
		}
		s.say(wire.Survey(wire.SurveyItem{After: next}))
	}
}

// listing waits for a listing.
func (s *script) listing(t *testing.T, unpack *content.StreamDecompressor) wire.Listing {
	t.Helper()
	return s.unpacked(t, await(t, s, func(m *pb.ReplicateResponse) *pb.ReplicateResponse {
		if m.GetListing() != nil {
			return m
		}
		return nil
	}), unpack)
}

// unpacked returns the listing in a message.
func (s *script) unpacked(t *testing.T, m *pb.ReplicateResponse, unpack *content.StreamDecompressor) wire.Listing {
	t.Helper()
	packed := m.GetListing()
	plain, err := unpack.Decompress(packed.GetListing(), int(packed.GetSize()))
	if err != nil {
		t.Fatal(err)
	}
	l, err := wire.UnmarshalListing(plain)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestCopyingBeginsBeforeTheFirstLookIsOver: mailboxes that are known are told of,
// listed and read while others are still being found. What a listing lacks is not
// said to be absent until all was looked at, and the whole is not compared before.
func TestCopyingBeginsBeforeTheFirstLookIsOver(t *testing.T) {
	p := newStore(t)
	p.unread("a/anna/cur/1", []byte("one"))
	p.come("a/anna/cur")
	unpack, err := content.NewStreamDecompressor(wire.MaxEntriesSize)
	p.must(err)
	s := p.dial(t, wire.HelloMessage{Name: "mx2"})
	s.welcome(t)
	s.say(credit(1<<20, 1000))
	s.say(wire.Survey(wire.SurveyItem{}))
	p.unread("b/bert/cur/1", []byte("two"))
	p.come("b/bert/cur")
	boxes, next := s.mailboxes(t)
	if !slices.Equal(boxes, []string{"a/anna"}) || next == "" {
		t.Fatalf("mailboxes %q, next %q", boxes, next)
	}
	s.say(wire.Survey(wire.SurveyItem{After: next})) // which has to wait, and holds up nothing
	s.say(wire.Compare([]wire.CompareItem{{Path: "a/anna/cur"}}))
	if l := s.listing(t, unpack); len(l.Items) != 1 || !l.Partial {
		t.Errorf("listed: %+v", l)
	}
	s.say(wire.Fetch([]wire.FetchItem{{Transfer: 1, Path: "a/anna/cur/1"}}))
	batch := await(t, s, (*pb.ReplicateResponse).GetBatch)
	if end := batch.GetContents()[0].GetEnd(); end == nil || end.GetOutcome() != pb.Outcome_OUTCOME_OK {
		t.Errorf("the content came as %v", batch)
	}
	s.say(wire.Compare([]wire.CompareItem{{Path: journal.Root}}))
	p.come("")
	var told [2]*pb.ReplicateResponse // the whole, and the mailboxes that were waited for: whichever comes first
	for told[0] == nil || told[1] == nil {
		m := await(t, s, func(m *pb.ReplicateResponse) *pb.ReplicateResponse {
			if m.GetListing() != nil || m.GetActivity() != nil {
				return m
			}
			return nil
		})
		told[min(len(m.GetActivity().GetMailboxes()), 1)] = m
	}
	if l := s.unpacked(t, told[0], unpack); l.Path != journal.Root || l.Partial || len(l.Items) != 2 {
		t.Errorf("listed: %+v", l)
	}
	if a := told[1].GetActivity(); len(a.GetMailboxes()) != 1 || string(a.GetMailboxes()[0].GetPath()) != "b/bert" || len(a.GetNext()) != 0 {
		t.Errorf("at the end: %v", a)
	}
}

// stall has the first look at the store be where what ask asks for has to wait, ""
// if it cannot go on, and returns when that is waited for.
func (p *primaryStore) stall(reached journal.Path, ask func()) {
	var looks atomic.Int32
	waiting := make(chan struct{})
	p.mu.Lock()
	p.reached, p.complete = reached, false
	p.looked = func() {
		if looks.Add(1) == 50 { // far more often than anything but that looks
			close(waiting)
		}
	}
	p.mu.Unlock()
	ask()
	<-waiting
	p.mu.Lock()
	p.looked = nil
	p.mu.Unlock()
}

// TestListingThatCameTooEarly: a directory that is asked for before it can be listed
// is listed as soon as it can be, and the survey is answered although it waits.
func TestListingThatCameTooEarly(t *testing.T) {
	p := newStore(t)
	p.unread("a/anna/cur/1", []byte("one"))
	p.come("a/anna/cur")
	unpack, err := content.NewStreamDecompressor(wire.MaxEntriesSize)
	p.must(err)
	s := p.dial(t, wire.HelloMessage{Name: "mx2"})
	s.welcome(t)
	s.say(credit(1<<20, 1000))
	listed := func() {
		t.Helper()
		if l := s.listing(t, unpack); len(l.Items) != 1 || !l.Partial {
			t.Errorf("listed: %+v", l)
		}
	}
	compare := func() { s.say(wire.Compare([]wire.CompareItem{{Path: "a/anna/cur"}})) }
	s.say(wire.Survey(wire.SurveyItem{}))
	p.stall("a/anna/cur", compare) // as when a folder was renamed before the first answer
	p.unread("b/bert/cur/1", []byte("two"))
	p.come("b/bert/cur")
	if boxes, _ := s.mailboxes(t); !slices.Equal(boxes, []string{"a/anna"}) {
		t.Errorf("mailboxes %q", boxes)
	}
	listed()
	p.stall("", compare) // as while the store is suspended, or a scan begins
	p.come("b/bert/cur")
	listed()
}

// TestEvacuationIsNotHeldBack: contents are read one at a time beside the first look at
// the store, unless the array is about to be lost.
func TestEvacuationIsNotHeldBack(t *testing.T) {
	p := newStore(t)
	p.come("a/anna/cur")
	evacuating := false
	p.server.cfg.Evacuating = func() bool { return evacuating }
	_, err := p.server.besideFirstLook(t.Context())
	p.must(err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // so that who has to wait is turned away
	if _, err := p.server.besideFirstLook(ctx); err == nil {
		t.Error("two contents were read at one time")
	}
	evacuating = true
	if _, err := p.server.besideFirstLook(ctx); err != nil {
		t.Errorf("one was held back: %v", err)
	}
}

// TestOneSurveyAtATime: a mirror that asks again before it has the answer is cut off.
func TestOneSurveyAtATime(t *testing.T) {
	p := newStore(t)
	p.unread("a/anna/cur/1", []byte("one"))
	p.come("a/anna/cur") // so there is no answer yet
	s := p.dial(t, wire.HelloMessage{Name: "mx2"})
	s.welcome(t)
	s.say(credit(1<<20, 1000))
	s.say(wire.Survey(wire.SurveyItem{After: "0:"}))
	s.say(wire.Survey(wire.SurveyItem{After: "0:"}))
	if err := s.refusal(t); !strings.Contains(err, "twice") {
		t.Errorf("the error is %q", err)
	}
}
