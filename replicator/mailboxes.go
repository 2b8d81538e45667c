package replicator

import (
	"context"
	"errors"
	"fmt"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/journal/watch"
	"github.com/mailtwin/mailtwin/replicator/completeness"
	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// Mailboxes implements operator.Node.
func (n *node) Mailboxes(ctx context.Context, under journal.Path, limit int) (status.Mailboxes, error) {
	if limit <= 0 {
		limit = completeness.DefaultLimit
	}
	out := status.Mailboxes{Version: status.Version, Time: n.opt.Clock.Now(), Primary: n.id.Name(), Mirror: n.id.Name()}
	if under != journal.Root {
		out.Under = string(under)
	}
	var users mailstore.Users
	if pattern := n.cfg.IMAP.Users; pattern != "" {
		var err error
		if users, err = mailstore.ParseUsers(pattern); err != nil {
			return out, err
		}
	}
	other, address, err := n.counterpart()
	if err != nil {
		return out, err
	}
	conn, err := n.dialPrimary(address, nil)
	if err != nil {
		return out, err
	}
	defer func() { _ = conn.Close() }()
	primary, mirror := completeness.Own(n.catalog, n.firstScan), completeness.Of(conn)
	if out.Mirror = other; n.state().Role == identity.Mirror {
		primary, mirror = mirror, primary
		out.Primary, out.Mirror = other, n.id.Name()
	}
	if err := completeness.Compare(ctx, primary, mirror, under, users, min(limit, completeness.MaxLimit), &out); err != nil {
		return out, hint.Add(fmt.Errorf("compare the mailboxes with those of %s at %s: %w", other, address, err),
			"both nodes have to run for it; `mailtwin status` tells what this one knows by itself")
	}
	return out, nil
}

// firstScan implements completeness.FirstScan. A mirror has no scan of its own, and
// the store of a sealed node is not looked at any more.
func (n *node) firstScan() (reached journal.Path, goesOn bool, err error) {
	if st := n.state(); st.Role != identity.Primary || st.Sealed {
		return "", false, nil
	}
	if p, ok := n.current().(*primaryPart); ok { // before the catalog is asked: it has what was reached
		reached = p.watcher.Status().Reached
	}
	err = n.catalog.View(func(tx *catalog.Tx) error {
		kept, err := watch.Kept(tx)
		goesOn = !kept
		return err
	})
	if !goesOn {
		reached = ""
	}
	return reached, goesOn, err
}

// counterpart returns the other node of a comparison, and where it listens: a
// mirror's primary, or of a primary's mirrors the one that has the most.
func (n *node) counterpart() (name, address string, err error) {
	switch p := n.current().(type) {
	case *mirrorPart:
		return p.nameOf(p.mirror.Status().Primary), n.leader(), nil
	case *primaryPart:
		best := -1
		mirrors := p.server.Mirrors()
		for i := range mirrors {
			if best < 0 || mirrors[i].Files > mirrors[best].Files {
				best = i
			}
		}
		if best < 0 {
			return "", "", hint.Add(errors.New("no mirror has joined: nothing is protected"), "`mailtwin invite` joins one")
		}
		name = mirrors[best].Name
		if address = n.peers.Address(name); address == "" {
			return "", "", fmt.Errorf("where %s listens is not known", name)
		}
		return name, address, nil
	}
	return "", "", errors.New("this node is neither primary nor mirror now: `mailtwin status` says what it waits for")
}
