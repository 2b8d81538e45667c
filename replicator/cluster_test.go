package replicator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
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
	"github.com/mailtwin/mailtwin/replicator/governor"
	"github.com/mailtwin/mailtwin/replicator/identity"
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
	c     *cluster
	cfg   config.Config
	n     *node // the last one that ran
	clock Clock
	stop  func()
	log   io.Writer // nil: the test's

	mu    sync.Mutex
	hooks []string
	fail  map[string]error // hooks that fail
	slow  chan struct{}    // nil, or what demote waits for
}

// newCluster makes nodes, the first of which is primary; all run and are in
// sync.
func newCluster(t *testing.T, names ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, nodes: make(map[string]*testNode)}
	for _, name := range names {
		c.add(name)
	}
	first := c.nodes[names[0]]
	id, err := identity.Create(first.cfg.StateDir, "pair-test", names[0], time.Now)
	c.must(err)
	c.must(identity.SaveState(first.cfg.StateDir, identity.State{
		Role: identity.Primary, Epoch: 1, Leader: names[0], Pair: "pair-test", Name: names[0],
	}))
	first.start()
	for _, name := range names[1:] {
		token, _, err := id.Invite(time.Hour)
		c.must(err)
		m := c.nodes[name]
		c.must(m.join(first, token))
		m.start()
	}
	first.write("u/Maildir/cur/first.M1P1.host:2,S", "Subject: first\n\nbody\n")
	first.inSync()
	return c
}

// add makes room for one more node.
func (c *cluster) add(name string) *testNode {
	cfg := config.Default()
	cfg.StateDir, cfg.Store.Path = filepath.Join(c.t.TempDir(), name), filepath.Join(c.t.TempDir(), "store")
	cfg.Node.Name, cfg.Node.Listen = name, freeAddress(c.t)
	cfg.Pace.Profile = governor.Evacuate // no other load on the machine holds it up
	c.must(errors.Join(os.Mkdir(cfg.StateDir, 0o700), os.Mkdir(cfg.Store.Path, 0o700)))
	m := &testNode{c: c, cfg: cfg, clock: systemClock{}, fail: make(map[string]error)}
	c.nodes[name] = m
	return m
}

// join makes the node a mirror of a pair, which begins to follow when it is
// started.
func (m *testNode) join(primary *testNode, token string) error {
	m.cfg.Node.Peer = primary.cfg.Node.Listen
	_, _, err := identity.Enrol(m.c.t.Context(), identity.Enrolment{
		StateDir: m.cfg.StateDir, Address: m.cfg.Node.Peer, Token: token, Name: m.cfg.Node.Name, Listen: m.cfg.Node.Listen,
	}, time.Now)
	if err != nil {
		return err
	}
	return identity.SaveState(m.cfg.StateDir, identity.State{Role: identity.Mirror, Pair: "pair-test", Name: m.cfg.Node.Name})
}

// freeAddress returns an address that nobody else comes to: connections get
// their ports on 127.0.0.1.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", fmt.Sprintf("127.%d.%d.%d:0", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254)))
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
	log := t.Output()
	if m.log != nil {
		log = m.log
	}
	n, err := newNode(m.cfg, Options{
		Log:   hclog.New(&hclog.LoggerOptions{Name: m.cfg.Node.Name, Level: hclog.Info, Output: log}),
		Clock: m.clock, Ready: func() { close(ready) }, Hook: m.hook,
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

func (m *testNode) hook(ctx context.Context, e HookEvent) error {
	if m.slow != nil && e.Event == "demote" {
		select {
		case <-m.slow:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
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

// crownAll tells all nodes that are known who is primary, and returns who was
// told, and why others were not.
func (n *node) crownAll(ctx context.Context) (told []string, untold map[string]error) {
	untold = make(map[string]error)
	for _, p := range n.peers.All() {
		if err := n.crown(ctx, p.Address); err != nil {
			untold[p.Name] = err
			continue
		}
		told = append(told, p.Name)
	}
	return told, untold
}
