package mirror

import (
	"slices"
	"time"

	"github.com/mailtwin/mailtwin/replicator/wire"
)

const (
	// fewEntries is up to how many entries of one batch go before a group that
	// waits. More of them are no single deliveries, and one sync of everything is
	// cheaper than another one for them alone.
	fewEntries = 64
	// passedLimit is how long after entries went before a group for the first time
	// it is committed right behind them, so that it does not wait for ever where
	// mail comes steadily.
	passedLimit = 200 * time.Millisecond
)

// mayWait reports whether entries may be committed before the group: it has only
// contents and listings of a comparison, which take long to be made durable
// together, and nothing that may have to do with the entries, or is owed by one
// that came before.
func (k *committer) mayWait(g *group, entries []wire.Entry) bool {
	if len(g.changes) == 0 || g.entries > 0 || g.position.Sequence > 0 || len(entries) > fewEntries {
		return false // or the position would go back with the group
	}
	for _, c := range g.changes {
		if c.answers != nil && k.resync.isOwed(c.answers) {
			return false
		}
	}
	for i := range entries {
		if lacksContent(&entries[i]) || k.concerns(g, &entries[i]) {
			return false
		}
	}
	return true
}

// concerns reports whether a change of the group concerns an entry.
func (k *committer) concerns(g *group, e *wire.Entry) bool {
	concern := concernOf(e, k.m.cfg.Rules)
	return slices.ContainsFunc(g.changes, func(c *change) bool { return concern.with(c.Path) || concern.with(c.From) })
}

// joinsEntries reports whether an answer is committed together with the entries
// that came before it, because one of them owes it; or each of thousands that an
// absence has left would take a commit of its own. One that may become a further
// name of a file does not: it has to find that file as the entries leave it.
func (r *resync) joinsEntries(a *arrived) bool {
	if a == nil || a.end.Link != 0 {
		return false
	}
	w := r.inFlight[a.transfer]
	return w != nil && len(w.names) == 0 && r.isOwed(w)
}

// isOwed reports whether an entry owes a content, or may do so since an earlier
// stream.
func (r *resync) isOwed(w *want) bool {
	d := &r.k.debts
	return w.owed || d.has(w.path) || w.round && d.floor+d.next > 0
}

// takeBefore commits entries, and all that have come up behind them and may as
// well, before the group, which then goes on to wait for more.
func (k *committer) takeBefore(s step) error {
	waiting := k.group
	k.group = group{}
	for more := true; more; {
		if err := k.take(s); err != nil {
			return err
		}
		if s, more = k.nextEntries(); more {
			if more = !k.group.full() && k.mayWait(&waiting, s.entries.Entries); more {
				k.lanes.live = nil
			}
		}
	}
	if err := k.commit(); err != nil {
		return err
	}
	k.group = waiting
	now := k.m.cfg.Now()
	if k.group.passed.IsZero() {
		k.group.passed = now
	}
	if now.Sub(k.group.passed) >= passedLimit {
		return k.commit()
	}
	return nil
}
