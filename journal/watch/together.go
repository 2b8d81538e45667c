package watch

import (
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
)

// together is what a walk has found to differ in directories of messages. It is
// observed in one cycle, so that the disk of the journal is waited for once, and
// not once for each mailbox that has got mail.
type together struct {
	round uint64 // how often it was observed before
	names []journal.Path
	since time.Duration // when the first of them was found
	dirs  []listedDir   // whose observation is complete with the names
}

// listedDir is a directory that was listed.
type listedDir struct {
	path     journal.Path
	info     beneath.Info // before that
	complete bool         // as far as the listing goes
	holds    bool         // a message was held back meanwhile, perhaps in it
}

// togetherAtMost is how long what a walk has found waits for more.
const togetherAtMost = 50 * time.Millisecond

// collect leaves names of the directory to be observed together with those of
// others, and reports whether there is room for them.
func (l *listing) collect(names []journal.Path) bool {
	t := &l.together
	if !l.messages || len(t.names)+len(names) > l.cfg.Limits.Batch {
		return false
	}
	if len(names) == 0 {
		return true
	}
	if len(t.names) == 0 {
		t.since = l.now()
	}
	t.names = append(t.names, names...)
	if !l.postponed {
		l.postponed, l.round = true, t.round
	}
	return true
}

// listedWith says that a directory was listed of which some names are to be
// observed together with others. Another walk, for which this one has waited, may
// have done that: then it is not known what came of them.
func (w *Watcher) listedWith(d listedDir, round uint64) error {
	if round != w.together.round {
		d.complete = false
		return w.concluded(d)
	}
	w.together.dirs = append(w.together.dirs, d)
	return nil
}

// observeTogether observes what a walk has left to be observed together.
func (w *Watcher) observeTogether() error {
	t := w.together
	w.together = together{round: t.round + 1}
	if len(t.names) == 0 {
		return nil
	}
	deferred, holds := w.deferred, w.holds
	l := &listing{Watcher: w, scan: true}
	if err := l.batches(t.names); err != nil {
		return err
	}
	unsure := make(map[journal.Path]bool)
	for _, p := range t.names {
		if w.agenda.unsure(p) {
			unsure[p.Dir()] = true
		}
	}
	for _, d := range t.dirs {
		d.complete = d.complete && w.deferred == deferred && !unsure[d.path]
		d.holds = d.holds || w.holds != holds
		if err := w.concluded(d); err != nil {
			return err
		}
	}
	return nil
}

// observeDue is observeTogether once there is enough, or it has waited for long.
func (w *Watcher) observeDue() error {
	t := &w.together
	if len(t.names) == 0 || len(t.names) < w.cfg.Limits.Batch/2 && w.now()-t.since < togetherAtMost {
		return nil
	}
	return w.observeTogether()
}
