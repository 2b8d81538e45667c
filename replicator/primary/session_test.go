package primary

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/content"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// script is a stream on which the test plays the mirror by hand.
type script struct {
	*fakeStream
	said chan *pb.ReplicateResponse
	end  func() error
	done <-chan struct{}
	err  *error
}

// dial opens a stream; what the primary says is kept.
func (p *primaryStore) dial(t *testing.T, hello wire.HelloMessage) *script {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s := &script{said: make(chan *pb.ReplicateResponse, 10000), err: new(error)}
	s.fakeStream = newStream(ctx, func(m *pb.ReplicateResponse) error { s.said <- m; return nil })
	s.say(wire.Hello(hello))
	done := make(chan struct{})
	s.done = done
	go func() {
		*s.err = p.server.Replicate(s.fakeStream)
		close(done)
	}()
	s.end = func() error { cancel(); <-done; return *s.err }
	t.Cleanup(func() { _ = s.end() })
	return s
}

// welcome waits for the welcome.
func (s *script) welcome(t *testing.T) wire.WelcomeMessage {
	t.Helper()
	select {
	case m := <-s.said:
		w, err := wire.ParseWelcome(m.GetWelcome())
		if err != nil {
			t.Fatal(err)
		}
		return w
	case <-s.done:
		t.Fatalf("refused: %v", *s.err)
	}
	return wire.WelcomeMessage{}
}

// refusal waits for the end of the stream.
func (s *script) refusal(t *testing.T) string {
	t.Helper()
	select {
	case <-s.done:
		return fmt.Sprint(*s.err)
	case <-time.After(10 * time.Second):
		t.Fatal("the stream goes on")
	}
	return ""
}

func (p *primaryStore) cursor(name string) (journal.Sequence, bool) {
	for _, c := range p.journal.Cursors() {
		if c.Name == name {
			return c.Position.Sequence, true
		}
	}
	return 0, false
}

// TestWhereAMirrorGoesOn: the answer to a hello, by what the mirror says.
func TestWhereAMirrorGoesOn(t *testing.T) {
	p := newStore(t)
	var at []journal.Position
	for i := range 5 {
		at = append(at, p.put(journal.Path(fmt.Sprint(i)), []byte("x")).Position)
	}
	foreign := at[2]
	foreign.Digest[0] ^= 1
	future := at[4]
	future.Sequence += 10
	for _, c := range []struct {
		name   string
		hello  wire.HelloMessage
		from   journal.Sequence
		resync string
	}{
		{"a new mirror", wire.HelloMessage{}, 5, "the mirror is new"},
		{"one that is up to date", wire.HelloMessage{Position: at[4], Whole: true}, 5, ""},
		{"one that is behind", wire.HelloMessage{Position: at[1], Whole: true}, 2, ""},
		{"one that has not finished comparing", wire.HelloMessage{Position: at[1]}, 2, "not finished"},
		{"one of another history", wire.HelloMessage{Position: foreign, Whole: true}, 5, "not in this journal"},
		{"one from the future", wire.HelloMessage{Position: future, Whole: true}, 5, "not in this journal"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.hello.Name = "mx2"
			s := p.dial(t, c.hello)
			w := s.welcome(t)
			if w.Position.Sequence != c.from || (w.Resync == "") != (c.resync == "") || !strings.Contains(w.Resync, c.resync) {
				t.Errorf("from %d, resync %q", w.Position.Sequence, w.Resync)
			}
			// A position is what was applied. What was acknowledged is less.
			if got, ok := p.cursor("mx2"); !ok || got != 0 {
				t.Errorf("the cursor is %d though nothing was acknowledged", got)
			}
			_ = s.end()
		})
	}
}

// TestHelloThatIsRefused: each refusal says why.
func TestHelloThatIsRefused(t *testing.T) {
	for _, c := range []struct {
		name, why string
		first     *pb.ReplicateRequest
	}{
		{"no hello", "no hello", credit(1, 1)},
		{"another's name", `"mx3"`, wire.Hello(wire.HelloMessage{Name: "mx3"})},
		{"a higher epoch", "must not be primary", wire.Hello(wire.HelloMessage{Name: "mx2", Position: journal.Position{Epoch: 4}})},
		{"a version to come", "update", &pb.ReplicateRequest{Message: &pb.ReplicateRequest_Hello{Hello: &pb.Hello{
			OldestVersion: 2, NewestVersion: 3, Name: "mx2", Position: &pb.Position{Digest: make([]byte, 16)},
			MaxMessageBytes: wire.MaxMessage, ChunkWindow: wire.ChunkWindow,
		}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newStore(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			stream := newStream(ctx, func(*pb.ReplicateResponse) error { return nil })
			stream.say(c.first)
			err := p.server.Replicate(stream)
			if err == nil || !strings.Contains(err.Error(), c.why) {
				t.Errorf("the error is %v", err)
			}
			if _, ok := p.cursor("mx2"); ok {
				t.Error("it has a cursor all the same")
			}
		})
	}
}

// TestEpochOfMessages: every message says the epoch, and one of another is
// refused; of a higher one the node is told.
func TestEpochOfMessages(t *testing.T) {
	say := func(m *pb.ReplicateRequest, epoch uint64) *pb.ReplicateRequest {
		m.Epoch = epoch
		return m
	}
	for _, c := range []struct {
		name  string
		first uint64 // the epoch of the hello
		then  *pb.ReplicateRequest
		why   string
		told  []string
	}{
		{"hello of a higher epoch", 4, nil, "must not be primary", []string{"mx2 4"}},
		{"lower afterwards", 3, say(credit(1, 1), 2), "old epoch", nil},
		{"none afterwards", 2, say(acknowledgement(0), 1), "old epoch", nil},
		{"higher afterwards", 2, say(credit(1, 1), 4), "must not be primary", []string{"mx2 4"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newStore(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			said := make(chan uint64, 100)
			stream := newStream(ctx, func(m *pb.ReplicateResponse) error { said <- m.GetEpoch(); return nil })
			stream.say(say(wire.Hello(wire.HelloMessage{Name: "mx2"}), c.first))
			if c.then != nil {
				go func() {
					said <- <-said // once it is welcome
					stream.say(c.then)
				}()
			}
			err := p.server.Replicate(stream)
			if err == nil || !strings.Contains(err.Error(), c.why) || status.Code(err) != codes.Aborted {
				t.Errorf("the error is %v", err)
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			if !slices.Equal(p.superseded, c.told) {
				t.Errorf("told of %q, want %q", p.superseded, c.told)
			}
			for len(said) > 0 {
				if epoch := <-said; epoch != 3 {
					t.Errorf("a message of epoch %d", epoch)
				}
			}
		})
	}
}

// TestDoor: who knocks while there is no primary is told why, and a Server that
// has ended lets nobody in.
func TestDoor(t *testing.T) {
	p := newStore(t)
	door := NewDoor("mx1 is a mirror")
	knock := func() error {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		stream := newStream(ctx, func(*pb.ReplicateResponse) error { cancel(); return nil })
		stream.say(wire.Hello(wire.HelloMessage{Name: "mx2"}))
		return door.Replicate(stream)
	}
	if err := knock(); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "mx1 is a mirror") {
		t.Errorf("before: %v", err)
	}
	door.Open(p.server)
	if err := knock(); status.Code(err) != codes.Canceled {
		t.Errorf("open: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := errors.Join(p.server.Run(ctx), p.server.Wait(t.Context())); err != nil {
		t.Error(err)
	}
	if err := knock(); err == nil || !strings.Contains(err.Error(), errStopping.Error()) {
		t.Errorf("ended: %v", err)
	}
	door.Shut("mx1 is fenced")
	if err := knock(); err == nil || !strings.Contains(err.Error(), "mx1 is fenced") {
		t.Errorf("shut: %v", err)
	}
}

// TestAcknowledgements: the cursor follows them, never back, never beyond what
// this mirror was sent.
func TestAcknowledgements(t *testing.T) {
	p := newStore(t)
	first := p.put("1", []byte("x")).Position
	for i := range 4 {
		p.put(journal.Path(fmt.Sprint("m", i)), []byte("x"))
	}
	s := p.dial(t, wire.HelloMessage{Name: "mx2", Position: first, Whole: true})
	s.welcome(t)
	at := func(want journal.Sequence) {
		t.Helper()
		until(t, fmt.Sprintf("at %d", want), func() bool { got, _ := p.cursor("mx2"); return got == want })
	}
	at(0)
	s.say(acknowledgement(1))
	at(1)
	// Nothing is sent for want of credit; to acknowledge it is a lie.
	s.say(acknowledgement(2))
	if why := s.refusal(t); !strings.Contains(why, "the last one sent is 1") {
		t.Errorf("it ends with %q", why)
	}
	at(1)
	s = p.dial(t, wire.HelloMessage{Name: "mx2", Position: first, Whole: true})
	s.welcome(t)
	s.say(credit(1<<20, 100))
	for sent := 1; sent < 5; {
		m := <-s.said
		sent += int(min(m.GetBatch().GetEntriesSize(), 1)) * 4
	}
	s.say(acknowledgement(4))
	at(4)
	s.say(acknowledgement(2))
	s.say(acknowledgement(5))
	at(5)
	if why := func() string { s.say(acknowledgement(6)); return s.refusal(t) }(); !strings.Contains(why, "the last one sent is 5") {
		t.Errorf("it ends with %q", why)
	}
	at(5)
	m := p.server.Mirrors()
	if len(m) != 1 || m[0].Acked != 5 || m[0].LagEntries != 0 || m[0].Connected || m[0].LastError == "" {
		t.Errorf("the mirror is %+v", m)
	}
}

// TestNewerStreamTakesOver: the earlier one of the same mirror ends first, and
// with a reason.
func TestNewerStreamTakesOver(t *testing.T) {
	p := newStore(t)
	old := p.dial(t, wire.HelloMessage{Name: "mx2"})
	old.welcome(t)
	s := p.dial(t, wire.HelloMessage{Name: "mx2"})
	s.welcome(t)
	if why := old.refusal(t); !strings.Contains(why, "newer stream") {
		t.Errorf("the earlier one ended with %q", why)
	}
	if m := p.server.Mirrors(); len(m) != 1 || !m[0].Connected {
		t.Errorf("the mirrors are %+v", m)
	}
	_ = s.end()
	until(t, "gone", func() bool { return !p.server.Mirrors()[0].Connected })
}

// TestStreamThatHangs: a mirror that takes nothing and says nothing does not
// hold the handler, though the sender hangs in Send.
func TestStreamThatHangs(t *testing.T) {
	p := newStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	stream := newStream(ctx, func(m *pb.ReplicateResponse) error {
		if m.GetWelcome() != nil {
			return nil
		}
		<-release
		return errors.New("the stream is over")
	})
	stream.say(wire.Hello(wire.HelloMessage{Name: "mx2"}))
	done := make(chan error, 1)
	go func() { done <- p.server.Replicate(stream) }()
	until(t, "connected", func() bool { m := p.server.Mirrors(); return len(m) == 1 && m[0].Connected })
	cancel()
	select {
	case err := <-done:
		t.Logf("it ended with %v", err)
	case <-time.After(5 * time.Second):
		t.Fatal("the handler waits for a Send that hangs")
	}
	if m := p.server.Mirrors(); m[0].Connected {
		t.Error("it is told to be connected")
	}
	close(release)
	until(t, "forgotten", func() bool {
		p.server.mu.Lock()
		defer p.server.mu.Unlock()
		return len(p.server.sessions) == 0
	})
}

// TestProtocolErrors: what a mirror must not say ends its stream.
func TestProtocolErrors(t *testing.T) {
	many := make([]wire.CompareItem, wire.MaxCompare)
	for i := range many {
		many[i].Path = "a"
	}
	for _, c := range []struct {
		name, why string
		say       []*pb.ReplicateRequest
	}{
		{"nothing", "no known kind", []*pb.ReplicateRequest{{}}},
		{"a second hello", "no known kind", []*pb.ReplicateRequest{wire.Hello(wire.HelloMessage{Name: "mx2"})}},
		{"a path outside", "path", []*pb.ReplicateRequest{wire.Fetch([]wire.FetchItem{{Transfer: 1, Path: "../x"}})}},
		{"too much", "requests wait", slicesRepeat(wire.Compare(many), wire.MaxPendingRequests/wire.MaxCompare+2)},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newStore(t)
			p.complete = false // comparisons wait
			s := p.dial(t, wire.HelloMessage{Name: "mx2"})
			s.welcome(t)
			for _, m := range c.say {
				s.say(m)
			}
			if why := s.refusal(t); !strings.Contains(why, c.why) {
				t.Errorf("it ends with %q", why)
			}
		})
	}
}

func slicesRepeat(m *pb.ReplicateRequest, n int) []*pb.ReplicateRequest {
	out := make([]*pb.ReplicateRequest, n)
	for i := range out {
		out[i] = m
	}
	return out
}

// TestCompareWaitsForTheFirstScan: what is not in the catalog is not known to be
// absent before; entries and heartbeats go on meanwhile.
func TestCompareWaitsForTheFirstScan(t *testing.T) {
	p := newStore(t)
	p.complete = false
	s := p.dial(t, wire.HelloMessage{Name: "mx2"})
	s.welcome(t)
	s.say(credit(1<<20, 100))
	s.say(wire.Compare([]wire.CompareItem{{Path: journal.Root}}))
	p.put("x", []byte("data"))
	next := func(what string, ok func(*pb.ReplicateResponse) bool) {
		t.Helper()
		for {
			select {
			case m := <-s.said:
				if m.GetListing() != nil && what != "listing" {
					t.Fatalf("a listing came before the %s", what)
				}
				if ok(m) {
					return
				}
			case <-time.After(5 * time.Second):
				t.Fatalf("no %s", what)
			}
		}
	}
	next("entry", func(m *pb.ReplicateResponse) bool { return m.GetBatch().GetEntriesSize() > 0 })
	next("heartbeat", func(m *pb.ReplicateResponse) bool { return m.GetHeartbeat() != nil })
	p.mu.Lock()
	p.complete = true
	p.mu.Unlock()
	next("listing", func(m *pb.ReplicateResponse) bool { return m.GetListing() != nil })
}

// TestAComparisonIsFollowedByAMark, though nothing has changed here: what the
// listings have mended there is proven by it.
func TestAComparisonIsFollowedByAMark(t *testing.T) {
	p := newStore(t)
	p.put("x", []byte("data"))
	s := p.dial(t, wire.HelloMessage{Name: "mx2"})
	s.welcome(t)
	s.say(credit(1<<20, 100))
	mark := func() {
		t.Helper()
		for {
			select {
			case m := <-s.said:
				if m.GetHeartbeat().GetMark() != nil {
					return
				}
			case <-time.After(time.Minute):
				t.Fatal("no mark")
			}
		}
	}
	mark()
	s.say(wire.Compare([]wire.CompareItem{{Path: journal.Root}}))
	mark()
}

// TestDamagedJournalIsPassedOver: a mirror that needs what cannot be read
// compares instead.
func TestDamagedJournalIsPassedOver(t *testing.T) {
	p := newStore(t)
	first := p.put("1", nil).Position
	p.put("2", nil)
	p.put("3", nil)
	p.server.corruptAfter(1)
	s := p.dial(t, wire.HelloMessage{Name: "mx2", Position: first, Whole: true})
	if w := s.welcome(t); w.Resync == "" || w.Position.Sequence != 3 {
		t.Errorf("from %d, resync %q", w.Position.Sequence, w.Resync)
	}
}

// TestPagesAreBounded: neither many names nor large attributes make a listing
// that a message cannot hold.
func TestPagesAreBounded(t *testing.T) {
	p := newStore(t)
	p.must(p.catalog.Update(func(t *catalog.Tx) error {
		for i := range 2500 {
			if err := t.Put(journal.Path(fmt.Sprintf("many/%04d", i)), catalog.Item{Facts: journal.Facts{Type: journal.TypeFile}}); err != nil {
				return err
			}
		}
		for i := range 300 {
			f := journal.Facts{Type: journal.TypeFile, Attr: journal.Attributes{Xattrs: []journal.Xattr{{Name: "user.x", Value: make([]byte, 60<<10)}}}}
			if err := t.Put(journal.Path(fmt.Sprintf("large/%04d", i)), catalog.Item{Facts: f}); err != nil {
				return err
			}
		}
		return nil
	}))
	s := p.dial(t, wire.HelloMessage{Name: "mx2"})
	s.welcome(t)
	s.say(wire.Compare([]wire.CompareItem{{Path: "many"}, {Path: "large"}, {Path: "nowhere"}}))
	unpack, err := content.NewStreamDecompressor(wire.MaxEntriesSize)
	p.must(err)
	names := map[journal.Path]int{}
	for last := ""; last != "nowhere"; {
		select {
		case m := <-s.said: // fakeStream refuses what is too large
			if packed := m.GetListing(); packed != nil {
				plain, err := unpack.Decompress(packed.GetListing(), int(packed.GetSize()))
				p.must(err)
				l, err := wire.UnmarshalListing(plain)
				p.must(err)
				names[l.Path] += len(l.Items)
				last = string(l.Path)
			}
		case <-s.done:
			t.Fatal(*s.err)
		}
	}
	if names["many"] != 2500 || names["large"] != 300 {
		t.Errorf("names: %v", names)
	}
}
