package replicator

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
	"github.com/mailtwin/mailtwin/replicator/operator"
	"github.com/mailtwin/mailtwin/replicator/salvage"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// metaKept holds, in the catalog, what rejoins of this node have kept and no person has
// seen to: JSON of []kept, the oldest first. It stays whatever role the node has next.
const metaKept = "rejoin.kept"

const (
	// maxKept is how many rejoins are remembered.
	maxKept = 64
	// maxKeptLogged is how many messages of one rejoin are named in the log.
	maxKeptLogged = 1000
)

// kept is what rejoins have kept in one history.
type kept struct {
	Reign    journal.Epoch `json:"reign"` // the history's
	Messages uint64        `json:"messages"`
}

// keeper passes on what a rejoin tells, and logs and counts what it keeps and a person
// has to look at. What was removed on the new primary is logged alone: its owner wanted
// that.
type keeper struct {
	operator.RejoinTeller
	n        *node
	messages uint64
	logged   int
}

// Line implements operator.RejoinTeller.
func (k *keeper) Line(l salvage.Line) error {
	if l.Change != salvage.ChangeControl && (l.Kept || l.Outcome == salvage.OutcomeExpunged) {
		if l.Kept {
			k.messages++
		}
		if k.logged++; k.logged <= maxKeptLogged {
			k.n.opt.Log.Warn("a message stays in the history of this node", "path", string(l.Path), "outcome", l.Outcome, "bytes", l.Size, "detail", l.Detail)
		}
	}
	return k.RejoinTeller.Line(l)
}

// note notes durably what was kept under a reign. A rejoin that is done again finds some
// of it, or all.
func (k *keeper) note(reign journal.Epoch) error {
	if k.logged > maxKeptLogged {
		k.n.opt.Log.Warn("more messages stay in the history of this node", "more", k.logged-maxKeptLogged)
	}
	if k.messages == 0 {
		return nil
	}
	return k.n.catalog.UpdateDurably(func(t *catalog.Tx) error {
		var all []kept
		if err := t.MetaJSON(metaKept, &all); err != nil {
			return err
		}
		now := kept{reign, k.messages}
		if i := slices.IndexFunc(all, func(a kept) bool { return a.Reign == reign }); i >= 0 {
			now.Messages = max(now.Messages, all[i].Messages)
			all = slices.Delete(all, i, i+1)
		}
		all = append(all, now)
		return t.SetMetaJSON(metaKept, all[max(0, len(all)-maxKept):])
	})
}

// unseenKept returns what rejoins have kept and nobody has seen to. What is gone from the
// store was seen to.
func (n *node) unseenKept() (all []kept, err error) {
	if err := n.catalog.View(func(t *catalog.Tx) error { return t.MetaJSON(metaKept, &all) }); err != nil {
		return nil, fmt.Errorf("read what was kept: %w", err)
	}
	return slices.DeleteFunc(all, func(k kept) bool { return !n.keeps(mailstore.History(k.Reign)) }), nil
}

// keptWords says what that is; "" for nothing.
func keptWords(all []kept) string {
	if len(all) == 0 {
		return ""
	}
	var messages uint64
	var places []string
	for _, k := range all {
		messages += k.Messages
		places = append(places, string(mailstore.History(k.Reign)))
	}
	return fmt.Sprintf("%d messages that this node had alone could not be delivered when it rejoined, or may have been removed elsewhere: "+
		"they are in %s, and the log names them; bring over what is missed, then say `mailtwin accept kept --yes`", messages, strings.Join(places, ", "))
}

func (n *node) describeKept(d *status.Document) {
	all, err := n.unseenKept()
	if d.Kept = keptWords(all); err != nil {
		d.Kept = err.Error()
	}
}

// acceptKept tells what was kept, and with yes forgets just that: a person has seen to it.
// The histories stay where they are.
func (n *node) acceptKept(yes bool) (operator.Acceptable, error) {
	seen, err := n.unseenKept()
	words := keptWords(seen)
	if err != nil || words == "" || !yes {
		return operator.Acceptable{Kept: words}, err
	}
	n.opt.Log.Warn("a person has seen to what was kept", "kept", words)
	defer n.server.Changed()
	if err := n.catalog.UpdateDurably(func(t *catalog.Tx) error {
		var all []kept
		if err := t.MetaJSON(metaKept, &all); err != nil {
			return err
		}
		return t.SetMetaJSON(metaKept, slices.DeleteFunc(all, func(k kept) bool { return slices.Contains(seen, k) }))
	}); err != nil {
		return operator.Acceptable{}, errors.Join(errors.New("nothing was accepted"), err)
	}
	return operator.Acceptable{Kept: words}, nil
}
