package replicator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/mailtwin/mailtwin/replicator/config"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/pairing"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// systemClock is the real time.
type systemClock struct{}

func (systemClock) Now() time.Time                         { return time.Now() }
func (systemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// cluster is a primary and mirrors in one process: real stores, real TLS.
type cluster struct {
	t     *testing.T
	nodes map[string]*testNode
}

// testNode is one node, running or not.
type testNode struct {
	c    *cluster
	cfg  config.Config
	n    *node // the last one that ran
	stop func()

	mu    sync.Mutex
	hooks []string
	fail  map[string]error // hooks that fail
}

// newCluster makes nodes, the first of which is primary; all run and are in
// sync.
func newCluster(t *testing.T, names ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, nodes: make(map[string]*testNode)}
	for _, name := range names {
		cfg := config.Default()
		cfg.StateDir, cfg.Store.Path = filepath.Join(t.TempDir(), name), filepath.Join(t.TempDir(), "store")
		cfg.Node.Name, cfg.Node.Listen = name, freeAddress(t)
		c.must(errors.Join(os.Mkdir(cfg.StateDir, 0o700), os.Mkdir(cfg.Store.Path, 0o700)))
		c.nodes[name] = &testNode{c: c, cfg: cfg, fail: make(map[string]error)}
	}
	first := c.nodes[names[0]]
	id, err := identity.Create(first.cfg.StateDir, "pair-test", names[0], time.Now)
	c.must(err)
	c.must(identity.SaveState(first.cfg.StateDir, identity.State{
		Role: identity.Primary, Epoch: 1, Leader: names[0], Pair: "pair-test", Name: names[0],
	}))
	first.start()
	for _, name := range names[1:] {
		m := c.nodes[name]
		m.cfg.Node.Peer = first.cfg.Node.Listen
		token, _, err := id.Invite(time.Hour)
		c.must(err)
		_, _, err = identity.Enrol(t.Context(), identity.Enrolment{
			StateDir: m.cfg.StateDir, Address: m.cfg.Node.Peer, Token: token, Name: name, Listen: m.cfg.Node.Listen,
		}, time.Now)
		c.must(err)
		c.must(identity.SaveState(m.cfg.StateDir, identity.State{Role: identity.Mirror, Pair: "pair-test", Name: name}))
		m.start()
	}
	first.write("u/Maildir/cur/first.M1P1.host:2,S", "Subject: first\n\nbody\n")
	first.inSync()
	return c
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (c *cluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// start runs the node until stop is called.
func (m *testNode) start() {
	t := m.c.t
	t.Helper()
	ready := make(chan struct{})
	n, err := newNode(m.cfg, Options{
		Log:   hclog.New(&hclog.LoggerOptions{Name: m.cfg.Node.Name, Level: hclog.Info, Output: t.Output()}),
		Clock: systemClock{}, Ready: func() { close(ready) }, Hook: m.hook,
	})
	m.c.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- errors.Join(n.run(ctx), n.catalog.Close()) }()
	m.n = n
	m.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s ended: %v", m.cfg.Node.Name, err)
		}
	})
	t.Cleanup(m.stop)
	select {
	case <-ready:
	case err := <-done:
		done <- err
		t.Fatalf("%s did not start: %v", m.cfg.Node.Name, err)
	case <-time.After(patience):
		t.Fatalf("%s did not start in time", m.cfg.Node.Name)
	}
}

func (m *testNode) hook(_ context.Context, e HookEvent) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hooks = append(m.hooks, fmt.Sprintf("%s %s %s %d", e.Event, e.Phase, e.Peer, e.Epoch))
	return m.fail[e.Event+" "+e.Phase]
}

func (m *testNode) ran() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.hooks)
}

func (m *testNode) write(path, content string) {
	full := filepath.Join(m.cfg.Store.Path, path)
	temp := filepath.Join(m.cfg.Store.Path, "..mailtwin-test")
	m.c.must(os.MkdirAll(filepath.Dir(full), 0o700))
	m.c.must(os.WriteFile(temp, []byte(content), 0o600))
	m.c.must(os.Rename(temp, full))
}

func (m *testNode) has(path string) bool {
	_, err := os.Stat(filepath.Join(m.cfg.Store.Path, path))
	return err == nil
}

// until waits for a status.
func (m *testNode) until(what string, ok func(status.Document) bool) status.Document {
	m.c.t.Helper()
	late := time.After(patience)
	for {
		changed := m.n.server.Next()
		d := m.n.Status()
		if ok(d) {
			return d
		}
		select {
		case <-changed:
		case <-time.After(50 * time.Millisecond):
		case <-late:
			m.c.t.Fatalf("%s is not %s: %s: %s\n%+v", d.Name, what, d.State, d.Detail, d)
		}
	}
}

// inSync waits until all mirrors of the primary have everything.
func (m *testNode) inSync() {
	m.c.t.Helper()
	mirrors := 0
	for _, o := range m.c.nodes {
		if o.n != nil && o.n.state().Role == identity.Mirror {
			mirrors++
		}
	}
	m.until("in sync", func(d status.Document) bool {
		connected := 0
		for _, i := range d.Mirrors {
			if i.Connected && i.State == status.InSync {
				connected++
			}
		}
		return connected >= mirrors && d.Store.State == "watching"
	})
}

// equal waits until two stores hold the same.
func (m *testNode) equal(o *testNode) {
	m.c.t.Helper()
	late := time.After(patience)
	for {
		ours, theirs := m.tree(), o.tree()
		if ours == theirs {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-late:
			m.c.t.Fatalf("%s has\n%s\n%s has\n%s", m.cfg.Node.Name, ours, o.cfg.Node.Name, theirs)
		}
	}
}

// tree lists what mail a store has.
func (m *testNode) tree() string {
	var b strings.Builder
	err := filepath.WalkDir(m.cfg.Store.Path, func(path string, d fs.DirEntry, err error) error {
		if err != nil || strings.HasPrefix(d.Name(), "..mailtwin") {
			if d != nil && d.IsDir() && err == nil {
				return fs.SkipDir
			}
			return err
		}
		rel, _ := filepath.Rel(m.cfg.Store.Path, path)
		content, _ := os.ReadFile(path) // of a directory there is none
		fmt.Fprintf(&b, "%s %q\n", rel, content)
		return nil
	})
	if err != nil {
		return err.Error()
	}
	return b.String()
}

// promote makes a mirror the primary by the steps that are its own.
func (m *testNode) promote() {
	m.c.t.Helper()
	ctx, cancel := context.WithTimeout(m.c.t.Context(), patience)
	defer cancel()
	own := identity.Claim{Epoch: m.n.state().Epoch + 1, Name: m.cfg.Node.Name}
	a, err := m.n.promise(own)
	if err == nil && !a.Granted {
		err = errors.New(a.Why)
	}
	m.c.must(err)
	_, err = m.n.stopFollowing(ctx)
	m.c.must(err)
	m.c.must(m.n.prepareJournal(own.Epoch))
	m.c.must(m.n.raise(own.Epoch))
	m.c.must(stage{m.n}.Open(ctx))
}

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
	head := mx1.n.current()
	_ = head
	mx1.start()
	d = mx1.until("fenced", func(d status.Document) bool { return d.Role == "fenced" && d.Journal != nil })
	if d.State != status.Attention || !strings.Contains(d.Detail, "mx2 is primary since epoch 2") {
		t.Errorf("%s: %s", d.State, d.Detail)
	}
	if log, err := mx1.n.Journal(); err != nil || log.Head().Epoch != 1 {
		t.Errorf("its journal: %v", err)
	} else if _, err := log.Append(); err != nil {
		t.Error(err)
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
	if _, err := part.journal.Append(); err != nil {
		t.Error(err)
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
	if again, err := client.Seal(t.Context(), pairing.SealOrder{Claim: claim}, func(string) {}); again != sealed || err != nil {
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
	if got := mx1.ran(); len(got) != 6 || got[3] != "promote after mx2 1" {
		t.Errorf("hooks %q", got)
	}
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
