package replicator

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/journal/vfs"
	"github.com/mailtwin/mailtwin/journal/watch"
	"github.com/mailtwin/mailtwin/replicator/atomicfile"
	"github.com/mailtwin/mailtwin/replicator/failover"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/mirror"
	"github.com/mailtwin/mailtwin/replicator/pairing"
	"github.com/mailtwin/mailtwin/replicator/salvage"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// The names of journals in the state directory.
const (
	journalDir    = "journal"
	newJournalDir = "journal.new" // is being made
	oldJournalDir = "journal.old" // is being removed
)

// What follows is what a mirror is promoted with, step by step. Until raise
// nothing of it binds the node: it can resume to follow, and after a crash it
// does.

// follower returns the part of a node that is a mirror.
func (n *node) follower() (*mirrorPart, error) {
	p, ok := n.current().(*mirrorPart)
	if !ok {
		return nil, refuse("", "%s is not a mirror now, but %s", n.id.Name(), n.state().Role)
	}
	return p, nil
}

// standing tells where the mirror stands, also while it follows.
func (n *node) standing() (mirror.Standing, error) {
	p, err := n.follower()
	if err != nil {
		return mirror.Standing{}, err
	}
	return p.mirror.Standing()
}

// stopFollowing ends the mirror's stream when all that has arrived is applied
// and durable, and tells where it stands then. The node stays a mirror that
// follows nobody, until it is raised or resumes.
func (n *node) stopFollowing(ctx context.Context) (mirror.Standing, error) {
	p, err := n.follower()
	if err != nil {
		return mirror.Standing{}, err
	}
	if err := p.pause(ctx); err != nil {
		return mirror.Standing{}, err
	}
	return p.mirror.Standing()
}

// resumeFollowing lets a mirror that has stopped follow again.
func (n *node) resumeFollowing() {
	if p, err := n.follower(); err == nil {
		p.resume()
	}
}

// prepareJournal makes the journal that the node will write as primary of an
// epoch, behind the place at which it has stopped to follow, durably. To do it
// again makes it anew.
func (n *node) prepareJournal(epoch journal.Epoch) error {
	p, err := n.follower()
	if err != nil {
		return err
	}
	if !p.paused() {
		return refuse("", "%s follows its primary still", n.id.Name())
	}
	s, err := p.mirror.Standing()
	if err != nil {
		return err
	}
	after, err := beginning(s)
	if err != nil {
		return err
	}
	if err := salvage.SaveReign(n.salvageDir(), reign(epoch, after, s)); err != nil {
		return err
	}
	fresh := filepath.Join(n.cfg.StateDir, newJournalDir)
	if err := remake(fresh); err != nil {
		return err
	}
	log, err := journal.Create(vfs.OS(), fresh, after, n.journalOptions(epoch))
	if err != nil {
		return err
	}
	err = n.keepFor(log, after)
	if cerr := log.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("close the new journal: %w", cerr)
	}
	if err != nil {
		return err
	}
	return n.installJournal(fresh)
}

// reign says how a mirror becomes primary of an epoch. What it has assumed to be the
// primary's, by name and size, it did not have for certain.
func reign(epoch journal.Epoch, after journal.Position, s mirror.Standing) salvage.Reign {
	return salvage.Reign{Epoch: epoch, Start: after, Whole: s.Whole && s.Totals.Missing == 0 && s.Totals.Guessed == 0}
}

// reigns returns the promotions that the store of a primary has behind it, oldest first.
// A node that was never promoted was the first primary, or did not become one by that.
func (n *node) reigns(own *salvage.Reign) (all []wire.Reign, err error) {
	err = n.catalog.View(func(t *catalog.Tx) (err error) {
		all, err = mirror.Reigns(t)
		return err
	})
	if own.Epoch > 1 {
		all = slices.DeleteFunc(all, func(r wire.Reign) bool { return r.Epoch >= own.Epoch })
		all = append(all, wire.Reign{Epoch: own.Epoch, Start: own.Start, Whole: own.Whole})
	}
	return all, err
}

// keepFor has a new journal kept, within its limits, for all nodes that are
// known, from its beginning on: the former primary, when it comes back, must find
// what was removed meanwhile, or it would bring that back.
func (n *node) keepFor(log *journal.Log, from journal.Position) error {
	for _, p := range n.peers.All() {
		if err := log.SetCursor(p.Name, from); err != nil {
			return fmt.Errorf("keep the new journal for %s: %w", p.Name, err)
		}
	}
	return nil
}

// beginning returns the place that a new journal follows. What is not exactly
// the state at a place of the former history is at none of it: others that are
// there do not have the same, and have to compare.
func beginning(s mirror.Standing) (journal.Position, error) {
	after := s.Position
	if s.Exact {
		return after, nil
	}
	after.Sequence, after.Epoch = s.Applied, max(after.Epoch, s.Followed)
	if _, err := rand.Read(after.Digest[:]); err != nil {
		return after, fmt.Errorf("begin another history: %w", err)
	}
	return after, nil
}

// remake makes a directory that is empty.
func remake(dir string) error {
	err := os.RemoveAll(dir)
	if err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil {
		return fmt.Errorf("make room for a journal: %w", err)
	}
	return nil
}

// installJournal puts a journal in the place of the node's, which a mirror may
// have from the time when it was primary and does not need any more: what was in
// it and nowhere else was brought over before it became a mirror.
func (n *node) installJournal(fresh string) error {
	at, old := filepath.Join(n.cfg.StateDir, journalDir), filepath.Join(n.cfg.StateDir, oldJournalDir)
	err := os.RemoveAll(old)
	if err == nil {
		if err = os.Rename(at, old); errors.Is(err, os.ErrNotExist) {
			err = nil
		}
	}
	if err == nil {
		err = os.Rename(fresh, at)
	}
	if err == nil {
		err = atomicfile.SyncDir(n.cfg.StateDir)
	}
	if err == nil {
		err = os.RemoveAll(old)
	}
	if err != nil {
		return fmt.Errorf("put the new journal in its place: %w", err)
	}
	return nil
}

// raise makes the node the primary of an epoch that it has promised to itself:
// that is durable, and not taken back, when the state is. The node goes on to
// play the primary's part.
func (n *node) raise(epoch journal.Epoch) error {
	p, err := n.follower()
	if err != nil {
		return err
	}
	own := identity.Claim{Epoch: epoch, Name: n.id.Name()}
	_, _, err = n.decide(func(s identity.State) (identity.State, error) {
		switch {
		case s.Role != identity.Mirror || !p.paused():
			return s, refuse("", "%s has not stopped to follow", s.Name)
		case s.Promised != own || epoch <= s.Epoch:
			return s, refuse("run the command again: it makes a new claim", "the promise of epoch %d to %s does not hold any more: %v leads, %v is promised",
				epoch, s.Name, s.Leads(), s.Promised)
		}
		s.Role, s.Epoch, s.Leader, s.Promised = identity.Primary, epoch, s.Name, identity.Claim{}
		return s, nil
	})
	if err != nil {
		return err
	}
	n.opt.Log.Warn("this node is primary now", "epoch", epoch)
	return nil
}

// inherit makes the catalog of a node that was a mirror a primary's: what
// differs from it is journaled, and it begins where the journal does. That of a
// node that was primary before stays as it is.
func (n *node) inherit(log *journal.Log, root *beneath.Root) error {
	var was bool
	if err := n.catalog.View(func(t *catalog.Tx) (err error) {
		was, err = mirror.Kept(t)
		return err
	}); err != nil || !was {
		return err
	}
	at := watch.Moment{Node: n.opt.Clock.Now()}
	var err error
	if at.Store, err = mirror.StoreTime(root); err != nil {
		n.opt.Log.Warn("the store cannot be asked what time it is; it is taken for this node's", "error", err)
		at.Store = at.Node
	}
	return n.catalog.UpdateDurably(func(t *catalog.Tx) error {
		tidy, err := mirror.Tidy(t)
		if err != nil {
			return err
		}
		store, _, err := mirror.Leave(t)
		if err != nil {
			return err
		}
		t.SetPosition(log.Head())
		if !tidy {
			at = watch.Moment{}
		}
		return watch.Inherit(t, store, n.opt.Boot, at)
	})
}

// bequeath makes the catalog of a node that was primary a mirror's. Whoever made
// it a mirror knows that the catalog knows all that is in the store.
func (n *node) bequeath(st identity.State) error {
	var was bool
	if err := n.catalog.View(func(t *catalog.Tx) (err error) {
		was, err = watch.Kept(t)
		return err
	}); err != nil || !was {
		return err
	}
	return n.yield(failover.StepBequeath, func() error {
		return n.catalog.UpdateDurably(func(t *catalog.Tx) error {
			store, complete, err := watch.Leave(t)
			if err != nil || !complete {
				return err
			}
			return mirror.Enter(t, store, st.Epoch, true)
		})
	})
}

// crown tells the node at an address who is primary.
func (n *node) crown(ctx context.Context, address string) error {
	c, err := n.vigil.client(address)
	if err != nil {
		return err
	}
	p, ok := n.current().(*primaryPart)
	if !ok {
		return refuse("", "%s is not primary now", n.id.Name())
	}
	is, err := c.Crown(ctx, pairing.Crown{Claim: p.st.Leads(), Start: p.journal.Start()}, n.listen)
	if err == nil {
		n.vigil.crowned(address, is)
	}
	return err
}
