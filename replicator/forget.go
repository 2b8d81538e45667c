package replicator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/operator"
	"github.com/mailtwin/mailtwin/replicator/primary"
)

// openForgotten reads who was forgotten, and sees to it that nobody of them is
// known as a peer: a crash may have come between the two.
func openForgotten(stateDir string, peers *identity.Peers) (*identity.Forgotten, error) {
	forgotten, err := identity.OpenForgotten(stateDir)
	if err != nil {
		return nil, err
	}
	for _, g := range forgotten.All() {
		if g.Again {
			continue
		}
		if err := peers.Remove(g.Name); err != nil {
			return nil, err
		}
	}
	return forgotten, nil
}

// dropForgotten takes the places of nodes that are gone out of a journal that was
// just opened: they may have been forgotten while another node was primary.
func (n *node) dropForgotten(log *journal.Log) error {
	for _, c := range log.Cursors() {
		if !n.forgotten.Gone(c.Name) {
			continue
		}
		if err := log.DropCursor(c.Name); err != nil {
			return err
		}
	}
	return nil
}

// hear notes which nodes another one knows to be forgotten.
func (n *node) hear(list []identity.Forgetting) {
	for _, g := range list {
		g.Address = n.peers.Address(g.Name) // what is set here may lead there
		news, err := n.forgotten.Hear(g, n.opt.Clock.Now())
		if err == nil && news && !g.Again {
			n.opt.Log.Warn("a node of the pair was forgotten", "name", g.Name, "since", g.Since)
			err = n.peers.Remove(g.Name)
		}
		if err != nil {
			n.problem(err.Error())
		}
	}
}

// After implements identity.Host.
func (n *node) After(name string) time.Time {
	g, _ := n.forgotten.Of(name)
	return g.Since
}

// peerSetting is node.peer, unless a node was there that is gone.
func (n *node) peerSetting() string {
	if peer := n.cfg.Node.Peer; !n.forgotten.Was(peer) {
		return peer
	}
	return ""
}

// requireMember returns the name of the node that calls, unless it was forgotten.
// Such a one comes again and again: the log has a line for each reason once.
func (n *node) requireMember(ctx context.Context) (string, error) {
	name, err := n.forgotten.RequireMember(ctx, n.id, n.opt.Clock.Now())
	if errors.Is(err, identity.ErrForgotten) {
		text := err.Error()
		n.mu.Lock()
		same := text == n.turnedAway
		n.turnedAway = text
		n.mu.Unlock()
		if !same {
			n.problem("a node was turned away: " + text)
			n.opt.Log.Warn("a node was turned away", "name", name, "error", err)
		}
	}
	return name, err
}

// Forget implements operator.Node. The order is that in which a crash does least
// harm: who is not let in any more sets no cursor again.
func (n *node) Forget(ctx context.Context, name string, agreed bool) (operator.Forgettable, error) {
	p, err := n.mayForget(name)
	if err != nil {
		return operator.Forgettable{}, err
	}
	out, err := p.forgettable(name)
	if err != nil {
		return out, err
	}
	connected := func(m primary.MirrorState) bool { return m.Name == name && m.Connected }
	if slices.ContainsFunc(p.server.Mirrors(), connected) || n.answers(ctx, name, out.Address) {
		return out, hint.Add(fmt.Errorf("%s is there now, and protects the mail: it was not forgotten", name),
			"if it is really to go, end its daemon for good first")
	}
	if !agreed {
		return out, nil
	}
	if err := n.forgotten.Forget(name, out.Address, n.opt.Clock.Now()); err != nil {
		return out, err
	}
	if err := n.peers.Remove(name); err != nil {
		return out, err
	}
	if err := p.server.Expel(ctx, name); err != nil {
		return out, fmt.Errorf("%s has a stream that does not end: give the command again: %w", name, err)
	}
	if err := p.journal.DropCursor(name); err != nil {
		return out, fmt.Errorf("the journal still keeps a place for %s: give the command again: %w", name, err)
	}
	out.Forgotten = true
	n.opt.Log.Warn("a person says that a node does not come back: it is forgotten", "name", name, "address", out.Address)
	n.server.Changed()
	// Who is promoted next must know it too. Who does not answer now hears of it later.
	ctx, cancel := context.WithTimeout(ctx, tellPatience)
	defer cancel()
	n.vigil.askAll(ctx, n.vigil.addresses())
	return out, nil
}

// answers reports whether the node of a name answers now, where it was.
func (n *node) answers(ctx context.Context, name, address string) bool {
	if address == "" {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, tellPatience)
	defer cancel()
	before := n.opt.Clock.Now()
	n.vigil.ask(ctx, address)
	_, asked := n.vigil.lastOf(name)
	return !asked.Before(before)
}

// mayForget returns the part of a primary that works, if name can be forgotten at all.
func (n *node) mayForget(name string) (*primaryPart, error) {
	p, ok := n.current().(*primaryPart)
	st := n.state()
	switch {
	case st.Role != identity.Primary:
		return nil, hint.Add(fmt.Errorf("this node is %s: %v leads", st.Role, st.Leads()), "give the command on the primary")
	case st.Sealed:
		return nil, fmt.Errorf("this node is sealed for %v: give the command there, when that is primary", st.Promised)
	case !ok:
		return nil, errors.New("the node is still starting")
	case name == n.id.Name():
		return nil, hint.Add(fmt.Errorf("%s is this node, the primary: it cannot forget itself", name), "name a mirror; `mailtwin status` lists them")
	}
	return p, nil
}

// forgettable tells what there is of a node, or that nothing is.
func (p *primaryPart) forgettable(name string) (operator.Forgettable, error) {
	out := operator.Forgettable{Name: name, Address: p.n.peers.Address(name)}
	known := []string{}
	for _, peer := range p.n.peers.All() {
		known = append(known, peer.Name)
	}
	for _, c := range p.journal.Cursors() {
		known = append(known, c.Name)
		if c.Name != name {
			out.Mirrors++
			continue
		}
		out.Journal, out.Sequence = true, uint64(c.Position.Sequence)
		out.Entries = uint64(p.journal.Head().Sequence - min(c.Position.Sequence, p.journal.Head().Sequence))
	}
	if slices.Contains(known, name) {
		return out, nil
	}
	if g, ok := p.n.forgotten.Of(name); ok && !g.Again {
		return out, fmt.Errorf("%s was forgotten already, at %s", name, g.Since.UTC().Format("2006-01-02 15:04:05 MST"))
	}
	slices.Sort(known)
	others := "no other node is"
	if known = slices.Compact(known); len(known) > 0 {
		others = "known are " + strings.Join(known, ", ")
	}
	return out, fmt.Errorf("no node of the pair with the name %q is known: %s", name, others)
}
