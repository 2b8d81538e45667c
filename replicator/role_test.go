package replicator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/pairing"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// late is an entry that must not be journaled any more.
var late = journal.Entry{Kind: journal.KindRemove, Path: "u/Maildir/new/late"}

// TestPromotionWhileThePrimaryIsDead: the mirror becomes primary and journals
// what differs; the third node follows it without comparing; the former primary
// learns that it is fenced before it journals or serves anything.
func TestPromotionWhileThePrimaryIsDead(t *testing.T) {
	c := newCluster(t, "mx1", "mx2", "mx3")
	mx1, mx2, mx3 := c.nodes["mx1"], c.nodes["mx2"], c.nodes["mx3"]
	for i := range 50 {
		mx1.write(fmt.Sprintf("u/Maildir/new/%d.M1P1.host", i), fmt.Sprintf("Subject: %d\n\nbody\n", i))
	}
	mx1.inSync()
	mx2.until("acquainted", func(d status.Document) bool { return len(d.Peers) == 2 })
	log, err := mx1.n.Journal()
	c.must(err)
	head := log.Head()
	mx1.stop()
	before := mx2.n.state().Epoch
	mx2.promote()
	d := mx2.until("primary", func(d status.Document) bool { return d.Role == "primary" && d.Store.State == "watching" })
	if d.Epoch != uint64(before)+1 || d.Leader != "mx2" || d.Journal.Entries != 0 {
		t.Errorf("epoch %d, leader %q, %d entries in its journal though nothing differs", d.Epoch, d.Leader, d.Journal.Entries)
	}
	mx2.write("u/Maildir/new/after.M1P1.host", "Subject: after\n\nbody\n")
	mx3.until("following mx2", func(d status.Document) bool {
		return d.Primary != nil && d.Primary.Name == "mx2" && d.Primary.Connected
	})
	if s := mx3.n.current().(*mirrorPart).mirror.Status(); s.Resync != "" {
		t.Errorf("mx3 compares: %s", s.Resync)
	}
	mx2.inSync()
	mx2.equal(mx3)

	// It has mail that nobody else has, and comes back.
	mx1.write("u/Maildir/new/split.M1P1.host", "Subject: split\n\nbody\n")
	mx1.start()
	d = mx1.until("fenced", func(d status.Document) bool { return d.Role == "fenced" && d.Journal != nil })
	if d.State != status.Attention || !strings.Contains(d.Detail, "mx2 is primary since epoch 2") {
		t.Errorf("%s: %s", d.State, d.Detail)
	}
	if log, err := mx1.n.Journal(); err != nil || log.Head() != head {
		t.Errorf("its journal ended with %v, and now: %v, %v", head, log, err)
	} else if _, err := log.Append(late); !errors.Is(err, journal.ErrSealed) {
		t.Errorf("it can be appended to: %v", err)
	}
	mx1.until("demoted", func(status.Document) bool { return len(mx1.ran()) == 2 })
	if got := mx1.ran(); !slices.Equal(got, []string{"demote before mx2 2", "demote after mx2 2"}) {
		t.Errorf("hooks %q", got)
	}
	if mx2.has("u/Maildir/new/split.M1P1.host") || !mx1.has("u/Maildir/new/split.M1P1.host") {
		t.Error("what was never replicated has moved")
	}
	// It stays so when it is started again with nobody else there.
	mx1.stop()
	mx2.stop()
	mx3.stop()
	mx1.start()
	mx1.until("fenced", func(d status.Document) bool { return d.Role == "fenced" && d.State == status.Attention })
}

// TestPrimaryLearnsAtRunTime: a primary that was cut off goes on until it hears
// of the other one; then it journals nothing more.
func TestPrimaryLearnsAtRunTime(t *testing.T) {
	c := newCluster(t, "mx1", "mx2")
	mx1, mx2 := c.nodes["mx1"], c.nodes["mx2"]
	part := mx1.n.current().(*primaryPart)
	mx2.promote()
	told, untold := mx2.n.crownAll(t.Context())
	if !slices.Equal(told, []string{"mx1"}) || len(untold) > 0 {
		t.Errorf("told %q, untold %v", told, untold)
	}
	mx1.until("fenced", func(d status.Document) bool { return d.Role == "fenced" })
	if _, err := part.journal.Append(late); !errors.Is(err, journal.ErrSealed) && !errors.Is(err, journal.ErrClosed) {
		t.Errorf("its journal can be appended to: %v", err)
	}
	mx1.write("u/Maildir/new/late.M1P1.host", "Subject: late\n\nbody\n")
	mx1.until("read", func(d status.Document) bool { return d.Journal != nil && d.State == status.Attention })
	if s, err := identity.LoadState(mx1.cfg.StateDir); err != nil || s.Role != identity.Fenced || s.Leads() != (identity.Claim{Epoch: 2, Name: "mx2"}) {
		t.Errorf("its state is %+v, %v", s, err)
	}
}

// TestSwitchover: sealed and crowned, the former primary follows at once,
// without comparing.
func TestSwitchover(t *testing.T) {
	c := newCluster(t, "mx1", "mx2")
	mx1, mx2 := c.nodes["mx1"], c.nodes["mx2"]
	mx2.until("following", func(d status.Document) bool { return d.Epoch == 1 })
	claim := identity.Claim{Epoch: 2, Name: "mx2"}
	client, err := mx2.n.vigil.client(mx1.cfg.Node.Listen)
	c.must(err)
	if _, err := client.Seal(t.Context(), pairing.SealOrder{Claim: claim}, func(string) {}); err == nil || !strings.Contains(err.Error(), "not agreed to") {
		t.Errorf("sealed without a promise: %v", err)
	}
	answer, err := client.Claim(t.Context(), claim)
	if err != nil || !answer.Granted {
		t.Fatalf("claim: %+v, %v", answer, err)
	}
	mx1.fail["fence before"] = errors.New("it does not stop")
	if _, err := client.Seal(t.Context(), pairing.SealOrder{Claim: claim}, func(string) {}); err == nil || !strings.Contains(err.Error(), "it does not stop") {
		t.Errorf("sealed though the hook failed: %v", err)
	}
	mx1.write("u/Maildir/new/still.M1P1.host", "Subject: still\n\nbody\n")
	mx1.inSync()
	delete(mx1.fail, "fence before")
	mx1.write("u/Maildir/new/last.M1P1.host", "Subject: last\n\nbody\n")
	var steps []string
	sealed, err := client.Seal(t.Context(), pairing.SealOrder{Claim: claim}, func(words string) { steps = append(steps, words) })
	c.must(err)
	if len(steps) < 3 || sealed.Unread > 0 || sealed.Missing > 0 {
		t.Errorf("steps %q, sealed %+v", steps, sealed)
	}
	if again, err := client.Seal(t.Context(), pairing.SealOrder{Claim: claim}, func(string) {}); again != sealed || err != nil {
		t.Errorf("sealed again: %+v, %v", again, err)
	}
	mx1.until("sealed", func(d status.Document) bool {
		return d.State == status.Attention && strings.Contains(d.Detail, "sealed")
	})
	mx1.stop()
	mx1.start() // in the middle of it
	again, err := client.Seal(t.Context(), pairing.SealOrder{Claim: claim}, func(string) {})
	for late := time.After(patience); errors.Is(err, pairing.ErrUnreachable); {
		select { // until the client dials anew, which it does a while after it was refused
		case <-time.After(20 * time.Millisecond):
			again, err = client.Seal(t.Context(), pairing.SealOrder{Claim: claim}, func(string) {})
		case <-late:
			t.Fatal(err)
		}
	}
	if again != sealed || err != nil {
		t.Errorf("sealed after a new start: %+v, %v", again, err)
	}
	mx2.until("drained", func(status.Document) bool {
		s, err := mx2.n.standing()
		return err == nil && s.Position == sealed.Position && s.Digest == sealed.Digest && s.Exact
	})
	mx2.promote()
	told, untold := mx2.n.crownAll(t.Context())
	if !slices.Equal(told, []string{"mx1"}) || len(untold) > 0 {
		t.Errorf("told %q, untold %v", told, untold)
	}
	if d := mx2.n.Status(); d.Peers[0].Role != "mirror" || d.Peers[0].Epoch != 2 {
		t.Errorf("mx2 says that mx1 is %s of epoch %d", d.Peers[0].Role, d.Peers[0].Epoch)
	}
	d := mx1.until("following", func(d status.Document) bool { return d.Role == "mirror" && d.Primary != nil && d.Primary.Connected })
	if s := mx1.n.current().(*mirrorPart).mirror.Status(); s.Resync != "" || d.Epoch != 2 {
		t.Errorf("epoch %d; it compares: %q", d.Epoch, s.Resync)
	}
	mx2.write("u/Maildir/new/back.M1P1.host", "Subject: back\n\nbody\n")
	mx2.inSync()
	mx2.equal(mx1)

	// And the way back.
	mx1.promote()
	mx1.n.crownAll(t.Context())
	mx1.until("primary", func(d status.Document) bool {
		return d.Role == "primary" && d.Epoch == 3 && d.Store.State == "watching"
	})
	mx2.until("fenced", func(d status.Document) bool { return d.Role == "fenced" })
}

// TestUnseal: a switchover that is given up leaves a primary that goes on.
func TestUnseal(t *testing.T) {
	c := newCluster(t, "mx1", "mx2")
	mx1, mx2 := c.nodes["mx1"], c.nodes["mx2"]
	claim := identity.Claim{Epoch: 2, Name: "mx2"}
	_, err := mx1.n.Claim(t.Context(), claim)
	c.must(err)
	_, err = mx1.n.Seal(t.Context(), pairing.SealOrder{Claim: claim}, func(string) {})
	c.must(err)
	late := identity.Claim{Epoch: 2, Name: "mx1"}
	if err := mx1.n.Unseal(t.Context(), late); err == nil || !mx1.n.state().Sealed {
		t.Errorf("unsealed by an order that was for another claim: %v", err)
	}
	c.must(mx1.n.Unseal(t.Context(), claim))
	c.must(mx1.n.Unseal(t.Context(), claim))
	// What is sealed for one claim of a node is sealed for its next one, and an
	// order about the former comes too late.
	for _, again := range []identity.Claim{{Epoch: 3, Name: "mx2"}, {Epoch: 4, Name: "mx2"}} {
		a, err := mx1.n.Claim(t.Context(), again)
		if err != nil || !a.Granted {
			t.Fatalf("%v: %+v, %v", again, a, err)
		}
		_, err = mx1.n.Seal(t.Context(), pairing.SealOrder{Claim: again}, func(string) {})
		c.must(err)
	}
	if err := mx1.n.Unseal(t.Context(), claim); err == nil || !mx1.n.state().Sealed {
		t.Errorf("unsealed by an order that came late: %v", err)
	}
	if a, err := mx1.n.Claim(t.Context(), identity.Claim{Epoch: 5, Name: "mx3"}); err != nil || a.Granted {
		t.Errorf("a sealed primary promises to another: %+v, %v", a, err)
	}
	c.must(mx1.n.Unseal(t.Context(), identity.Claim{Epoch: 4, Name: "mx2"}))
	mx1.write("u/Maildir/new/on.M1P1.host", "Subject: on\n\nbody\n")
	mx1.until("watching", func(d status.Document) bool { return d.Store.State == "watching" })
	mx1.inSync()
	mx1.equal(mx2)
}

// TestFencedThoughItCannotBeWrittenDown: a primary whose state lies on the array
// that has failed stops all the same when another one has taken over, and writes it
// down when it can.
func TestFencedThoughItCannotBeWrittenDown(t *testing.T) {
	c := newCluster(t, "mx1", "mx2")
	mx1, mx2 := c.nodes["mx1"], c.nodes["mx2"]
	mx2.until("following", func(d status.Document) bool { return d.Epoch == 1 })
	// Nothing can be made where the state is written.
	blocked := filepath.Join(mx1.cfg.StateDir, "node.new")
	c.must(os.MkdirAll(filepath.Join(blocked, "in the way"), 0o700))
	mx2.promote()
	mx2.n.crownAll(t.Context())
	mx1.until("fenced", func(d status.Document) bool { return d.Role == "fenced" })
	if st, err := identity.LoadState(mx1.cfg.StateDir); err != nil || st.Role != identity.Primary {
		t.Errorf("written down: %+v, %v", st, err)
	}
	c.must(os.RemoveAll(blocked))
	mx1.until("fenced durably", func(status.Document) bool {
		mx2.n.crownAll(t.Context())
		st, err := identity.LoadState(mx1.cfg.StateDir)
		return err == nil && st.Role == identity.Fenced
	})
}

// TestNobodyWaitsForADecisionThatHangs: while one is written to an array that hangs,
// a primary that hears of another one journals nothing more, and whoever asks how it
// is gets an answer.
func TestNobodyWaitsForADecisionThatHangs(t *testing.T) {
	c := newCluster(t, "mx1", "mx2")
	mx1, mx2 := c.nodes["mx1"], c.nodes["mx2"]
	part := mx1.n.current().(*primaryPart)
	mx1.n.deciding.Lock()
	mx1.n.noteStateTrouble(errors.New("an error"))
	if why := mx1.n.cannotWriteState(t.Context()); why != "" {
		t.Errorf("the state can be written down, but %s", why)
	}
	learned := make(chan error, 1)
	go func() {
		_, err := mx1.n.learn(pairing.Crown{Claim: identity.Claim{Epoch: 2, Name: "mx2"}, Address: mx2.n.listen}, "mx2")
		learned <- err
	}()
	mx1.until("stopped", func(status.Document) bool {
		_, err := part.journal.Append(late)
		return errors.Is(err, journal.ErrSealed)
	})
	if role := mx1.n.state().Role; role != identity.Primary {
		t.Errorf("it is %s before that is decided", role)
	}
	mx1.n.deciding.Unlock()
	c.must(<-learned)
	mx1.until("fenced", func(d status.Document) bool { return d.Role == "fenced" })
}

// TestSealThatFails: a primary that could not be sealed lets a fenced node in
// again.
func TestSealThatFails(t *testing.T) {
	c := newCluster(t, "mx1", "mx2")
	mx1, mx2 := c.nodes["mx1"], c.nodes["mx2"]
	claim := identity.Claim{Epoch: 2, Name: "mx2"}
	_, err := mx1.n.Claim(t.Context(), claim)
	c.must(err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err = mx1.n.Seal(ctx, pairing.SealOrder{Claim: claim}, func(words string) {
		if strings.Contains(words, "is journaled") {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || mx1.n.state().Sealed {
		t.Fatalf("sealed: %v", err)
	}
	c.must(mx1.n.Unseal(t.Context(), claim))
	conn, err := mx2.n.dialPrimary(mx1.cfg.Node.Listen, nil)
	c.must(err)
	defer conn.Close()
	stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/mailtwin.v1.SalvageService/Salvage")
	c.must(err)
	c.must(stream.CloseSend())
	if err := stream.RecvMsg(new(emptypb.Empty)); err == nil || strings.Contains(err.Error(), "sealed") {
		t.Errorf("fenced nodes are not let in: %v", err)
	}
	mx1.write("u/Maildir/new/on.M1P1.host", "Subject: on\n\nbody\n")
	mx1.inSync()
	mx1.equal(mx2)
}

// TestSealedBlind: a primary that has not looked at its store at the end may have
// mail that nobody knows of, so it is fenced and can be salvaged.
func TestSealedBlind(t *testing.T) {
	c := newCluster(t, "mx1", "mx2")
	mx1, mx2 := c.nodes["mx1"], c.nodes["mx2"]
	mx2.until("following", func(d status.Document) bool { return d.Epoch == 1 })
	claim := identity.Claim{Epoch: 2, Name: "mx2"}
	_, err := mx1.n.Claim(t.Context(), claim)
	c.must(err)
	sealed, err := mx1.n.Seal(t.Context(), pairing.SealOrder{Claim: claim, Blind: true}, func(string) {})
	c.must(err)
	mx1.stop()
	mx1.start() // it remembers
	mx2.until("drained", func(status.Document) bool {
		s, err := mx2.n.standing()
		return err == nil && s.Position == sealed.Position && s.Exact
	})
	mx2.promote()
	mx2.n.crownAll(t.Context())
	mx1.until("fenced", func(d status.Document) bool { return d.Role == "fenced" })
}

// TestPromotionIsResumed: until it is raised a mirror can go on as one, also
// after a crash, and be promoted later.
func TestPromotionIsResumed(t *testing.T) {
	c := newCluster(t, "mx1", "mx2")
	mx1, mx2 := c.nodes["mx1"], c.nodes["mx2"]
	if err := mx2.n.prepareJournal(2); err == nil {
		t.Error("a journal is prepared while it follows")
	}
	if err := mx2.n.raise(2); err == nil {
		t.Error("it is raised while it follows, and without a promise")
	}
	for _, crash := range []bool{false, true} {
		_, err := mx2.n.promise(identity.Claim{Epoch: 2, Name: "mx2"})
		c.must(err)
		_, err = mx2.n.stopFollowing(t.Context())
		c.must(err)
		_, err = mx2.n.stopFollowing(t.Context())
		c.must(err)
		c.must(mx2.n.prepareJournal(2))
		c.must(mx2.n.prepareJournal(2))
		if d := mx2.n.Status(); d.Primary.State != status.Attention {
			t.Errorf("it says %s: %s", d.Primary.State, d.Primary.Detail)
		}
		if crash {
			mx2.stop()
			mx2.start()
		} else {
			mx2.n.resumeFollowing()
		}
		mx1.write(fmt.Sprintf("u/Maildir/new/%v.M1P1.host", crash), "Subject: on\n\nbody\n")
		mx1.until("sent", func(d status.Document) bool {
			return len(d.Mirrors) > 0 && d.Mirrors[0].AckedSequence == d.Journal.Sequence
		})
		mx1.inSync()
		mx1.equal(mx2)
	}
	mx2.promote()
	d := mx2.until("primary", func(d status.Document) bool { return d.Role == "primary" && d.Store.State == "watching" })
	if d.Journal.Entries != 0 {
		t.Errorf("%d entries", d.Journal.Entries)
	}
}

// TestPrimaryThatNobodyAnswers goes on, and says so until somebody does.
func TestPrimaryThatNobodyAnswers(t *testing.T) {
	c := newCluster(t, "mx1", "mx2")
	mx1, mx2 := c.nodes["mx1"], c.nodes["mx2"]
	mx1.stop()
	mx2.stop()
	boots, err := newNode(mx1.cfg, Options{Log: hclog.NewNullLogger(), Clock: systemClock{}})
	c.must(err)
	if d := boots.Status(); d.Role != status.Unconfirmed || d.State != status.Unknown {
		t.Errorf("before anybody was asked its role is %s, its state %s: %s", d.Role, d.State, d.Detail)
	}
	c.must(boots.catalog.Close())
	mx1.start()
	mx1.until("alone", func(d status.Document) bool {
		if d.Role == "primary" {
			t.Errorf("it says that it is primary: %s: %s", d.State, d.Detail)
		}
		return d.State.ExitCode() == 3 && d.Unasked != "" && d.Store.State == "watching" && len(d.Peers) == 1 && !d.Peers[0].Answers && d.Peers[0].Problem != ""
	})
	c.must(stage{mx1.n}.Open(t.Context()))
	if d := mx1.n.Status(); d.Role != "primary" || d.Unasked != "" {
		t.Errorf("a person has said that it is the primary; its role is %s: %s", d.Role, d.Unasked)
	}
	mx1.stop()
	mx1.start()
	mx2.start()
	mx1.until("heard", func(d status.Document) bool {
		return d.Role == "primary" && d.Unasked == "" && d.Peers[0].Answers && d.Peers[0].Role == "mirror"
	})
}

// hurried is a clock on which one passes sooner that is waited for long.
type hurried struct{ systemClock }

func (hurried) After(d time.Duration) <-chan time.Time {
	return time.After(min(d, 100*time.Millisecond))
}

// TestFencedSeesToIt: what was started after the hook ran is stopped by it, and
// a hook that failed gets another chance.
func TestFencedSeesToIt(t *testing.T) {
	c := newCluster(t, "mx1", "mx2")
	mx1, mx2 := c.nodes["mx1"], c.nodes["mx2"]
	mx1.stop()
	mx2.promote()
	mx1.clock = hurried{}
	mx1.fail["demote before"] = errors.New("it does not stop")
	mx1.start()
	mx1.until("fenced", func(d status.Document) bool { return strings.Contains(d.Store.Detail, "it does not stop") })
	mx1.mu.Lock()
	delete(mx1.fail, "demote before")
	before := len(mx1.hooks)
	mx1.mu.Unlock()
	mx1.until("demoted", func(d status.Document) bool { return d.Role == "fenced" && d.Store.Detail == "" })
	mx1.until("demoted again", func(status.Document) bool { return len(mx1.ran()) >= before+4 })
	if ran := mx1.ran(); ran[len(ran)-1] != "demote after mx2 2" && ran[len(ran)-1] != "demote before mx2 2" {
		t.Errorf("the hooks that ran are %q", ran)
	}
}

// TestPromotionInTheMidst: a mirror that was comparing when its primary died has
// no place in that one's history, and another mirror has to compare with it.
func TestPromotionInTheMidst(t *testing.T) {
	c := newCluster(t, "mx1", "mx2", "mx3")
	mx1, mx2, mx3 := c.nodes["mx1"], c.nodes["mx2"], c.nodes["mx3"]
	mx2.until("acquainted", func(d status.Document) bool { return len(d.Peers) == 2 })
	mx1.stop()
	_, err := mx2.n.stopFollowing(t.Context())
	c.must(err)
	c.must(mx2.n.catalog.UpdateDurably(func(tx *catalog.Tx) error { return tx.SetMeta("mirror.whole", nil) }))
	mx2.promote()
	mx2.write("u/Maildir/new/after.M1P1.host", "Subject: after\n\nbody\n")
	mx3.until("comparing", func(d status.Document) bool { return d.Primary != nil && d.Primary.Name == "mx2" })
	mx2.inSync()
	mx2.equal(mx3)
	at, err := mx3.n.standing()
	c.must(err)
	log, err := mx2.n.Journal()
	c.must(err)
	if err := log.Contains(at.Position); err != nil {
		t.Errorf("mx3 is not in the history of mx2: %v", err)
	}
}
