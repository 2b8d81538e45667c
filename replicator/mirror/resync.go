package mirror

import (
	"errors"
	"slices"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// Limits of what is asked for at one time.
const (
	comparesInFlight = 256
	fetchesInFlight  = 1024
	// fetchesQueued is how many files may wait to be asked for before no more
	// directories are compared.
	fetchesQueued = 4096
)

// maxPatience bounds the ticks of againDelay between two attempts.
const maxPatience = 255

// resyncPause is the least time between two comparisons of the whole store,
// if the one before did not make the digests equal.
const resyncPause = 10 * time.Second

// want is a content to ask for.
type want struct {
	path     journal.Path
	have     journal.ContentID
	size     int64
	link     uint64
	plain    bool
	alone    bool             // linking it has failed: it becomes a file of its own
	sequence journal.Sequence // of the entry that waits for it; 0: none
	names    []change         // further names of the same file, to be linked
}

// task is a directory to be compared.
type task struct {
	path      journal.Path
	parent    *task  // whose postponed files wait for this one
	waits     int    // message directories that are not compared yet
	postponed []want // control files of a mailbox, asked for behind its messages
	from      string // the listing has come to this name
	removals  []journal.Path
	renamed   map[journal.Path]struct{} // of our names: those that were found under a new one
	children  []*task                   // to be compared next
}

// resync is the comparison of the mirror's catalog with the primary's, and all
// other asking for contents. It belongs to the committer.
//
// Directories are compared depth first. Where an answer shows a difference,
// changes join the group that is to be committed, and contents are asked for.
// Control files of a mailbox are asked for behind its messages: answers come in
// the order of the requests, so a uidlist comes after the messages it names.
type resync struct {
	k        *committer
	running  bool
	todo     []*task // a stack
	asked    []*task // in the order of the answers
	queue    []want
	inFlight map[uint64]*want
	links    map[uint64]*want // those of them that are hard links
	transfer uint64
	progress Progress
	mark     *wire.Mark // the last one, if it was not looked at yet
	again    bool       // an answer brought no content: see what is missing
	patience int        // ticks of againDelay until then
	waited   int        // ticks so far
	ended    time.Time  // of the last comparison
	failures int        // comparisons in a row after which the digests still differed
}

func newResync(k *committer, why string) *resync {
	r := &resync{k: k, inFlight: make(map[uint64]*want), links: make(map[uint64]*want)}
	if why != "" {
		r.begin()
	}
	return r
}

// begin compares the whole store.
func (r *resync) begin() {
	r.running = true
	r.progress = Progress{}
	r.push(&task{path: journal.Root})
}

// need compares the directory p and all beneath it.
func (r *resync) need(p journal.Path) {
	r.running = true
	r.push(&task{path: p})
}

// push puts directories on the stack, so that the first is compared first.
func (r *resync) push(tasks ...*task) {
	for _, t := range slices.Backward(tasks) {
		r.todo = append(r.todo, t)
	}
	r.progress.Directories += uint64(len(tasks))
}

// want asks for a content when its turn comes.
func (r *resync) want(w want) {
	if w.sequence > 0 {
		r.k.waiting[w.sequence] = struct{}{}
	}
	r.queue = append(r.queue, w)
	r.progress.Files++
	r.progress.Bytes += uint64(w.size)
}

// tick asks again for what an answer did not bring, after a while that grows.
func (r *resync) tick() error {
	if !r.again {
		return nil
	}
	if r.waited++; r.waited < r.patience {
		return nil
	}
	r.waited = 0
	return r.fetchMissing()
}

// fetchMissing asks again for contents that could not be had before.
func (r *resync) fetchMissing() error {
	if len(r.queue)+len(r.inFlight) > 0 {
		return nil
	}
	r.again = false
	return r.k.m.cfg.Catalog.View(func(t *catalog.Tx) error {
		paths, err := t.Missing(fetchesInFlight)
		for _, p := range paths {
			r.want(want{path: p})
		}
		return err
	})
}

// pump asks for as much as may be in flight.
func (r *resync) pump() error {
	if err := r.sendFetches(); err != nil {
		return err
	}
	if err := r.sendCompares(); err != nil {
		return err
	}
	if r.running && len(r.todo)+len(r.asked)+len(r.queue)+len(r.inFlight) == 0 {
		if err := r.finish(); err != nil {
			return err
		}
	}
	if !r.again && len(r.queue)+len(r.inFlight) == 0 {
		clear(r.k.waiting) // nothing more is to be had: what is missing is listed as such
	}
	if err := r.checkMark(); err != nil {
		return err
	}
	if err := r.sendCompares(); err != nil { // if the mark called for it
		return err
	}
	progress := r.progress
	r.k.m.mu.Lock()
	r.k.m.status.Progress = progress
	r.k.m.mu.Unlock()
	return nil
}

func (r *resync) sendFetches() error {
	for len(r.queue) > 0 && len(r.inFlight) < fetchesInFlight {
		n := min(len(r.queue), wire.MaxFetch, fetchesInFlight-len(r.inFlight))
		items := make([]wire.FetchItem, 0, n)
		for i := range r.queue[:n] {
			w := r.queue[i]
			r.transfer++
			r.inFlight[r.transfer] = &w
			if w.link != 0 {
				r.links[w.link] = &w
			}
			items = append(items, wire.FetchItem{Transfer: r.transfer, Path: w.path, Have: w.have, Plain: w.plain})
		}
		r.queue = append(r.queue[:0:0], r.queue[n:]...)
		if err := r.k.c.send(wire.Fetch(items)); err != nil {
			return err
		}
	}
	return nil
}

func (r *resync) sendCompares() error {
	for len(r.todo) > 0 && len(r.asked) < comparesInFlight && len(r.queue) < fetchesQueued {
		n := min(len(r.todo), wire.MaxCompare/4, comparesInFlight-len(r.asked))
		var items []wire.CompareItem
		err := r.k.m.cfg.Catalog.View(func(t *catalog.Tx) error {
			for range n {
				task := r.todo[len(r.todo)-1]
				r.todo = r.todo[:len(r.todo)-1]
				item, err := t.Lookup(task.path)
				if err != nil && !errors.Is(err, catalog.ErrNotFound) {
					return err
				}
				r.asked = append(r.asked, task)
				items = append(items, wire.CompareItem{Path: task.path, Digest: item.Digest})
			}
			return nil
		})
		if err != nil {
			return err
		}
		if err := r.k.c.send(wire.Compare(items)); err != nil {
			return err
		}
	}
	return nil
}

// finish ends a comparison: what the mirror holds is told by its position from
// now on, and proven by the next mark.
func (r *resync) finish() error {
	r.running = false
	r.ended = r.k.m.cfg.Now()
	if err := r.k.m.cfg.Catalog.UpdateDurably(func(t *catalog.Tx) error { return writeWhole(t, true) }); err != nil {
		return err
	}
	r.k.m.cfg.Log.Info("comparison finished", "files", r.progress.FilesDone, "bytes", r.progress.BytesDone)
	r.k.m.update(func(s *Status) { s.Whole, s.Resync = true, "" })
	return nil
}

// checkMark compares the digest of the whole store with the one that the
// primary named last, once the mirror is at the place that it is of and has
// nothing else to do. If entries went beyond that place, a newer mark comes.
func (r *resync) checkMark() error {
	mark := r.mark
	if mark == nil || r.running || len(r.queue)+len(r.inFlight)+len(r.k.group.changes) > 0 || mark.Sequence > r.k.applied {
		return nil
	}
	r.mark = nil
	if mark.Sequence < r.k.applied {
		return nil
	}
	var ours catalog.Digest
	if err := r.k.m.cfg.Catalog.View(func(t *catalog.Tx) error { ours = t.Digest(); return nil }); err != nil {
		return err
	}
	now := r.k.m.cfg.Now()
	if ours == catalog.Digest(mark.Digest) {
		r.failures = 0
		r.k.m.update(func(s *Status) {
			s.Proven, s.ProvenAt, s.ProvenTime = mark.Unread == 0, mark.Sequence, now
		})
		return nil
	}
	r.k.m.update(func(s *Status) { s.Proven = false })
	if r.failures > 0 && now.Sub(r.ended) < resyncPause {
		r.mark = mark // later
		return nil
	}
	r.failures++
	const why = "the digests of the stores differ"
	r.k.m.cfg.Log.Warn("comparing with the primary", "reason", why, "sequence", mark.Sequence, "unread", mark.Unread)
	if err := r.k.m.cfg.Catalog.UpdateDurably(func(t *catalog.Tx) error { return writeWhole(t, false) }); err != nil {
		return err
	}
	r.k.m.update(func(s *Status) { s.Whole, s.Resync = false, why })
	r.begin()
	return nil
}

// takeAnswer takes the content that was asked for.
func (r *resync) takeAnswer(a *arrived) error {
	w := r.inFlight[a.transfer]
	if w == nil {
		return errTransfer(a.transfer)
	}
	delete(r.inFlight, a.transfer)
	delete(r.links, w.link)
	if a.lost {
		again := *w
		again.plain = true
		r.queue = append(r.queue, again)
		return nil
	}
	switch a.end.Outcome {
	case wire.Gone, wire.Changed:
		// The file may have another name by now, and its content be lacking
		// under that one.
		r.again = true
		r.patience = min(2*r.patience+1, maxPatience)
	default:
		r.patience = 0
		delete(r.k.waiting, w.sequence)
	}
	r.progress.Files -= min(1, r.progress.Files)
	r.progress.Bytes -= min(uint64(w.size), r.progress.Bytes)
	ch := &change{file: a.file, link: a.end.Link}
	ch.Kind, ch.Path, ch.Facts, ch.Outcome = journal.KindPut, w.path, a.end.Facts, a.end.Outcome
	switch a.end.Outcome {
	case wire.OK:
		r.progress.FilesDone++
		r.progress.BytesDone += uint64(a.end.Facts.Size)
		if err := r.joinLinks(ch, w); err != nil {
			return err
		}
		r.k.group.add(ch)
	case wire.Same:
		ch.settle = true
		r.k.group.add(ch)
	case wire.Unreadable:
		r.k.group.add(ch)
	}
	for i := range w.names {
		n := w.names[i]
		if a.end.Outcome == wire.OK || a.end.Outcome == wire.Same {
			n.Facts.Content = a.end.Facts.Content
			r.k.group.add(&n)
		} else {
			r.want(want{path: n.Path})
		}
	}
	return nil
}
