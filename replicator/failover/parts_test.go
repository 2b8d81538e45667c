package failover

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"sort"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/mailboxes"
)

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

func (o own) Unfinished() (journal.Epoch, bool, error) {
	return o.n.disk.unfinished, o.n.disk.proven, nil
}

func (o own) SetUnfinished(e journal.Epoch, proven bool) error {
	if err := o.n.w.failing("note"); err != nil {
		return err
	}
	switch {
	case e == 0:
		o.n.does(func() { o.n.disk.unfinished = 0 }, "notes that the promotion is finished")
	case proven:
		o.n.does(func() { o.n.disk.unfinished, o.n.disk.proven = e, true }, "notes that a promotion to epoch %d is begun, with all mail", e)
	default:
		o.n.does(func() { o.n.disk.unfinished, o.n.disk.proven = e, false }, "notes that a promotion to epoch %d is begun", e)
	}
	return nil
}

type follower struct{ n *testNode }

func (f follower) Following() Following {
	if f.n.unknown != "" {
		return Following{Unknown: f.n.unknown}
	}
	d := &f.n.disk
	return Following{
		Primary: d.state.Leader, Connected: f.n.leader() != nil, LastHeard: f.n.heard,
		Position: d.position, Applied: d.position.Sequence, Head: f.n.head, LagBytes: 100 * uint64(f.n.head-min(d.position.Sequence, f.n.head)),
		Observed: true, Whole: !d.partly, Missing: d.missing, MissingFiles: missingFiles(d.missing), MissingIn: missingIn(d.missing),
	}
}

func missingIn(n uint64) []mailboxes.Count {
	var tally mailboxes.Tally
	for _, p := range missingFiles(n) {
		tally.Add(mailboxes.Of(p), 1)
	}
	most, _ := tally.Most(int(n))
	return most
}

func missingFiles(n uint64) (files []journal.Path) {
	for i := range n {
		files = append(files, journal.Path(fmt.Sprintf("d/user%d/.Work/cur/%d.host:2,S", i%2, i)))
	}
	return files
}

func (f follower) Drain(_ context.Context, to journal.Position, lacking uint64, _ time.Duration) error {
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
	if late := min(f.n.late, f.n.disk.missing); f.n.disk.missing > lacking {
		f.n.disk.missing -= late
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

func (m machine) Store(context.Context) error {
	if m.n.unfit == "" {
		return nil
	}
	return errors.New(m.n.unfit)
}

func (m machine) Apart() string { return m.n.apart }

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
	return Inspection{State: l.to.disk.state, Position: l.to.disk.position, Suspended: l.to.suspended, Doubts: l.to.doubts, Now: l.to.w.now}, nil
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
		out = Sealed{Position: n.disk.position, Digest: n.digest(), Doubts: n.doubts}
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
