package replicator

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/watch"
	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
	"github.com/mailtwin/mailtwin/replicator/operator"
	"github.com/mailtwin/mailtwin/replicator/salvage"
)

// salvageDir is where the node keeps what it needs for salvages.
func (n *node) salvageDir() string { return filepath.Join(n.cfg.StateDir, "salvage") }

// Rejoin implements operator.Rejoiner: salvage, then mirror. It can be done
// again after it broke off anywhere: the node is a mirror when the state says
// so, durably, which is the last step.
func (n *node) Rejoin(ctx context.Context, opt operator.RejoinOptions, tell operator.RejoinTeller) (operator.RejoinResult, error) {
	var result operator.RejoinResult
	if !n.rejoining.TryLock() {
		return result, errors.New("another rejoin is going on")
	}
	defer n.rejoining.Unlock()
	st := n.state()
	if st.Role != identity.Fenced {
		return result, refuse("only a former primary that is fenced can rejoin", "%s is %s of epoch %d", st.Name, st.Role, st.Epoch)
	}
	// Without its journal nothing tells what was expunged from what never came.
	p, err := awaitPart(ctx, n, identity.Fenced, func(*fencedPart) bool { return true })
	if err != nil {
		return result, err
	}
	select {
	case <-p.opened:
	case <-ctx.Done():
		return result, fmt.Errorf("the journal is being opened: %w", context.Cause(ctx))
	}
	if !opt.List {
		if err := p.stopMail(ctx, opt.Force, tell); err != nil {
			return result, err
		}
	}
	result.Summary, err = n.salvage(ctx, p, st, opt, tell)
	if err != nil || opt.List {
		return result, err
	}
	if err := p.stopMail(ctx, opt.Force, tell); err != nil {
		return result, err // it has run again since the beginning
	}
	_, is, err := n.decide(func(s identity.State) (identity.State, error) {
		if s.Role != identity.Fenced || s.Leads() != st.Leads() {
			return s, refuse("run the command again", "%v leads by now", s.Leads())
		}
		s.Role = identity.Mirror
		return s, nil
	})
	result.Mirror = err == nil && is.Role == identity.Mirror
	return result, err
}

// salvage hands over what was never replicated, and then makes the catalog say what is
// in the store.
func (n *node) salvage(ctx context.Context, p *fencedPart, st identity.State, opt operator.RejoinOptions, tell operator.RejoinTeller) (sum salvage.Summary, err error) {
	address := n.peers.Address(st.Leader)
	if address == "" {
		return sum, refuse("start the new primary, and wait until `mailtwin status` names it", "where %s is primary is not known yet", st.Leads())
	}
	if err := tell.Step(fmt.Sprintf("asking %s at %s what it has", st.Leader, address)); err != nil {
		return sum, err
	}
	root, err := beneath.Open(n.cfg.Store.Path)
	if err != nil {
		return sum, fmt.Errorf("open the store: %w", err)
	}
	defer func() { _ = root.Close() }()
	conn, err := n.dialPrimary(address, nil)
	if err != nil {
		return sum, hint.Add(err, "is it running, and can it be reached from here?")
	}
	defer func() { _ = conn.Close() }()
	keep := &keeper{RejoinTeller: tell, n: n}
	if !opt.List {
		tell = keep
	}
	cfg := n.salvageOf(ctx, p, st, root, opt, tell)
	if cfg.Again, err = n.rejoinBegun(cfg.Reign, st.Epoch); err != nil {
		return sum, err
	}
	cfg.Begin = func() error { return n.beginRejoin(cfg.Reign, st.Epoch) }
	cfg.Seen = salvage.NewSeen(cfg.Dir)
	defer cfg.Seen.Close()
	sum, err = salvage.Run(ctx, cfg, conn)
	if nerr := keep.note(cfg.Reign); err == nil && nerr != nil {
		err = fmt.Errorf("note what was kept: %w", nerr)
	}
	if err != nil || opt.List {
		return sum, err
	}
	if err := tell.Step("taking stock of the store"); err != nil {
		return sum, err
	}
	if err := n.takeStockOfFenced(ctx, p, root, cfg.Seen); err != nil {
		return sum, fmt.Errorf("take stock of the store: %w", err)
	}
	return sum, nil
}

// takeStockOfFenced makes the catalog of a fenced node say what is in its store.
func (n *node) takeStockOfFenced(ctx context.Context, p *fencedPart, root *beneath.Root, seen *salvage.Seen) error {
	log, err := p.log()
	if err != nil {
		log = nil // the salvage has told why
	}
	unwritten, err := watch.FindUnwritten(n.catalog, log, n.opt.Boot, n.opt.Clock.Now())
	if err != nil {
		return err
	}
	return n.takeStock(ctx, root, unwritten, seen)
}

// salvageOf puts together the salvage of a fenced node.
func (n *node) salvageOf(ctx context.Context, p *fencedPart, st identity.State, root *beneath.Root,
	opt operator.RejoinOptions, tell operator.RejoinTeller) salvage.Config {
	log, err := p.log()
	if err == nil {
		err = watch.Replay(ctx, n.catalog, log)
	}
	reign := salvage.LastReign(n.salvageDir())
	if err != nil {
		n.opt.Log.Warn("the journal cannot tell what was replicated", "error", err)
		log = nil
	} else {
		reign = max(reign, log.Head().Epoch) // it may have journaled nothing, or taken back its role
	}
	return salvage.Config{
		Name: n.id.Name(), Root: root, Catalog: n.catalog, Journal: log, Rules: mailstore.Maildir{},
		Log: n.opt.Log.Named("salvage"), Now: n.opt.Clock.Now, Epoch: st.Epoch, Reign: reign,
		Dir: n.salvageDir(), LookOnly: opt.List, Subjects: opt.Subjects, Report: tell.Line,
	}
}

var _ operator.Rejoiner = (*node)(nil)
