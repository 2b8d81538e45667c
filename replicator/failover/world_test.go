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
	suspended string // why the store cannot be observed
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

// own is the durable state of a node, by the rules of claims.
type own struct{ n *testNode }

func (o own) State() State { return o.n.disk.state }

func (o own) Claim(e journal.Epoch) error {
	if err := o.n.w.failing("claim"); err != nil {
		return err
	}
	return o.n.promise(e, o.n.name)
}

// promise gives a promise, or says why not.
func (n *testNode) promise(e journal.Epoch, to string) error {
	s := n.disk.state
	switch {
	case e <= s.Epoch:
		return &RefusedError{fmt.Sprintf("%s has taken part in epoch %d", n.name, s.Epoch)}
	case s.Sealed && to != s.To && to != n.name:
		return &RefusedError{fmt.Sprintf("%s is sealed for a switchover to %s", n.name, s.To)}
	case s.Promised == e && s.To == to:
		return nil
	case (identity.Claim{Epoch: s.Promised, Name: s.To}).Beats(identity.Claim{Epoch: e, Name: to}):
		return &RefusedError{fmt.Sprintf("%s has promised epoch %d to %s", n.name, s.Promised, s.To)}
	}
	n.does(func() { n.disk.state.Promised, n.disk.state.To = e, to }, "promises epoch %d to %s", e, to)
	return nil
}

func (o own) Raise(e journal.Epoch) error {
	if err := o.n.w.failing("raise"); err != nil {
		return err
	}
	s := o.n.disk.state
	if s.Promised != e || s.To != o.n.name {
		return &RefusedError{fmt.Sprintf("%s has promised epoch %d to %s meanwhile", o.n.name, s.Promised, s.To)}
	}
	o.n.does(func() {
		o.n.disk.state = State{Role: identity.Primary, Epoch: e, Leader: o.n.name, Promised: e, To: o.n.name}
	}, "is the primary of epoch %d", e)
	return o.n.w.failing("raise at last")
}

func (o own) Unfinished() (journal.Epoch, error) { return o.n.disk.unfinished, nil }

func (o own) SetUnfinished(e journal.Epoch) error {
	if err := o.n.w.failing("note"); err != nil {
		return err
	}
	if e == 0 {
		o.n.does(func() { o.n.disk.unfinished = 0 }, "notes that the promotion is finished")
	} else {
		o.n.does(func() { o.n.disk.unfinished = e }, "notes that a promotion to epoch %d is begun", e)
	}
	return nil
}

type follower struct{ n *testNode }

func (f follower) Following() Following {
	d := &f.n.disk
	return Following{
		Primary: d.state.Leader, Connected: f.n.leader() != nil, LastHeard: f.n.heard,
		Position: d.position, Applied: d.position.Sequence, Head: f.n.head, LagBytes: 100 * uint64(f.n.head-min(d.position.Sequence, f.n.head)),
		Observed: true, Whole: !d.partly, Missing: d.missing, MissingFiles: missingFiles(d.missing),
	}
}

func missingFiles(n uint64) (files []journal.Path) {
	for i := range n {
		files = append(files, journal.Path(fmt.Sprintf("d/user%d/.Work/cur/%d.host:2,S", i%2, i)))
	}
	return files
}

func (f follower) Drain(_ context.Context, to journal.Position, _ time.Duration) error {
	if err := f.n.w.failing("drain"); err != nil {
		return err
	}
	for f.n.disk.position.Sequence < to.Sequence {
		f.n.w.point("drain")
		f.n.must()
		was := f.n.disk.known
		f.n.fetch(1)
		if f.n.disk.known == was {
			return fmt.Errorf("%w: this node is at %d of %d", ErrStalled, f.n.disk.position.Sequence, to.Sequence)
		}
	}
	return nil
}

func (f follower) Catalog() (Contents, error) {
	if err := f.n.w.failing("catalog"); err != nil {
		return Contents{}, err
	}
	return Contents{Position: f.n.disk.position, Digest: f.n.digest(), Missing: f.n.disk.missing}, nil
}

func (n *testNode) digest() (d [32]byte) {
	mail := slices.Clone(n.disk.mail[:n.disk.known])
	sort.Strings(mail)
	h := fnv.New128a()
	_, _ = fmt.Fprint(h, mail)
	h.Sum(d[:0])
	return d
}

func (f follower) Stop(context.Context) (journal.Position, error) {
	if err := f.n.w.failing("stop"); err != nil {
		return journal.Position{}, err
	}
	f.n.following = false
	return f.n.disk.position, nil
}

func (f follower) Resume() { f.n.following = true }

type journals struct{ n *testNode }

func (j journals) Create(_ journal.Epoch, at journal.Position) error {
	if err := j.n.w.failing("journal"); err != nil {
		return err
	}
	j.n.does(func() { j.n.disk.journal = &at }, "has a journal that begins after %d", at.Sequence)
	return nil
}

type stageOf struct{ n *testNode }

func (s stageOf) Open(context.Context) error {
	if err := s.n.w.failing("open"); err != nil {
		return err
	}
	s.n.w.point("open")
	s.n.must()
	if s.n.disk.journal == nil {
		return errors.New("there is no journal")
	}
	s.n.open()
	return nil
}

type machine struct{ n *testNode }

func (m machine) Space() ([]Space, error) {
	return []Space{{What: "the mail", Free: 50 << 30, Total: 100 << 30}, {What: "the journal", Free: 1 << 20, Total: 100 << 30}}, nil
}

// hooks are the operator's programs.
type hooks struct{ n *testNode }

func (h hooks) of(e HookEvent) string {
	if e == HookFence {
		return h.n.fenceHook
	}
	return h.n.promoteHook
}

func (h hooks) Set(e HookEvent) bool { return h.of(e) != "none" }

func (h hooks) Check(e HookEvent) error {
	if h.of(e) == "missing" {
		return fmt.Errorf("the %s hook does not exist", e)
	}
	return nil
}

func (h hooks) Run(_ context.Context, c Call, note func(string)) error {
	mode := h.of(c.Event)
	if mode == "none" {
		return nil
	}
	if mode == "missing" || mode == "fails" || mode == "fails "+c.Phase {
		note("hook: no")
		return fmt.Errorf("the %s hook failed", c.Event)
	}
	h.n.w.point("hook %s %s", c.Event, c.Phase)
	h.n.must()
	switch {
	case c.Event == HookFence && c.Phase == PhaseBefore && c.Peer != "":
		peer := h.n.w.nodes[c.Peer]
		h.n.does(peer.crash, "the fence hook switches %s off", c.Peer)
	case c.Event == HookPromote && c.Phase == PhaseAfter:
		h.n.does(func() { h.n.server = true }, "the mail server starts")
	}
	return nil
}

// link is what a node reaches a peer by.
type link struct{ from, to *testNode }

var errSilent = errors.New("no answer")

// ask runs f on the peer. A crash of the peer in the midst of it is no answer;
// one of the asking node goes up.
func (l link) ask(f func() error) (err error) {
	if !l.from.reaches(l.to) {
		return errSilent
	}
	defer func() {
		if p := recover(); p != nil {
			if c, ok := p.(crashed); !ok || c.name != l.to.name {
				panic(p)
			}
			err = errSilent
		}
		l.from.must()
	}()
	return f()
}

func (l link) Inspect(context.Context) (Inspection, error) {
	if !l.from.reaches(l.to) {
		return Inspection{}, errSilent
	}
	return Inspection{State: l.to.disk.state, Position: l.to.disk.position, Suspended: l.to.suspended, Now: l.to.w.now}, nil
}

func (l link) Claim(_ context.Context, o Order) error {
	return l.ask(func() error { return l.to.promise(o.Epoch, o.By) })
}

func (l link) Seal(_ context.Context, o Order, note func(string)) (out Sealed, err error) {
	err = l.ask(func() error {
		n, s := l.to, l.to.disk.state
		switch {
		case s.Role != identity.Primary:
			return &RefusedError{n.name + " is no primary"}
		case n.promoter.Busy():
			return &RefusedError{n.name + " is being promoted itself"}
		case s.Promised != o.Epoch || s.To != o.By:
			return &RefusedError{n.name + " has promised the epoch to another"}
		case n.suspended != "" && !o.Blind:
			return &RefusedError{n.name + " cannot observe its store"}
		}
		if err := n.w.failing("seal"); err != nil {
			return err
		}
		note("the mail server stops")
		n.does(func() { n.server = false }, "the mail server stops")
		n.observe()
		n.does(func() { n.disk.state.Sealed, n.serving = true, false }, "is sealed at %d for %s", n.disk.position.Sequence, o.By)
		out = Sealed{Position: n.disk.position, Digest: n.digest()}
		return nil
	})
	return out, err
}

func (l link) Unseal(_ context.Context, o Order) error {
	return l.ask(func() error {
		n, s := l.to, l.to.disk.state
		if s.Promised != o.Epoch || s.To != o.By {
			return &RefusedError{n.name + " is not sealed for this order"}
		}
		n.does(func() { n.disk.state.Sealed = false }, "is no longer sealed")
		n.open()
		n.does(func() { n.server = true }, "the mail server starts")
		return nil
	})
}

func (l link) Crown(_ context.Context, o Order) error {
	return l.ask(func() error {
		l.to.learn(o.Epoch, o.By)
		return nil
	})
}

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
