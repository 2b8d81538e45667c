package replicator

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/pairing"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// The rhythm of the vigil.
const (
	vigilInterval = 3 * time.Second        // between two rounds, on average
	vigilPatience = 5 * time.Second        // for one round, and for the first one of a primary
	vigilSoon     = 100 * time.Millisecond // before the second round of a primary whom nobody answered; it doubles
)

// vigil asks the other nodes of the pair who is primary, now and then, so that
// a node which must not be primary any more learns it from any of them, and so
// that each knows where the others are.
type vigil struct {
	n *node

	mu      sync.Mutex
	clients map[string]*pairing.Client // by address; at most one for each peer, and one for node.peer
	heard   map[string]heard           // by address
	asking  string                     // a primary has not begun yet: the others are asked
	unasked string                     // the node began as primary though nobody answered
}

// heard is what a peer said last.
type heard struct {
	asked  time.Time // what it said is not older
	at     time.Time // zero: never
	report pairing.Report
	err    error // of the last attempt; nil: it answered
}

func newVigil(n *node) *vigil {
	v := &vigil{n: n, clients: make(map[string]*pairing.Client), heard: make(map[string]heard)}
	if n.st.Role == identity.Primary && len(v.addresses()) > 0 {
		v.asking = "the other nodes are asked who is primary"
	}
	return v
}

// unconfirmed says why it is not known whether a node that was primary when it
// ended still is; "" if it is known, or no other node is.
func (v *vigil) unconfirmed() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.asking != "" {
		return v.asking
	}
	return v.unasked
}

// confirm takes note that the node is primary by what others, or a person, say.
func (v *vigil) confirm() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asking, v.unasked = "", ""
}

// close hangs up.
func (v *vigil) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, c := range v.clients {
		_ = c.Close() // nothing was said that is not known
	}
	clear(v.clients)
}

// client returns a client of the node at an address, which stays connected. It
// is not to be closed.
func (v *vigil) client(address string) (*pairing.Client, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if c := v.clients[address]; c != nil {
		return c, nil
	}
	c, err := pairing.Dial(address, v.n.id.ClientCredentials)
	if err != nil {
		return nil, err
	}
	v.clients[address] = c
	return c, nil
}

// first asks all nodes that are known before a primary begins its work. Nobody
// may answer, for the whole rest of the pair can be down: then the node goes on,
// and says so.
func (v *vigil) first(ctx context.Context) {
	asking := v.unconfirmed()
	if asking == "" {
		return
	}
	v.n.mu.Lock()
	v.n.waiting = asking
	v.n.mu.Unlock()
	answered := v.round(ctx)
	v.mu.Lock()
	v.asking = ""
	v.mu.Unlock()
	if answered > 0 || ctx.Err() != nil {
		return
	}
	text := fmt.Sprintf("no other node answered when this one began as primary of epoch %d: whether another one was promoted is not known", v.n.state().Epoch)
	v.n.opt.Log.Warn(text)
	v.mu.Lock()
	v.unasked = text
	v.mu.Unlock()
}

// run asks until ctx ends.
func (v *vigil) run(ctx context.Context) error {
	soon := vigilSoon
	for {
		// Jitter keeps the nodes from asking each other at the same moment.
		wait := vigilInterval/2 + rand.N(vigilInterval)
		if v.unconfirmed() != "" {
			// Nodes are often started together, and the others listen in a moment.
			wait = min(wait, soon)
			soon = min(2*soon, vigilInterval)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-v.n.opt.Clock.After(wait):
		}
		v.round(ctx)
	}
}

// addresses returns where the others are: those known by name, and node.peer as
// long as it is not known who is there.
func (v *vigil) addresses() []string {
	var all []string
	for _, p := range v.n.peers.All() {
		all = append(all, p.Address)
	}
	if peer := v.n.cfg.Node.Peer; peer != "" && !slices.Contains(all, peer) {
		all = append(all, peer)
	}
	return all
}

// round asks all of them once, and returns how many answered.
func (v *vigil) round(ctx context.Context) int {
	ctx, cancel := context.WithTimeout(ctx, vigilPatience)
	defer cancel()
	addresses := v.addresses()
	v.forget(addresses)
	count := v.askAll(ctx, addresses)
	if count > 0 {
		v.confirm()
	}
	return count
}

// askAll asks the nodes at some addresses at once, which makes all nodes known
// to them that are known here, and returns how many answered.
func (v *vigil) askAll(ctx context.Context, addresses []string) int {
	answered := make([]bool, len(addresses))
	var group errgroup.Group
	for i, address := range addresses {
		group.Go(func() error {
			answered[i] = v.ask(ctx, address)
			return nil
		})
	}
	_ = group.Wait() // it has no error
	count := 0
	for _, ok := range answered {
		if ok {
			count++
		}
	}
	return count
}

// forget hangs up on those who are not known at these addresses any more.
func (v *vigil) forget(known []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for address, c := range v.clients {
		if !slices.Contains(known, address) {
			_ = c.Close()
			delete(v.clients, address)
			delete(v.heard, address)
		}
	}
}

// ask asks the node at one address, and reports whether it answered.
func (v *vigil) ask(ctx context.Context, address string) bool {
	var r pairing.Report
	asked := v.n.opt.Clock.Now()
	c, err := v.client(address)
	if err == nil {
		r, err = c.Inspect(ctx, v.n.listen, v.n.peers.All())
	}
	v.note(address, asked, r, err)
	if err != nil || r.Name == v.n.id.Name() {
		return false
	}
	if address == v.n.cfg.Node.Peer {
		// The operator says where that node is, and it has answered there.
		if err := v.n.peers.Set(identity.Peer{Name: r.Name, Address: address}); err != nil {
			v.n.problem(err.Error())
		}
	}
	v.n.meet(r.Peers...)
	v.n.noteModseq(r.Modseq)
	v.met(ctx, r, address)
	return true
}

// note remembers what a node said, and logs when it falls silent or speaks again.
func (v *vigil) note(address string, asked time.Time, r pairing.Report, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	v.mu.Lock()
	h, known := v.heard[address]
	changed := !known || (h.err == nil) != (err == nil)
	if h.err = err; err == nil {
		h.asked, h.at, h.report = asked, v.n.opt.Clock.Now(), r
	}
	v.heard[address] = h
	v.mu.Unlock()
	switch {
	case !changed:
	case err != nil:
		v.n.opt.Log.Info("a node of the pair does not answer", append([]any{"address", address, "error", err}, remedy(err)...)...)
	default:
		v.n.opt.Log.Info("a node of the pair answers", "name", r.Name, "address", address, "role", r.Role, "leads", r.Leads)
	}
}

// remedy is what to do about an error, for the log; nothing if that is not known.
func remedy(err error) []any {
	if h := hint.Of(err); h != "" {
		return []any{"hint", h}
	}
	return nil
}

// lastOf returns what the node of a name said last, and when it was asked; zero
// if it never answered.
func (v *vigil) lastOf(name string) (r pairing.Report, asked time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, h := range v.heard {
		if h.report.Name == name && h.asked.After(asked) {
			r, asked = h.report, h.asked
		}
	}
	return r, asked
}

// crowned notes what the node at an address is since it was told who is primary.
func (v *vigil) crowned(address string, is pairing.Crowned) {
	v.mu.Lock()
	defer v.mu.Unlock()
	h := v.heard[address]
	h.at, h.err = v.n.opt.Clock.Now(), nil
	h.report.Role, h.report.Leads = is.Role, is.Leads
	v.heard[address] = h
}

// met acts on what a node said: whoever knows of a primary that beats ours has
// followed it or was told by itself; and one that does not know ours is told.
func (v *vigil) met(ctx context.Context, r pairing.Report, address string) {
	st := v.n.state()
	if r.Leads.Beats(st.Leads()) {
		crown := pairing.Crown{Claim: r.Leads}
		if r.Role == identity.Primary {
			crown.Address, crown.Start = address, r.Start
		}
		if _, err := v.n.learn(crown, r.Name); err != nil {
			v.n.opt.Log.Error("that another node is primary cannot be noted", "error", err)
		}
		return
	}
	if st.Role == identity.Primary && st.Leads().Beats(r.Leads) {
		if err := v.n.crown(ctx, address); err != nil && ctx.Err() == nil {
			v.n.opt.Log.Warn("a node cannot be told who is primary", "name", r.Name, "error", err)
		}
	}
}

// describe adds the other nodes to the status.
func (v *vigil) describe(d *status.Document) {
	peers := v.n.peers.All()
	v.mu.Lock()
	defer v.mu.Unlock()
	d.Unasked = v.unasked
	for _, p := range peers {
		h := v.heard[p.Address]
		out := status.Peer{Name: p.Name, Address: p.Address, Answers: h.err == nil && !h.at.IsZero()}
		if !h.at.IsZero() {
			out.LastHeard, out.Role, out.Epoch = &h.at, string(h.report.Role), uint64(h.report.Leads.Epoch)
		}
		if h.err != nil {
			out.Problem = h.err.Error()
		}
		d.Peers = append(d.Peers, out)
	}
	slices.SortFunc(d.Peers, func(a, b status.Peer) int { return strings.Compare(a.Name, b.Name) })
}
