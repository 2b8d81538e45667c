package replicator

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/operator"
	"github.com/mailtwin/mailtwin/replicator/salvage"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// teller keeps what it is told.
type teller struct {
	steps []string
	lines []salvage.Line
}

func (t *teller) Step(words string) error {
	t.steps = append(t.steps, words)
	return nil
}

func (t *teller) Line(l salvage.Line) error {
	t.lines = append(t.lines, l)
	return nil
}

// rename renames a file of the store, as a flag change and a move do.
func (m *testNode) rename(from, to string) {
	m.c.t.Helper()
	m.c.must(os.Rename(filepath.Join(m.cfg.Store.Path, from), filepath.Join(m.cfg.Store.Path, to)))
}

func (m *testNode) remove(path string) {
	m.c.t.Helper()
	m.c.must(os.Remove(filepath.Join(m.cfg.Store.Path, path)))
}

// journaled waits until the node knows what is on its disk.
func (m *testNode) journaled() {
	m.c.t.Helper()
	files := uint64(strings.Count(m.tree(), "/cur/") + strings.Count(m.tree(), "/new/"))
	m.until("journaled", func(d status.Document) bool {
		return d.Store.State == "watching" && d.Store.Files == files && d.Store.Watch.Pending == 0
	})
}

// TestRejoinAfterSplitBrain: both sides took mail, removed and changed some;
// then the former primary rejoins, over real TLS.
func TestRejoinAfterSplitBrain(t *testing.T) {
	c := newCluster(t, "mx1", "mx2")
	mx1, mx2 := c.nodes["mx1"], c.nodes["mx2"]
	const box = "u/Maildir/"
	for _, sub := range []string{"cur", "new", "tmp", ".Work/cur", ".Work/new", ".Work/tmp"} {
		c.must(os.MkdirAll(filepath.Join(mx1.cfg.Store.Path, box+sub), 0o700))
	}
	for _, n := range []string{"keep", "flags", "clash", "gone", "gone-too", "moved", "removed"} {
		mx1.write(box+"cur/"+n+":2,", "Subject: "+n+"\n\nbody\n")
	}
	mx1.journaled()
	mx1.inSync()
	mx1.equal(mx2)
	mx2.stop()

	body := strings.Repeat("what only the former primary has\n", 3000)
	mx1.write(box+"new/only1", "Subject: only 1\n\n"+body)
	const hostile = "new/-rf \xff\n\x1b[31m"
	mx1.write(box+hostile, "Subject: of a name that nobody expects\n\nbody\n")
	mx1.write(box+"new/twin1", "Subject: twice\n\n"+body)
	mx1.write(box+"new/twin2", "Subject: twice\n\n"+body)
	mx1.rename(box+"cur/flags:2,", box+"cur/flags:2,FS")
	mx1.rename(box+"cur/clash:2,", box+"cur/clash:2,S")
	mx1.rename(box+"cur/gone:2,", box+"cur/gone:2,F")
	mx1.rename(box+"cur/moved:2,", box+".Work/cur/moved:2,S")
	mx1.remove(box + "cur/removed:2,")
	mx1.journaled()
	mx1.stop()
	mx1.write(box+".Work/cur/silent:2,RS", "Subject: silent\n\nwhile the daemon was down\n")

	mx2.start()
	mx2.promote()
	mx2.write(box+"new/only2", "Subject: only 2\n\nnew there\n")
	mx2.rename(box+"cur/clash:2,", box+"cur/clash:2,T")
	mx2.remove(box + "cur/gone:2,")
	mx2.remove(box + "cur/gone-too:2,")
	mx2.journaled()

	mx1.start()
	// As soon as it is fenced: its journal may still be being opened.
	mx1.until("fenced", func(d status.Document) bool { return d.Role == string(identity.Fenced) })
	before := mx1.tree()
	look := &teller{}
	listed, err := mx1.n.Rejoin(t.Context(), operator.RejoinOptions{List: true, Subjects: true}, look)
	c.must(err)
	if mx1.tree() != before || listed.Mirror || listed.Outcomes[salvage.OutcomeWanted] != 5 || mx1.n.state().Role != identity.Fenced {
		t.Errorf("a look changed something, or saw %+v", listed)
	}
	if !slices.ContainsFunc(look.lines, func(l salvage.Line) bool { return l.Subject == "only 1" }) {
		t.Errorf("no subject in %+v", look.lines)
	}
	done := &teller{}
	result, err := mx1.n.Rejoin(t.Context(), operator.RejoinOptions{}, done)
	c.must(err)
	t.Logf("%+v", result)
	if !result.Mirror || result.Uncertain != "" || result.Outcomes[salvage.OutcomeDelivered] != 5 ||
		result.Outcomes[salvage.OutcomeExpunged] != 1 || result.Outcomes[salvage.OutcomeConflict] != 1 {
		t.Errorf("%+v\n%+v", result, done.lines)
	}
	if result.Sent*10 > result.Delivered*11 {
		t.Errorf("%d bytes were sent for %d", result.Sent, result.Delivered)
	}
	mx2.inSync()
	mx1.equal(mx2)
	for _, want := range []string{
		"new/only1", "new/only2", hostile, "new/twin1", "new/twin2", ".Work/cur/silent:2,RS", "cur/flags:2,FS", "cur/clash:2,T",
		"cur/moved:2,S", "cur/removed:2,", "cur/keep:2,",
	} {
		if !mx2.has(box+want) || !mx1.has(box+want) {
			t.Errorf("%q is missing on a node", want)
		}
	}
	if n := strings.Count(mx2.tree(), "\nu/Maildir/"); strings.Contains(mx2.tree(), "gone") || strings.Contains(mx1.tree(), "gone") {
		t.Errorf("what was removed is back:\n%s (%d)", mx1.tree(), n)
	}
	if !mx1.has("..mailtwin/history/1/" + box + "cur/gone:2,F") {
		t.Error("what was expunged there was changed here, and is not kept")
	}
	d := mx1.until("whole", func(d status.Document) bool { return d.Primary != nil && d.Primary.State == status.InSync })
	t.Logf("delivered %d bytes, sent %d, received as a mirror %d", result.Delivered, result.Sent, d.Primary.ReceivedBytes)
	if _, err := mx1.n.Rejoin(t.Context(), operator.RejoinOptions{}, &teller{}); err == nil {
		t.Error("a mirror rejoined")
	}
}

// TestRejoinMovesOnlyTheDifference: of many messages few differ, and what travels
// is hardly more than they are.
func TestRejoinMovesOnlyTheDifference(t *testing.T) {
	const (
		messages = 5000
		boxes    = 50
		differ   = 25 // on each side
		size     = 20_000
	)
	c := newCluster(t, "mx1", "mx2")
	mx1, mx2 := c.nodes["mx1"], c.nodes["mx2"]
	box := func(i int) string { return fmt.Sprintf("u%d/Maildir/", i%boxes) }
	for i := range boxes {
		for _, sub := range []string{"cur", "new", "tmp"} {
			c.must(os.MkdirAll(filepath.Join(mx1.cfg.Store.Path, box(i)+sub), 0o700))
		}
	}
	for i := range messages {
		mx1.write(fmt.Sprintf("%scur/%d:2,S", box(i), i), fmt.Sprintf("Subject: %d\n\nbody\n", i))
	}
	mx1.journaled()
	mx1.inSync()
	mx2.stop()

	// Bytes of chance cannot be compressed.
	random := rand.NewChaCha8([32]byte{1})
	message := func() string {
		body := make([]byte, size)
		_, _ = random.Read(body) // it never fails
		return "Subject: one side only\n\n" + string(body)
	}
	differing := 0
	deliver := func(m *testNode, name string) {
		for i := range differ {
			text := message()
			m.write(fmt.Sprintf("%snew/%s%d", box(i), name, i), text)
			differing += len(text)
		}
	}
	deliver(mx1, "here")
	mx1.journaled()
	mx1.stop()
	mx2.start()
	mx2.promote()
	deliver(mx2, "there")
	mx2.journaled()

	mx1.start()
	mx1.until("fenced", func(d status.Document) bool { return d.Role == string(identity.Fenced) })
	result, err := mx1.n.Rejoin(t.Context(), operator.RejoinOptions{}, &teller{})
	c.must(err)
	if !result.Mirror || result.Outcomes[salvage.OutcomeDelivered] != differ {
		t.Errorf("%+v", result)
	}
	mx2.inSync()
	mx1.equal(mx2)
	d := mx1.until("whole", func(d status.Document) bool { return d.Primary != nil && d.Primary.State == status.InSync })
	moved := result.Sent + int64(d.Primary.ReceivedBytes)
	t.Logf("%d bytes differ; %d were sent, %d received", differing, result.Sent, d.Primary.ReceivedBytes)
	if moved*10 > int64(differing)*11 {
		t.Errorf("%d bytes were moved for %d that differ", moved, differing)
	}
}

// lateMail delivers mail to a fenced node when the salvage has gone by.
type lateMail struct {
	teller
	to   *testNode
	once sync.Once
}

func (l *lateMail) Step(words string) error {
	if strings.Contains(words, "taking stock") {
		l.once.Do(func() { l.to.write("u/Maildir/new/late.M1P1.host", "Subject: late\n\nacknowledged to a sender\n") })
	}
	return l.teller.Step(words)
}

// fencedAfterPromotion makes a pair whose first node comes back behind the promotion of the
// other; prepare is called before.
func fencedAfterPromotion(t *testing.T, prepare func(mx1 *testNode)) (mx1, mx2 *testNode) {
	t.Helper()
	c := newCluster(t, "mx1", "mx2")
	mx1, mx2 = c.nodes["mx1"], c.nodes["mx2"]
	mx1.write("u/Maildir/cur/a:2,", "Subject: a\n\nbody\n")
	for _, sub := range []string{"new", "tmp"} {
		c.must(os.Mkdir(filepath.Join(mx1.cfg.Store.Path, "u/Maildir", sub), 0o700))
	}
	mx1.journaled()
	mx1.inSync()
	mx1.equal(mx2)
	mx1.stop()
	mx2.promote()
	prepare(mx1)
	mx1.start()
	mx1.until("fenced", func(d status.Document) bool { return d.Role == string(identity.Fenced) })
	return mx1, mx2
}

// TestRejoinRefusesMailThatComesMeanwhile: what a mail server takes between the salvage
// and the stocktaking is on no other node. It must not be taken for replicated.
func TestRejoinRefusesMailThatComesMeanwhile(t *testing.T) {
	mx1, mx2 := fencedAfterPromotion(t, func(*testNode) {})
	const late = "u/Maildir/new/late.M1P1.host"
	_, err := mx1.n.Rejoin(t.Context(), operator.RejoinOptions{}, &lateMail{to: mx1})
	if err == nil || !strings.Contains(err.Error(), "late.M1P1.host") || !strings.Contains(hint.Of(err), "stop the mail server") {
		t.Errorf("it rejoined: %v", err)
	}
	if role := mx1.n.state().Role; role != identity.Fenced || !mx1.has(late) {
		t.Fatalf("it is %s", role)
	}
	result, err := mx1.n.Rejoin(t.Context(), operator.RejoinOptions{}, &teller{})
	mx1.c.must(err)
	if result.Outcomes[salvage.OutcomeDelivered] != 1 {
		t.Errorf("%+v", result)
	}
	mx2.inSync()
	mx2.equal(mx1)
	if !mx2.has(late) {
		t.Error("the message is not on the new primary")
	}
}

// TestRejoinRefusesWhileDemoteFails: nobody has stopped the mail server, and nobody
// would once the node is a mirror.
func TestRejoinRefusesWhileDemoteFails(t *testing.T) {
	mx1, mx2 := fencedAfterPromotion(t, func(mx1 *testNode) { mx1.fail["demote before"] = os.ErrInvalid })
	_, err := mx1.n.Rejoin(t.Context(), operator.RejoinOptions{}, &teller{})
	if err == nil || !strings.Contains(err.Error(), "the hook demote") || !strings.Contains(hint.Of(err), "--force") {
		t.Errorf("it rejoined: %v", err)
	}
	if role := mx1.n.state().Role; role != identity.Fenced {
		t.Fatalf("it is %s", role)
	}
	listed, err := mx1.n.Rejoin(t.Context(), operator.RejoinOptions{List: true}, &teller{})
	if err != nil || listed.Mirror {
		t.Errorf("a look: %+v, %v", listed, err)
	}
	// Force is no leave to lose mail.
	_, err = mx1.n.Rejoin(t.Context(), operator.RejoinOptions{Force: true}, &lateMail{to: mx1})
	if err == nil || mx1.n.state().Role != identity.Fenced {
		t.Errorf("it is %s: %v", mx1.n.state().Role, err)
	}
	mx1.mu.Lock()
	delete(mx1.fail, "demote before") // it is mended, and is run again
	mx1.mu.Unlock()
	result, err := mx1.n.Rejoin(t.Context(), operator.RejoinOptions{}, &teller{})
	if err != nil || !result.Mirror {
		t.Fatalf("%+v, %v", result, err)
	}
	mx2.inSync()
	mx2.equal(mx1)
	if !mx2.has("u/Maildir/new/late.M1P1.host") {
		t.Error("the message is not on the new primary")
	}
}

// TestRejoinByForce: a person says that the mail server is stopped.
func TestRejoinByForce(t *testing.T) {
	mx1, mx2 := fencedAfterPromotion(t, func(mx1 *testNode) { mx1.fail["demote after"] = os.ErrInvalid })
	done := &teller{}
	result, err := mx1.n.Rejoin(t.Context(), operator.RejoinOptions{Force: true}, done)
	if err != nil || !result.Mirror || !slices.ContainsFunc(done.steps, func(s string) bool { return strings.Contains(s, "demote failed") }) {
		t.Fatalf("%+v, %v, %q", result, err, done.steps)
	}
	mx2.inSync()
	mx2.equal(mx1)
}

// TestRejoinOfOneThatJournaledNothing: what this node was primary of is not what its journal
// ends with.
func TestRejoinOfOneThatJournaledNothing(t *testing.T) {
	mx1, mx2 := fencedAfterPromotion(t, func(*testNode) {})
	c := mx1.c
	_, err := mx1.n.Rejoin(t.Context(), operator.RejoinOptions{}, &teller{})
	c.must(err)
	mx2.inSync()
	mx2.equal(mx1)
	mx2.stop()
	mx1.until("without its primary", func(d status.Document) bool { return d.Primary != nil && !d.Primary.Connected })
	mx1.promote()
	const only = "u/Maildir/new/only.M1P1.host"
	mx2.write(only, "Subject: only here\n\nbody\n")
	mx2.start()
	mx2.until("fenced", func(d status.Document) bool { return d.Role == string(identity.Fenced) })
	told := &teller{}
	result, err := mx2.n.Rejoin(t.Context(), operator.RejoinOptions{List: true}, told)
	c.must(err)
	if result.Outcomes[salvage.OutcomeWanted] != 1 {
		t.Errorf("%+v\n%+v", result, told.lines)
	}
	p, ok := mx2.n.current().(*fencedPart)
	if !ok {
		t.Fatal("it is not fenced")
	}
	cfg := mx2.n.salvageOf(t.Context(), p, mx2.n.state(), nil, operator.RejoinOptions{List: true}, told)
	if cfg.Reign != 2 || cfg.Journal.Head().Epoch != 1 {
		t.Errorf("it was primary of epoch %d, and its journal is at %v", cfg.Reign, cfg.Journal.Head())
	}
}
