package mirror

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// Limits of one group commit.
const (
	groupChanges = 1024
	groupBytes   = 64 << 20
)

// Contents of a comparison are in no hurry: a group of them waits for more
// until it is worth a sync, or nothing came for a while. Journal entries go before
// it (see before.go), or end the wait.
const (
	bulkChanges = 512
	bulkBytes   = 16 << 20
	bulkDelay   = 50 * time.Millisecond
)

// defaultRetry is how long the mirror waits before it asks again for contents
// that the primary could not read; see resync.retryMissing.
const defaultRetry = time.Minute

// againDelay is how long it waits after an answer that brought no content: the
// entries that say what became of the file are on their way.
const againDelay = 200 * time.Millisecond

// change is one change to be made: an entry of the journal, or what a
// comparison or an answer found.
type change struct {
	wire.Entry
	sequence journal.Sequence // 0: none of the journal
	file     *staged          // the content
	plain    bool             // a chunk was lost: ask for the content without references
	link     uint64           // the group of hard links, of a comparison
	compared bool             // a comparison has found that the primary has nothing there
	settle   bool             // of an answer: only facts and content id become known
	assumed  *assumption      // of a comparison: a content that is here is taken for the primary's
	answers  *want            // what it was asked for by

	reached bool // the store has what this makes, or what came later (see findReached)
	same    bool // of what is reached: it is there

	stamp   journal.Stamp // of the file, once it is made
	missing bool          // the content, or what was to be moved, is not to be had now
}

// group is what is committed at one time.
type group struct {
	changes  []*change
	trail    trail
	links    map[uint64]journal.Path // of the contents in it that have several names
	bytes    int64                   // of contents, on disk and in memory
	memory   int64                   // bytes of entries, which the primary is granted again
	entries  int64                   // of the journal
	last     journal.Sequence
	position journal.Position // the last place whose digest is known; Sequence 0: none
	passed   time.Time        // when entries went before it for the first time; zero: never
}

func (g *group) full() bool { return len(g.changes) >= groupChanges || g.bytes >= groupBytes }

// patient reports whether the group may wait for more, up to so many bytes.
func (g *group) patient(bulk int64) bool {
	return len(g.changes) > 0 && g.entries == 0 && len(g.changes) < bulkChanges && g.bytes < bulk
}

// committer makes steps take effect, in their order.
type committer struct {
	c        *connection
	m        *Mirror
	applier  *applier
	resync   *resync
	debts    debts
	group    group
	epoch    journal.Epoch    // of the primary
	position journal.Position // durable in the store, and the primary can tell if it is its own
	applied  journal.Sequence // the same; may be within a batch, beyond position
	received journal.Sequence // the last entry that was taken from the stream
	acked    journal.Sequence
	greeted  bool // the primary was told where this mirror is
	// silent says that nobody can be told anything any more, and why: what has
	// arrived takes effect all the same.
	silent error
	lanes  lanes
	rhythm rhythm
	noted  noted
}

func newCommitter(c *connection, w wire.WelcomeMessage) (*committer, error) {
	k := &committer{
		c: c, m: c.m, applier: newApplier(c.m, c.stage),
		rhythm: rhythm{bulk: firstBulk}, epoch: w.Epoch, position: w.Position, applied: w.Position.Sequence, received: w.Position.Sequence,
	}
	var p progressMeta
	err := c.m.cfg.Catalog.View(func(t *catalog.Tx) (err error) {
		if p, err = readProgress(t); err == nil {
			k.applier.split, err = readSplit(t)
		}
		return errors.Join(err, k.applier.readLeft(t))
	})
	if err != nil {
		return nil, inCatalog(err)
	}
	k.m.tellSplit(k.applier.split)
	k.m.tellLeft(k.applier)
	if err := k.m.open(); err != nil {
		return nil, err
	}
	k.applied = max(k.applied, p.Applied)
	k.debts.begin(p.Owed)
	k.resync = newResync(k, w.Resync)
	return k, nil
}

func (k *committer) close() { k.applier.close() }

// run commits until ctx ends, and then what has arrived until then: the primary
// may never come back to send it again.
func (k *committer) run(ctx context.Context) error {
	retry := time.NewTicker(k.m.cfg.Retry)
	defer retry.Stop()
	again := time.NewTicker(againDelay)
	defer again.Stop()
	for {
		if err := k.acknowledge(); err != nil {
			return err
		}
		if err := k.pump(); err != nil {
			return err
		}
		if k.isSilent() {
			return k.finish()
		}
		k.c.resting.Store(true)
		select {
		case <-ctx.Done():
			k.silent = ctx.Err()
			return k.finish()
		case <-retry.C:
			k.resync.retryMissing()
			k.resync.proofs.resting = false
			if err := k.sweep(); err != nil {
				return err
			}
		case <-again.C:
			k.resync.askAgain()
		case s := <-k.c.live:
			k.lanes.live = &s
		case s := <-k.c.steps:
			k.lanes.bulk = &s
		}
		if k.lanes.empty() {
			continue
		}
		k.c.resting.Store(false)
		if err := k.takeAll(ctx); err != nil {
			return err
		}
	}
}

// pump asks for what the comparison has come to need.
func (k *committer) pump() error {
	if k.isSilent() {
		return nil
	}
	return k.said(k.resync.pump())
}

func (k *committer) isSilent() bool { return k.silent != nil }

// said takes note of what could not be said, which is no error of the committer.
func (k *committer) said(err error) error {
	if _, untold := errors.AsType[*untoldError](err); untold {
		k.silent, err = err, nil
	}
	return err
}

// finish commits what the receiver has passed on, and returns why nobody is told.
func (k *committer) finish() error {
	for {
		s, more := k.next()
		if !more {
			break
		}
		if err := k.take(s); err != nil {
			return err
		}
	}
	if err := k.commit(); err != nil {
		return err
	}
	if err := k.m.close(); err != nil {
		return err
	}
	return k.silent
}

// takeAll takes all steps that have come up, and commits them together, but for
// entries, which no content of a comparison holds up.
func (k *committer) takeAll(ctx context.Context) error {
	for {
		s, more := k.another(ctx)
		if !more {
			return k.commit()
		}
		if err := k.takeNext(s); err != nil {
			return err
		}
		if err := k.pump(); err != nil { // what was learnt leads on
			return err
		}
	}
}

// takeNext takes one step: it joins the group, or begins a new one, or goes before
// the group.
func (k *committer) takeNext(s step) error {
	switch {
	case s.entries != nil && k.mayWait(&k.group, s.entries.Entries):
		return k.takeBefore(s)
	case k.group.entries > 0 && s.entries == nil && !k.resync.joinsEntries(s.answer), k.rhythm.full(&k.group):
		if err := k.commit(); err != nil {
			return err
		}
	}
	return k.take(s)
}

// another returns a further step for the group, if one has come up, or comes
// soon and the group can wait.
func (k *committer) another(ctx context.Context) (step, bool) {
	if s, more := k.next(); more || !k.group.patient(k.rhythm.bulk) {
		return s, more
	}
	timer := time.NewTimer(bulkDelay)
	defer timer.Stop()
	select {
	case s := <-k.c.steps:
		k.lanes.bulk = &s
	case s := <-k.c.live:
		k.lanes.live = &s
	case <-timer.C:
	case <-ctx.Done():
	}
	return k.next()
}

// take adds one step to the group. A listing is compared with the catalog as
// it is after all entries that came before, so they are committed first.
func (k *committer) take(s step) error {
	switch {
	case s.entries != nil:
		return k.takeEntries(s)
	case s.answer != nil:
		k.resync.mark = nil // it says nothing of what the primary has read since; another one follows
		return k.resync.takeAnswer(s.answer)
	case s.listing != nil:
		if k.group.entries > 0 {
			if err := k.commit(); err != nil {
				return err
			}
		}
		return k.resync.takeListing(s.listing)
	case s.activity != nil:
		return k.resync.takeActivity(s.activity)
	default:
		k.resync.mark = s.mark
		return nil
	}
}

// takeEntries adds entries of the journal to the group. Those that were made
// durable already, in the midst of a batch, come a second time.
func (k *committer) takeEntries(s step) error {
	e := s.entries
	if e.First != k.received+1 {
		return fmt.Errorf("%w: entry %d came, %d is next", wire.ErrProtocol, e.First, k.received+1)
	}
	if last := k.lastEpoch(); e.Last.Epoch < last || e.Last.Epoch > k.epoch {
		return fmt.Errorf("%w: an entry of epoch %d after one of epoch %d, from a primary of epoch %d",
			wire.ErrProtocol, e.Last.Epoch, last, k.epoch)
	}
	for i := range e.Entries {
		ch := &change{Entry: e.Entries[i], sequence: e.First + journal.Sequence(i)}
		if a := s.contents[ch.Transfer]; a != nil && ch.Transfer != 0 {
			ch.file, ch.plain = a.file, a.lost
		}
		if err := checkEntry(ch); err != nil {
			return fmt.Errorf("entry %d: %w", ch.sequence, err)
		}
		if ch.sequence <= k.applied {
			k.c.stage.drop(ch.file)
			continue
		}
		if err := k.add(ch); err != nil {
			return err
		}
		k.group.entries++
		k.group.last = ch.sequence
		k.resync.overtake(ch)
	}
	k.received = e.Last.Sequence
	k.group.position = e.Last
	k.group.memory += s.cost
	return nil
}

func (k *committer) lastEpoch() journal.Epoch {
	if k.group.position.Sequence > 0 {
		return k.group.position.Epoch
	}
	return k.position.Epoch
}

// add adds a change to the group, or to a new one if the two could not be
// applied a second time together.
func (k *committer) add(c *change) error {
	if !k.group.trail.add(c) {
		if err := k.commit(); err != nil {
			return err
		}
		k.group.trail.add(c)
	}
	k.group.changes = append(k.group.changes, c)
	if c.file != nil {
		k.group.bytes += c.file.size
	}
	if c.Held != nil {
		k.group.bytes += int64(len(c.Held.Data)) + c.Held.Keep
	}
	return nil
}

// commit makes the group durable and visible, and acknowledges it. What is
// acknowledged is in the store for good. That the catalog says so too is waited for
// afterwards, and before anything else is changed in the store: if a crash takes it
// from the catalog, this group, and nothing beyond it, is made a second time.
func (k *committer) commit() error {
	g := k.group
	k.group = group{}
	began := k.m.cfg.Now()
	if len(g.changes) == 0 && g.position.Sequence == 0 {
		return nil
	}
	if err := k.takeBack(g.last); err != nil {
		return err
	}
	files, err := k.provide(g.changes)
	if err != nil {
		return err
	}
	if err := k.intend(&g); err != nil {
		return err
	}
	tidy := k.m.tidy
	k.m.tidy = false // unless it ends well
	if err := k.makeAndRecord(&g, files); err != nil {
		return err
	}
	k.m.tidy = tidy
	for _, c := range g.changes {
		if c.file != nil {
			c.file.source.known()
		}
	}
	if err := k.acknowledge(); err != nil {
		return err
	}
	if err := k.m.cfg.Catalog.Sync(); err != nil {
		return inCatalog(err)
	}
	if err := k.m.print(k.applied); err != nil {
		return err
	}
	k.rhythm.took(&g, k.m.cfg.Now().Sub(began))
	k.m.update(func(s *Status) { s.OwnersLost = s.OwnersLost || k.applier.ownersLost })
	if g.memory > 0 && !k.isSilent() {
		return k.said(k.c.spent(g.memory, 0))
	}
	return nil
}

// makeAndRecord makes the changes of a group, whose contents are staged, durably in
// the store, and then in the catalog. What the catalog is to be told of
// new files is known before: that is put together while they are made durable,
// and takes effect behind them all the same.
func (k *committer) makeAndRecord(g *group, files []*change) error {
	made := func() error {
		if err := k.syncStaged(files); err != nil {
			return err
		}
		return k.applier.apply(g.changes)
	}
	if k.isForeknown(g) {
		return k.record(g, made)
	}
	if err := made(); err != nil {
		return err
	}
	return k.record(g, func() error { return nil })
}

// isForeknown reports whether all changes of a group are journaled files whose
// contents are here, so that making them finds out nothing more.
func (k *committer) isForeknown(g *group) bool {
	for _, c := range g.changes {
		if c.Kind != journal.KindPut || c.sequence == 0 || c.settle || c.missing || c.reached || k.m.isDerived(c.Path) {
			return false
		}
	}
	return true
}

// acknowledge tells the primary how far everything is durable: not beyond an
// entry whose content is still to come, nor beyond a place to which the next
// stream could not return.
func (k *committer) acknowledge() error {
	acked := k.position.Sequence
	if owed := k.debts.oldest(); owed > 0 {
		acked = min(acked, owed-1)
	}
	if k.isSilent() || k.greeted && acked <= k.acked {
		return nil
	}
	k.greeted = true
	k.acked = acked
	k.m.update(func(s *Status) { s.Acked = acked })
	return k.said(k.c.send(&pb.ReplicateRequest{Message: &pb.ReplicateRequest_Acknowledgement{
		Acknowledgement: &pb.Acknowledgement{Sequence: uint64(acked)},
	}}))
}

// inCatalog marks an error as one of the mirror's catalog.
func inCatalog(err error) error {
	if err == nil || errors.Is(err, wire.ErrProtocol) {
		return err
	}
	return &storeError{fmt.Errorf("the catalog: %w", err)}
}
