package mirror

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/ranked"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

const (
	// rankedKept is how many mailboxes are put into their order; those that are
	// of less value come with the comparison of the whole store.
	rankedKept = 1 << 16
	// fewTasks is how many directories wait, at most, when more are added.
	fewTasks = 64
	// earlyTasks is how many mailboxes are compared at one time as long as there may
	// be better ones, when no more than earlyQueue files wait to be asked for.
	earlyTasks = 4
	earlyQueue = 256
)

// survey puts the mailboxes of a store that is to be compared into the order of
// their value, which the primary knows. It goes on page by page; meanwhile those
// that the operator wants first are compared, and of the others what came
// lately, and when nothing of that is left to be asked for, the best that are known
// so far: the primary may not have looked at its store as a whole yet. Then all are
// compared in their order, each by itself, and at last the whole store, which finds
// everything else. What is equal by then costs nothing.
type survey struct {
	asked  bool   // an answer is on its way
	after  string // where the next one goes on
	over   bool   // there is none
	first  bool   // nothing else is looked at before those of the last answer
	ranked *ranked.First[wire.Mailbox]
}

func newSurvey() *survey { return &survey{ranked: ranked.NewFirst(rankedKept, compareTurns)} }

// askSurvey asks for more mailboxes when few directories wait.
func (r *resync) askSurvey() error {
	s := r.survey
	if s == nil || s.asked || s.over || s.first && len(r.todo)+len(r.asked) > 0 || len(r.todo) > fewTasks || len(r.queue) >= fetchesQueued {
		return nil
	}
	var files uint64
	if err := r.k.m.cfg.Catalog.View(func(t *catalog.Tx) error {
		totals := t.Totals()
		files = totals.Files - totals.Missing
		return nil
	}); err != nil {
		return inCatalog(err)
	}
	s.asked = true
	return r.k.c.send(wire.Survey(wire.SurveyItem{After: s.after, Files: files}))
}

// takeActivity takes an answer.
func (r *resync) takeActivity(a *wire.Activity) error {
	s := r.survey
	if s == nil || !s.asked {
		return fmt.Errorf("%w: no mailboxes were asked for", wire.ErrProtocol)
	}
	if a.Next != "" && a.Next == s.after {
		return fmt.Errorf("%w: the survey does not come on from %q", wire.ErrProtocol, a.Next)
	}
	s.asked, s.after, s.over = false, a.Next, a.Next == ""
	s.first = false
	var tasks []*task
	if err := r.k.m.cfg.Catalog.View(func(t *catalog.Tx) error {
		for _, m := range a.Mailboxes {
			if can, err := wayFree(t, m.Path); err != nil || !can {
				if err != nil {
					return err
				}
				continue
			}
			if m.First {
				s.first = true
				tasks = append(tasks, &task{path: m.Path, alone: true})
				continue
			}
			s.ranked.Add(m)
			if m.Since == 0 {
				continue
			}
			for _, dir := range r.k.m.cfg.Rules.MessageDirs(m.Path.Join("messages")) {
				tasks = append(tasks, &task{path: dir, since: m.Since})
			}
		}
		return nil
	}); err != nil {
		return inCatalog(err)
	}
	r.push(tasks...)
	return nil
}

// wayFree reports whether nothing but directories is at p and above: what else
// is in the way has to be compared first.
func wayFree(t *catalog.Tx, p journal.Path) (bool, error) {
	for ; p != journal.Root; p = p.Dir() {
		it, err := t.Lookup(p)
		if errors.Is(err, catalog.ErrNotFound) {
			continue
		}
		return err == nil && it.Facts.Type == journal.TypeDirectory, err
	}
	return true, nil
}

// refill puts the next mailboxes on the stack, and after the last one the whole
// store.
func (r *resync) refill() {
	s := r.survey
	if s == nil || len(r.todo) > 0 {
		return
	}
	n := fewTasks
	if !s.over {
		if len(r.asked) > 0 || len(r.queue) > earlyQueue {
			return
		}
		n = earlyTasks
	}
	best := s.ranked.Take(n)
	if s.over && len(best) == 0 {
		r.survey = nil
		r.push(&task{path: journal.Root})
		return
	}
	tasks := make([]*task, 0, len(best))
	for _, m := range best {
		tasks = append(tasks, &task{path: m.Path, alone: true})
	}
	r.push(tasks...)
}

func compareTurns(a, b wire.Mailbox) int {
	return cmp.Or(cmp.Compare(a.Turn, b.Turn), cmp.Compare(a.Path, b.Path))
}

// some takes a listing of nothing but what came lately: what is in it and not
// here is asked for. What it says of the rest, and of names that changed, is
// left to the comparison of the whole directory.
func (d *differ) some(l *wire.Listing) error {
	for i := range l.Items {
		it := &l.Items[i]
		p := d.t.path.Join(it.Name)
		if it.Facts.Type != journal.TypeFile || !d.isMessage(p) {
			continue
		}
		here, err := d.here(p)
		if err != nil {
			return err
		}
		if here {
			continue
		}
		if err := d.bring(p, it); err != nil {
			return err
		}
	}
	if !l.Last {
		d.t.from = l.Items[len(l.Items)-1].Name + "\x00"
	}
	return nil
}

// here reports whether a message is in its mailbox already, under whatever name.
func (d *differ) here(p journal.Path) (bool, error) {
	base := d.k.m.cfg.Rules.Base(p.Name())
	found := false
	for _, dir := range d.k.m.cfg.Rules.MessageDirs(p.Dir()) {
		err := d.tx.ListPrefix(dir, base, func(name string, _ catalog.Item) error {
			if d.k.m.cfg.Rules.Base(name) != base {
				return nil
			}
			found = true
			return errPageEnd
		})
		if err != nil && !errors.Is(err, errPageEnd) && !errors.Is(err, catalog.ErrNotFound) {
			return false, err
		}
	}
	return found, nil
}
