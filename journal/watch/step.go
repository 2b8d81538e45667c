package watch

import (
	"errors"

	"github.com/mailtwin/mailtwin/journal"
)

// step does what is most urgent, or waits until there is something to do.
func (w *Watcher) step() error {
	if err := w.serve(); err != nil {
		return err
	}
	if err := errors.Join(w.endHeirs(), w.endInherited(), w.sync()); err != nil {
		return err
	}
	now := w.now()
	if reason, n, ok := w.dirty.takeAll(); ok {
		defer w.looked(1)
		err := w.scan(reason, n)
		w.dirty.scanned(reason, err)
		return err
	}
	if p, ok := w.dirty.takeDir(); ok {
		defer w.looked(1)
		if err := w.list(p); err != nil {
			w.dirty.dir(p)
			return err
		}
		return nil
	}
	if p, ok := w.dirty.takeWalk(); ok {
		return w.walkDirty(p)
	}
	if now >= w.pollDue {
		w.dirty.whole(w.pollReason(), false)
		return nil
	}
	if ok, err := w.snapshot(); ok || err != nil {
		return err
	}
	if p, ok := w.settler.take(now); ok {
		return w.list(p)
	}
	if w.settler.lost || w.snapshots.lost {
		w.settler.lost, w.snapshots.lost = false, false
		w.pollDue = min(w.pollDue, now+w.cfg.Timing.SettleAtLatest)
	}
	return w.wait()
}

// maxServed bounds the batches that are served before a scan goes on.
const maxServed = 4

// serve observes what is dirty, and what is due to be looked at again.
func (w *Watcher) serve() error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if w.now() >= w.healthDue {
		if err := w.checkNow(); err != nil {
			return err
		}
		if w.accept.Load() {
			return w.suspend("the store was accepted by the operator")
		}
		w.lookAgain()
	}
	for range maxServed {
		names := w.dirty.takeNames(w.cfg.Limits.Batch)
		if len(names) == 0 {
			break
		}
		now := w.now()
		for _, p := range names {
			w.settler.touch(p.Dir(), now)
		}
		err := w.observe(names)
		if err != nil {
			for _, p := range names {
				w.dirty.name(p) // else nobody would know that they were noticed
			}
		}
		w.looked(len(names))
		if err != nil {
			return err
		}
	}
	if w.status.Mode == ModeEvents && w.status.Complete && w.dirty.calm() {
		w.status.Quiet = w.cfg.Clock.Now()
		if w.agenda.onlyGone() && len(w.doubts.dirs) == 0 && w.forgotten == w.found && !w.broken.tooMany() {
			w.whole = w.status.Quiet
		}
	}
	gone, others := w.agenda.due(w.now())
	for _, p := range others {
		if w.agenda.get(p).why == reasonUnlisted {
			w.dirty.dir(p)
		} else {
			w.dirty.name(p)
		}
	}
	if w.dirty.waiting() {
		gone = w.postpone(gone)
	}
	return w.confirm(gone)
}

// looked says that so much of what was dirty has been looked at. What is to be
// looked at again shows in the status before it does not any more.
func (w *Watcher) looked(n int) {
	w.publish()
	w.dirty.done(n)
}

// maxPostponed bounds how long removals wait for names that are still dirty,
// in units of Timing.Confirm.
const maxPostponed = 50

// postpone lets the confirmation of gone names wait, if they have not waited
// for long: a name that is still dirty may be the new name of one of them.
func (w *Watcher) postpone(gone []journal.Path) (ripe []journal.Path) {
	now := w.now()
	for _, p := range gone {
		a := w.agenda.get(p)
		if now-a.since > maxPostponed*w.cfg.Timing.Confirm {
			ripe = append(ripe, p)
			continue
		}
		a.due = now + w.cfg.Timing.Confirm
		w.agenda.next = min(w.agenda.next, a.due)
	}
	return ripe
}

// wait waits until something is dirty or due.
func (w *Watcher) wait() error {
	w.publish()
	next := min(w.healthDue, w.agenda.next, w.settler.next, w.snapshotDue(), w.pollDue)
	if w.unsynced > 0 {
		next = min(next, w.syncDue)
	}
	delay := next - w.now()
	if delay <= 0 {
		return nil
	}
	w.idle.Store(true)
	defer w.idle.Store(false)
	select {
	case <-w.ctx.Done():
		return w.ctx.Err()
	case <-w.dirty.wake:
	case <-w.cfg.Clock.After(delay):
	}
	return nil
}

// sync makes the catalog durable now and then, so that the journal can be
// trimmed.
func (w *Watcher) sync() error {
	if w.unsynced == 0 || w.unsynced < w.cfg.Limits.SyncEntries && w.now() < w.syncDue {
		return nil
	}
	w.unsynced = 0
	w.syncDue = w.now() + w.cfg.Timing.Sync
	if err := w.noteWhole(); err != nil {
		return err
	}
	return w.cfg.Catalog.Sync()
}
