package mirror

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// Limits of what is asked for at one time.
const (
	comparesInFlight = 64
	fetchesInFlight  = 1024
	// fetchesQueued is how many files may wait to be asked for before no more
	// directories are compared.
	fetchesQueued = 4096
	// fetchesKept is how many may wait at all. What goes beyond it, in a large
	// directory, is found when the directory is compared once more; maxPasses
	// is how often.
	fetchesKept = 16384
	maxPasses   = 1000
	// tasksKept is how many directories may wait to be compared, but tasksEach
	// of one directory may in any case. What goes beyond it is found when that
	// one is compared once more.
	tasksKept = 1 << 16
	tasksEach = 1 << 10
	// maxTries is how often a file that changes meanwhile is asked for.
	maxTries = 3
	// missingPage is how many missing files are asked for at one time.
	missingPage = 256
)

// maxRest bounds the ticks of Config.Retry between two rounds that bring nothing.
const maxRest = 15

// maxPatience bounds the ticks of againDelay between two attempts to get what
// is owed.
const maxPatience = 255

// want is a content to ask for.
type want struct {
	path  journal.Path
	facts journal.Facts // of the listing; nothing if the catalog has them
	have  journal.ContentID
	size  int64
	link  uint64
	plain bool
	alone bool   // linking it has failed: it becomes a file of its own
	owed  bool   // by an entry
	round bool   // of a round that asks for all missing files
	late  bool   // it came lately
	proof bool   // nothing lacks: what is taken to be equal is to be proven
	turn  uint64 // of those of one directory, the lowest is asked for first
	tries int
	names []change // further names of the same file, to be linked
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
	survey   *survey // nil: the mailboxes have no order, or all are in todo
	todo     []*task // a stack
	asked    []*task // in the order of the answers
	queue    []*want
	held     []*want // of the directory that is being compared, to be sorted
	inFlight map[uint64]*want
	sent     map[journal.Path]int      // paths of inFlight
	flying   int64                     // their bytes
	asking   map[journal.Path]struct{} // paths of queue, held, inFlight, and of answers that are not committed
	links    map[uint64]*want          // those of them that are hard links
	round    round
	proofs   proofs
	rest     int    // ticks of Config.Retry until missing files are asked for again
	rested   int    // ticks so far
	lacked   uint64 // files that were missing at the last round
	patience int    // ticks of againDelay until what is owed is asked for again
	waited   int    // ticks so far
	transfer uint64
	progress Progress
	mark     *wire.Mark // the last one, if it was not looked at yet
	ended    time.Time  // of the last comparison
	failures int        // comparisons in a row after which the digests still differed
}

// round asks for all files that the catalog calls missing.
type round struct {
	running bool
	again   bool // another one is to follow
	listed  bool // all were asked for
	after   catalog.Cursor
	pending int // not answered yet
}

func newResync(k *committer, why string) *resync {
	r := &resync{
		k: k, inFlight: make(map[uint64]*want), sent: make(map[journal.Path]int),
		asking: make(map[journal.Path]struct{}), links: make(map[uint64]*want),
	}
	if why != "" {
		r.begin()
	}
	r.askMissing()
	return r
}

// begin compares the whole store.
func (r *resync) begin() {
	r.running = true
	r.progress = Progress{}
	r.survey = newSurvey()
}

// need compares the directory p and all beneath it.
func (r *resync) need(p journal.Path) {
	if !r.running {
		r.progress = Progress{}
		r.k.m.update(func(s *Status) { s.Whole, s.Resync = false, "a directory was not as it should be" })
	}
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
	r.enqueue(&w)
	r.register(&w)
}

// enqueue puts what is owed before what a comparison wants: live mail waits for
// it to be acknowledged.
func (r *resync) enqueue(w *want) {
	if w.owed {
		r.queue = slices.Insert(r.queue, 0, w)
		return
	}
	r.queue = append(r.queue, w)
}

// hold asks for a content when the directory that is being compared has come to
// its end, in the turn that it has in it.
func (r *resync) hold(w want) {
	r.held = append(r.held, &w)
	r.register(&w)
}

// queueHeld puts what was held into the queue; what came lately goes before what
// did not.
func (r *resync) queueHeld() {
	slices.SortStableFunc(r.held, func(a, b *want) int { return cmp.Compare(a.turn, b.turn) })
	end := len(r.queue)
	if len(r.held) > 0 && r.held[0].late { // they are all of one directory
		end = slices.IndexFunc(r.queue, func(w *want) bool { return !w.late && !w.owed })
		if end < 0 {
			end = len(r.queue)
		}
	}
	r.queue = slices.Insert(r.queue, end, r.held...)
	r.held = r.held[:0]
}

// answered says that the catalog is about to tell what came of what was asked
// for. Until then a listing of the same directory must not ask again.
func (r *resync) answered(changes []*change) {
	for _, c := range changes {
		if c.answers != nil {
			delete(r.asking, c.answers.path)
		}
	}
}

func (r *resync) register(w *want) {
	r.asking[w.path] = struct{}{}
	if w.link != 0 {
		r.links[w.link] = w
	}
	if w.proof {
		r.proofs.pending++
		return
	}
	r.progress.Files++
	r.progress.Bytes += uint64(w.size)
}

// askMissing begins a round, unless one goes on.
func (r *resync) askMissing() {
	if !r.round.running {
		r.round = round{running: true}
	}
}

// retryMissing begins a round after a while that grows as long as none of them
// brings a content: an array that cannot read a file is slow to say so.
func (r *resync) retryMissing() {
	missing := r.k.m.Status().Totals.Missing
	if missing == 0 || missing < r.lacked {
		r.rest, r.rested = 0, 0
	}
	if r.rested++; r.rested <= r.rest {
		return
	}
	r.rested, r.rest, r.lacked = 0, min(2*r.rest+1, maxRest), missing
	r.askMissing()
}

// askAgain asks for what is owed and was not to be had, after a while that
// grows.
func (r *resync) askAgain() {
	if len(r.k.debts.files) == 0 {
		r.waited, r.patience = 0, 0
		return
	}
	if r.waited++; r.waited <= r.patience || !r.idle() {
		return
	}
	r.waited, r.patience = 0, min(2*r.patience+1, maxPatience)
	for p := range r.k.debts.files {
		r.want(want{path: p})
	}
}

// pump asks for as much as may be in flight.
func (r *resync) pump() error {
	if err := r.goRound(); err != nil {
		return err
	}
	if err := r.prove(); err != nil {
		return err
	}
	if err := r.sendFetches(); err != nil {
		return err
	}
	if err := r.ask(); err != nil {
		return err
	}
	if r.running && r.survey == nil && r.idle() && len(r.todo)+len(r.asked) == 0 {
		if err := r.finish(); err != nil {
			return err
		}
	}
	if err := r.checkMark(); err != nil {
		return err
	}
	progress := r.progress
	r.k.m.mu.Lock()
	r.k.m.status.Progress = progress
	r.k.m.mu.Unlock()
	return nil
}

// idle reports whether no content is on its way or waits to be committed, but
// for proofs, which go on whenever nothing else does.
func (r *resync) idle() bool {
	return len(r.queue)+len(r.held)+len(r.inFlight)+len(r.k.group.changes) == r.proofs.pending
}

// goRound asks for some more of the missing files, and ends the round after
// the last answer was committed.
func (r *resync) goRound() error {
	o := &r.round
	if !o.running {
		if r.k.debts.next > 0 {
			r.askMissing()
		}
		return nil
	}
	if !o.listed && len(r.queue) < missingPage {
		err := r.k.m.cfg.Catalog.View(func(t *catalog.Tx) (err error) {
			o.after, err = t.EachMissing(o.after, missingPage, func(p journal.Path, it catalog.Item) error {
				if it.Derived {
					if r.running {
						return nil // what it tells of may not be here yet
					}
					n, err := r.askDerived(t, p)
					o.pending += n
					return err
				}
				if _, asked := r.asking[p]; !asked && !r.k.m.broken(p) {
					r.want(want{path: p, size: it.Facts.Size, round: true})
					o.pending++
				}
				return nil
			})
			return err
		})
		if err != nil {
			return inCatalog(err)
		}
		o.listed = o.after == ""
	}
	if o.listed && o.pending == 0 && len(r.k.group.changes) == 0 {
		again := o.again
		*o = round{}
		r.k.debts.asked()
		if again {
			r.askMissing()
		}
		return r.k.acknowledge()
	}
	return nil
}

func (r *resync) sendFetches() error {
	most := r.k.rhythm.inFlight()
	for len(r.queue) > 0 && len(r.inFlight) < fetchesInFlight && (r.flying < most || r.queue[0].owed) {
		n := min(len(r.queue), wire.MaxFetch, fetchesInFlight-len(r.inFlight))
		var items []wire.FetchItem
		for i, w := range r.queue[:n] {
			if r.flying >= most && !w.owed {
				n = i
				break
			}
			r.transfer++
			r.inFlight[r.transfer] = w
			r.sent[w.path]++
			r.flying += w.size
			items = append(items, wire.FetchItem{Transfer: r.transfer, Path: w.path, Have: w.have, Plain: w.plain, Proof: w.proof})
		}
		clear(r.queue[:n])
		r.queue = r.queue[n:]
		if err := r.k.c.send(wire.Fetch(items)); err != nil {
			return err
		}
	}
	return nil
}

// ask asks for what is to be compared, and for its order.
func (r *resync) ask() error {
	if err := r.askSurvey(); err != nil {
		return err
	}
	r.refill()
	return r.sendCompares()
}

// sendCompares asks for listings, a good number at a time.
func (r *resync) sendCompares() error {
	if len(r.asked) > comparesInFlight/2 {
		return nil
	}
	for len(r.todo) > 0 && len(r.asked) < comparesInFlight && len(r.queue) < fetchesQueued {
		n := min(len(r.todo), wire.MaxCompare, comparesInFlight-len(r.asked))
		var items []wire.CompareItem
		err := r.k.m.cfg.Catalog.View(func(t *catalog.Tx) error {
			for range n {
				task := r.todo[len(r.todo)-1]
				r.todo = r.todo[:len(r.todo)-1]
				item, err := t.Lookup(task.path)
				if err != nil && !errors.Is(err, catalog.ErrNotFound) {
					return err
				}
				if task.since != 0 {
					item.Digest = catalog.Digest{} // it is not compared as a whole
				}
				task.blind = item.Digest == (catalog.Digest{})
				r.asked = append(r.asked, task)
				items = append(items, wire.CompareItem{Path: task.path, Digest: item.Digest, Since: task.since})
			}
			return nil
		})
		if err != nil {
			return inCatalog(err)
		}
		if err := r.k.c.send(wire.Compare(items)); err != nil {
			return err
		}
	}
	return nil
}

// takeAnswer takes the content that was asked for. An answer that brings none
// joins the group too, for it comes after the entries that were sent before.
func (r *resync) takeAnswer(a *arrived) error {
	w := r.inFlight[a.transfer]
	if w == nil {
		r.k.c.stage.drop(a.file)
		return fmt.Errorf("%w: transfer %d was not asked for", wire.ErrProtocol, a.transfer)
	}
	delete(r.inFlight, a.transfer)
	r.flying -= w.size
	if r.sent[w.path]--; r.sent[w.path] == 0 {
		delete(r.sent, w.path)
	}
	if a.lost {
		w.plain = true
		r.enqueue(w)
		return nil
	}
	if r.links[w.link] == w {
		delete(r.links, w.link)
	}
	if w.round {
		r.round.pending--
	}
	if w.proof {
		r.proofs.answered(a.end.Outcome)
	} else {
		r.progress.Files -= min(1, r.progress.Files)
		r.progress.Bytes -= min(uint64(w.size), r.progress.Bytes)
	}
	ch := &change{file: a.file, link: a.end.Link, answers: w}
	ch.Kind, ch.Path, ch.Facts, ch.Outcome = journal.KindPut, w.path, a.end.Facts, a.end.Outcome
	good := a.end.Outcome == wire.OK || a.end.Outcome == wire.Same
	if a.end.Outcome == wire.OK {
		r.progress.FilesDone++
		r.progress.BytesDone += uint64(a.end.Facts.Size)
		if err := r.joinLinks(ch, w); err != nil {
			return err
		}
	}
	if a.end.Outcome == wire.Same {
		if !w.have.Known() || w.have != a.end.Facts.Content {
			return fmt.Errorf("%w: %q is not the same as what the mirror has", wire.ErrProtocol, string(w.path))
		}
		ch.settle = true
	}
	if err := r.k.add(ch); err != nil {
		return err
	}
	for i := range w.names {
		n := w.names[i]
		if !good {
			r.want(want{path: n.Path, size: n.Facts.Size, facts: n.Facts})
			continue
		}
		n.Facts.Content = a.end.Facts.Content
		if err := r.k.add(&n); err != nil {
			return err
		}
	}
	return nil
}
