package watch

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// publish makes the observer's status visible.
func (w *Watcher) publish() {
	s := &w.status
	s.Watches = len(w.watched)
	s.Waiting = len(w.agenda.names)
	s.undecided = s.Waiting - w.agenda.count[reasonUnreadable] - w.agenda.count[reasonUnlisted] - w.agenda.count[reasonIncomplete]
	s.BeingWritten = w.agenda.count[reasonWriting]
	s.Unsettled = w.settler.active
	s.Snapshots = w.snapshots.active + len(w.taken)
	s.LargeSnapshots = len(w.large)
	s.DirectoriesListed, s.FilesOpened = w.listed, w.opened
	s.Unreadable, s.UnreadableCount = w.broken.list(w.agenda.count[reasonUnreadable] + w.agenda.count[reasonUnlisted])
	s.Doubtful = s.Doubtful[:0:0]
	for p, why := range w.doubts.dirs {
		s.Doubtful = append(s.Doubtful, Doubt{p, why})
	}
	slices.SortFunc(s.Doubtful, func(a, b Doubt) int { return cmp.Compare(a.Path, b.Path) })
	if s.Phase == PhaseWatching && s.Mode == ModePolling {
		s.Detail = "polling: " + s.ModeReason
	}
	w.board.change(func(b *Status) {
		overflow, n := b.LastOverflow, b.Overflows
		*b = *s
		b.LastOverflow, b.Overflows = overflow, n
	})
}

// overflowed says that hints were lost. It is called by the goroutine that
// receives them.
func (w *Watcher) overflowed(err error) {
	now := w.cfg.Clock.Now()
	w.board.change(func(s *Status) {
		s.LastOverflow = now
		s.Overflows++
	})
	reason := "the kernel's queue of events was full"
	if err != nil {
		reason = "events could not be read: " + err.Error()
	}
	if w.dirty.everything(reason) { // once for each scan that it leads to
		w.cfg.Log.Warn("hints were lost; scanning the store", "reason", reason)
	}
}

// counted counts the entries of a cycle.
func (w *Watcher) counted(entries int) {
	w.status.Cycles++
	if entries == 0 {
		return
	}
	w.status.Entries += uint64(entries)
	w.unsynced += entries
	if w.status.JournalError != "" {
		w.status.JournalError = ""
		w.cfg.Log.Info("the journal can be written again")
	}
	w.publish()
}

// journalFailed says that an append failed, and waits a while: there is nothing
// else to be done.
func (w *Watcher) journalFailed(err error) error {
	if w.status.JournalError == "" {
		w.cfg.Log.Error("the journal cannot be written", "error", err)
	}
	w.status.JournalError = err.Error()
	w.publish()
	select {
	case <-w.ctx.Done():
		return w.ctx.Err()
	case <-w.cfg.Clock.After(w.cfg.Timing.JournalRetry):
		return nil
	}
}

// beginScan publishes that a scan begins.
func (w *Watcher) beginScan(reason string) {
	w.status.Phase = PhaseScanning
	if w.baseline {
		w.status.Phase = PhaseBaseline
	}
	w.status.Detail = "scanning: " + reason
	w.status.DirectoriesDone, w.status.Reached = 0, ""
	w.known()
	w.publish()
}

// Two updates of the status in a scan are no further apart than so many directories
// that are visited, nor than so long, unless one directory takes longer.
const (
	progressEvery  = 256
	progressAtMost = 200 * time.Millisecond
)

// progressed counts a directory that is visited.
func (w *Watcher) progressed() {
	w.status.DirectoriesDone++
	if now := w.now(); w.status.DirectoriesDone%progressEvery == 0 || now-w.told >= progressAtMost {
		w.told = now
		w.known()
		w.publish()
	}
}

// known asks the catalog how many directories there are.
func (w *Watcher) known() {
	_ = w.cfg.Catalog.View(func(tx *catalog.Tx) error { // a failure shows in the next update
		w.status.DirectoriesKnown = tx.Totals().Directories
		return nil
	})
}

// endScan publishes that a scan ended, and says how changes are found from now.
func (w *Watcher) endScan() {
	w.full = w.full && w.uncovered > 0
	now := w.now()
	switch {
	case w.network != "":
		w.status.Mode = ModePolling
		w.status.ModeReason = "the store is on " + w.network + ", which does not tell of what other machines change"
	case w.uncovered == 0:
		w.status.Mode, w.status.ModeReason = ModeEvents, ""
	}
	w.status.Phase, w.status.Detail, w.status.Reached = PhaseWatching, "", ""
	w.status.Complete = w.uncovered == 0
	w.status.LastScanEnded = w.cfg.Clock.Now()
	w.pollDue = never
	if w.status.Mode == ModePolling {
		w.pollDue = now + w.cfg.Timing.Poll
	} else if w.cfg.Timing.Rescan > 0 {
		w.pollDue = now + w.cfg.Timing.Rescan
	}
	w.known()
	w.publish()
}

func (w *Watcher) pollReason() string {
	if w.status.Mode == ModePolling {
		return "polling"
	}
	return "periodic"
}

// unreadable says that something could not be read. It is tried again at a low
// rate, and never taken for a removal.
func (w *Watcher) unreadable(p journal.Path, err error) {
	w.cannotRead(p, reasonUnreadable, err)
}

// unlisted says that a directory could not be listed.
func (w *Watcher) unlisted(p journal.Path, err error) { w.cannotRead(p, reasonUnlisted, err) }

func (w *Watcher) cannotRead(p journal.Path, why reason, err error) {
	w.later(p, why, w.cfg.Timing.Unreadable, w.cfg.Timing.UnreadableLast)
	if errors.Is(err, context.Canceled) {
		return // the watcher ends; nothing is wrong with the file
	}
	if !w.broken.add(Unreadable{Path: p, Err: err.Error(), Since: w.cfg.Clock.Now(), Rewritten: errors.Is(err, errRewritten)}) {
		return
	}
	w.cfg.Log.Warn("unreadable", "path", string(p), "error", err)
}

// readable says that something can be read, or is not there any more.
func (w *Watcher) readable(p journal.Path) { w.broken.remove(p) }
