package failover

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/mailboxes"
)

// world is a pair, or three nodes, in memory. What a node has on its disk
// survives a crash, the rest does not. All that the real parts do is here in
// its shortest form, so that every order of crashes can be tried.
type world struct {
	nodes map[string]*testNode
	names []string
	now   time.Time

	trace  []string // what became durable, and what the mail servers did
	points int      // that were passed
	// at is told of each point: before and after each step, and around all
	// that becomes durable or travels.
	at    func(point string)
	fail  string          // the next act of this name fails
	cut   map[string]bool // "mx1 mx2": these two do not reach one another
	acked map[string]bool // mail that a client was told is safe
}

// disk is what a node keeps.
type disk struct {
	state      State
	unfinished journal.Epoch
	proven     bool
	mail       []string // in the store
	known      int      // how many of them the catalog knows: journaled or applied
	position   journal.Position
	journal    *journal.Position // where the own journal begins
	missing    uint64
	partly     bool // the initial sync is not complete
}

// testNode is a node with its daemon and its mail server.
type testNode struct {
	w    *world
	name string
	disk disk

	up        bool
	serving   bool // the primary's part runs
	server    bool // the mail server runs
	following bool
	heard     time.Time
	head      journal.Sequence
	apart     string // why its mail would get new UIDs
	unknown   string // why it does not know what it has
	suspended string // why the store cannot be observed
	unfit     string // why no mail can be served of it
	doubts    *mailboxes.Doubts
	late      uint64 // contents of those missing that come while it is drained
	promoter  *Promoter

	fenceHook, promoteHook string // "" ok, else how it fails; "none" is not set
}

// crashed ends what runs on a node that crashes.
type crashed struct{ name string }

func newWorld(names ...string) *world {
	w := &world{
		nodes: make(map[string]*testNode), names: names, now: time.Date(2026, 7, 1, 3, 0, 0, 0, time.UTC),
		at: func(string) {}, cut: make(map[string]bool), acked: make(map[string]bool),
	}
	for i, name := range names {
		n := &testNode{w: w, name: name}
		n.disk.state = State{Role: identity.Mirror, Epoch: 1, Leader: names[0]}
		n.disk.position = journal.Position{Epoch: 1}
		if i == 0 {
			n.disk.state.Role = identity.Primary
			n.disk.journal = &journal.Position{Epoch: 1}
		}
		w.nodes[name] = n
	}
	for _, name := range names {
		w.nodes[name].boot()
	}
	return w
}

// point is where a crash may happen.
func (w *world) point(format string, args ...any) {
	w.points++
	w.now = w.now.Add(time.Millisecond)
	w.at(fmt.Sprintf(format, args...))
}

// does is an act of a node that lasts. It is a point before and after.
func (n *testNode) does(act func(), format string, args ...any) {
	words := fmt.Sprintf(format, args...)
	n.w.point("before %s: %s", n.name, words)
	n.must()
	act()
	n.w.trace = append(n.w.trace, n.name+": "+words)
	n.w.point("after %s: %s", n.name, words)
	n.must()
}

// failing returns an error once, if an act of this name is to fail.
func (w *world) failing(act string) error {
	if w.fail != act {
		return nil
	}
	w.fail = ""
	return fmt.Errorf("%s: input/output error", act)
}

// must ends what runs on a node that is down.
func (n *testNode) must() {
	if !n.up {
		panic(crashed{n.name})
	}
}

func (n *testNode) crash() {
	n.up, n.serving, n.server, n.following, n.heard, n.head = false, false, false, false, time.Time{}, 0
}

// boot starts the daemon. A mail server starts with the machine only where the
// node is the primary and its promotion was finished.
func (n *testNode) boot() {
	n.up = true
	n.promoter = New(Config{
		Name: n.name, Own: own{n}, Peers: n.peers, Follower: follower{n},
		Journals: journals{n}, Hooks: hooks{n}, Stage: stageOf{n}, Machine: machine{n}, Clock: worldClock{n.w},
		Limits: DefaultLimits(),
	})
	n.vigil()
	s := n.disk.state
	switch {
	case s.Role == identity.Mirror:
		n.following = true
	case s.Role == identity.Primary && !s.Sealed:
		n.open()
		n.server = n.disk.unfinished == 0
	}
}

// vigil asks the peers, as each node does before it serves and all the time.
func (n *testNode) vigil() {
	for _, name := range n.w.names {
		peer := n.w.nodes[name]
		if name == n.name || !n.reaches(peer) {
			continue
		}
		if s := peer.disk.state; s.Role == identity.Primary {
			n.learn(s.Epoch, name)
		}
	}
}

// learn takes note that a node is the primary of an epoch.
func (n *testNode) learn(e journal.Epoch, leader string) {
	s := n.disk.state
	if !(identity.Claim{Epoch: e, Name: leader}).Beats(identity.Claim{Epoch: s.Epoch, Name: s.Leader}) {
		return
	}
	role := s.Role
	switch {
	case s.Role == identity.Primary && s.Sealed && s.Promised == e && s.To == leader:
		role = identity.Mirror
	case s.Role == identity.Primary:
		role = identity.Fenced
	}
	n.serving, n.server = false, false
	n.following = role == identity.Mirror
	n.does(func() {
		n.disk.state = State{Role: role, Epoch: e, Leader: leader, Promised: s.Promised, To: s.To}
	}, "is a %s of epoch %d, led by %s", role, e, leader)
}

// open begins the primary's part: what is in the store and not in the journal
// is found.
func (n *testNode) open() {
	n.serving = true
	n.observe()
}

func (n *testNode) observe() {
	for n.serving && n.suspended == "" && n.disk.known < len(n.disk.mail) {
		n.disk.known++
		n.disk.position = after(n.disk.state.Epoch, n.disk.position, n.disk.mail[n.disk.known-1])
	}
}

// after is the place after one more mail.
func after(e journal.Epoch, p journal.Position, mail string) journal.Position {
	h := fnv.New128a()
	_, _ = fmt.Fprint(h, p.Digest, mail)
	next := journal.Position{Epoch: e, Sequence: p.Sequence + 1}
	h.Sum(next.Digest[:0])
	return next
}

// deliver is a client that hands in a mail; false if no server takes it.
func (n *testNode) deliver(mail string) bool {
	if !n.up || !n.server {
		return false
	}
	n.disk.mail = append(n.disk.mail, mail)
	n.observe()
	n.w.acked[mail] = true
	return true
}

func (n *testNode) reaches(peer *testNode) bool {
	return n.up && peer.up && !n.w.cut[n.name+" "+peer.name] && !n.w.cut[peer.name+" "+n.name]
}

// leader returns the primary that a mirror follows, if it reaches it.
func (n *testNode) leader() *testNode {
	for _, name := range n.w.names {
		if p := n.w.nodes[name]; p != n && n.reaches(p) && p.disk.state.Role == identity.Primary && p.disk.state.Epoch >= n.disk.state.Epoch {
			return p
		}
	}
	return nil
}

// fetch applies all that the primary has, or less.
func (n *testNode) fetch(limit int) {
	p := n.leader()
	if !n.following || p == nil {
		return
	}
	n.heard, n.head = n.w.now, p.disk.position.Sequence
	n.disk.state.Epoch, n.disk.state.Leader = p.disk.state.Epoch, p.name
	if n.disk.known > p.disk.known || !slices.Equal(n.disk.mail[:n.disk.known], p.disk.mail[:n.disk.known]) {
		// It went another way: a comparison makes it equal.
		n.disk.mail, n.disk.known, n.disk.position = nil, 0, journal.Position{}
	}
	upTo := min(n.disk.known+limit, p.disk.known)
	if upTo == n.disk.known {
		return
	}
	n.disk.mail, n.disk.known = slices.Clone(p.disk.mail[:upTo]), upTo
	n.disk.position = p.place(upTo)
}

// place is the position after the first mails of the journal.
func (n *testNode) place(known int) journal.Position {
	p := journal.Position{Epoch: n.disk.position.Epoch}
	for _, m := range n.disk.mail[:known] {
		p = after(n.disk.position.Epoch, p, m)
	}
	return p
}

func (n *testNode) peers() []Peer {
	var out []Peer
	for _, name := range n.w.names {
		if name != n.name {
			out = append(out, Peer{Name: name, Address: name + ":7420", Link: link{n, n.w.nodes[name]}})
		}
	}
	return out
}

type worldClock struct{ w *world }

func (c worldClock) Now() time.Time { return c.w.now }

// attempt runs the command on a node, as a person does who agrees to what it
// says; nil, the error, or that the node crashed in the midst of it.
func (w *world) attempt(name string, force bool, tell func(Event)) (result Result, err error) {
	n := w.nodes[name]
	defer func() {
		if p := recover(); p != nil {
			c, ok := p.(crashed)
			if !ok {
				panic(p)
			}
			err = errCrash
			_ = c
		}
	}()
	n.must()
	plan, err := n.promoter.Plan(context.Background())
	if err != nil {
		return Result{}, err
	}
	return n.promoter.Run(context.Background(), Request{Confirmed: plan.Confirm(), Force: force, Reason: "a test"}, func(e Event) {
		tell(e)
		if e.Phase != Note {
			w.point("step %s %s", e.Step, e.Phase)
			n.must()
		}
	})
}

var errCrash = errors.New("the node crashed")

// check returns what is wrong once all is over: everybody is up and has asked
// its peers.
func (w *world) check() error {
	var primaries, servers []string
	for _, name := range w.names {
		n := w.nodes[name]
		if n.up && n.disk.state.Role == identity.Primary {
			primaries = append(primaries, name)
		}
		if n.server {
			servers = append(servers, name)
		}
	}
	if len(primaries) != 1 || !slices.Equal(primaries, servers) {
		return fmt.Errorf("primaries: %s; mail servers run on: %s", strings.Join(primaries, " "), strings.Join(servers, " "))
	}
	if p := w.nodes[primaries[0]]; !p.serving || p.disk.state.Sealed || p.disk.unfinished != 0 || p.disk.journal == nil {
		return fmt.Errorf("%s is the primary and does not work as one: %+v", p.name, p.disk)
	}
	return nil
}

// lost returns the mail that was acknowledged to clients and is not on the
// primary exactly once.
func (w *world) lost() (lost []string) {
	for _, name := range w.names {
		n := w.nodes[name]
		if !n.up || n.disk.state.Role != identity.Primary {
			continue
		}
		count := make(map[string]int)
		for _, m := range n.disk.mail {
			count[m]++
		}
		for m := range w.acked {
			if count[m] != 1 {
				lost = append(lost, m)
			}
		}
	}
	sort.Strings(lost)
	return lost
}
