package replicator

import (
	"errors"
	"fmt"
	"strings"

	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/journal/watch"
	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/operator"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// inDoubt says what of a store is not replicated before a person has accepted it;
// "" if all is. One word accepts all of it: what a suspended store held back before
// is told beside why it is suspended.
func inDoubt(s watch.Status) string {
	var all []string
	if s.Suspended != "" {
		all = append(all, s.Suspended)
	}
	if words := status.DoubtWords(doubtsOf(s)); words != "" {
		all = append(all, words)
	}
	var rewritten []string
	for _, u := range s.Unreadable {
		if u.Rewritten {
			rewritten = append(rewritten, string(u.Path))
		}
	}
	if n := len(rewritten); n > 0 {
		all = append(all, fmt.Sprintf("%d messages were changed in place: %s", n, strings.Join(rewritten[:min(n, status.FewNames)], ", ")))
	}
	return strings.Join(all, "; ")
}

// Accept implements operator.Node. Only a primary decides what is in the store: a
// mirror has it from there. What a rejoin has kept is each node's own.
func (n *node) Accept(a operator.Accepting) (operator.Acceptable, error) {
	if a.OfKept {
		return n.acceptKept(a.Kept)
	}
	p, ok := n.current().(*primaryPart)
	if st := n.state(); !ok || st.Role != identity.Primary || st.Sealed {
		return operator.Acceptable{}, errors.New("only a primary that works can be told so: a mirror gets what lacks from its primary, " +
			"a former primary is made a mirror with `mailtwin rejoin`")
	}
	s := p.watcher.Status()
	out := operator.Acceptable{Store: inDoubt(s)}
	err := n.catalog.View(func(t *catalog.Tx) error {
		out.Missing = t.Totals().Missing
		files, err := t.Missing(missingListed)
		for _, f := range files {
			out.MissingFiles = append(out.MissingFiles, string(f))
		}
		return err
	})
	if err != nil {
		return out, err
	}
	if a.Store && out.Store != "" {
		err := p.watcher.Accept()
		if errors.Is(err, watch.ErrNothingThere) {
			err = hint.Add(err, "mount the store; if it is lost, promote the mirror with `mailtwin failover` there; if all mail is to be "+
				"removed on the mirrors too, put a directory into it first")
		}
		if err != nil {
			return out, fmt.Errorf("nothing was accepted: %w", err)
		}
		n.opt.Log.Warn("a person says that what is at the store's path is right", "before", out.Store)
	}
	if a.Missing && out.Missing > 0 {
		n.opt.Log.Warn("a person gives up the files whose content never came", "files", out.Missing)
		return out, p.watcher.GiveUp()
	}
	return out, nil
}
