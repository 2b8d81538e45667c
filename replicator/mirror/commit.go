package mirror

import (
	"context"
	"errors"
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
// until it is worth a sync, or nothing came for a while. A journal entry ends
// the wait.
const (
	bulkChanges = 512
	bulkBytes   = 16 << 20
	bulkDelay   = 50 * time.Millisecond
)

// missingRetry is how long the mirror waits before it asks again for contents
// that the primary could not read.
const missingRetry = time.Minute

// againDelay is how long it waits after an answer that brought no content: the
// entries that say what became of the file are on their way.
const againDelay = 200 * time.Millisecond

// change is one change to be made: an entry of the journal, or what a
// comparison found.
type change struct {
	wire.Entry
	sequence journal.Sequence // 0: of a comparison
	file     *staged          // the content
	plain    bool             // a chunk was lost: ask for the content without references
	link     uint64           // the group of hard links, of a comparison
	settle   bool             // of a comparison: only facts and content id become known

	stamp   journal.Stamp // of the file, once it is made
	missing bool          // the content is not to be had now
	found   bool          // the change was made before a crash: the file is at Path already
}

// group is what is committed at one time.
type group struct {
	changes  []*change
	links    map[uint64]journal.Path // of the contents in it that have several names
	bytes    int64
	entries  int64            // of the journal
	position journal.Position // after the last of them; Sequence 0: none
}

func (g *group) full() bool { return len(g.changes) >= groupChanges || g.bytes >= groupBytes }

// patient reports whether the group may wait for more.
func (g *group) patient() bool {
	return len(g.changes) > 0 && g.entries == 0 && len(g.changes) < bulkChanges && g.bytes < bulkBytes
}

func (g *group) add(c *change) {
	g.changes = append(g.changes, c)
	if c.file != nil {
		g.bytes += c.file.size
	}
}

// committer makes steps take effect, in their order.
type committer struct {
	c       *connection
	m       *Mirror
	applier *applier
	resync  *resync
	group   group
	applied journal.Sequence
	acked   journal.Sequence
	greeted bool                          // the primary was told where this mirror is
	waiting map[journal.Sequence]struct{} // entries applied without the content, which was asked for
}

func newCommitter(c *connection, w wire.WelcomeMessage) (*committer, error) {
	k := &committer{
		c: c, m: c.m,
		applier: newApplier(c.m, c.stage),
		applied: w.Position.Sequence,
		waiting: make(map[journal.Sequence]struct{}),
	}
	k.resync = newResync(k, w.Resync)
	return k, k.resync.fetchMissing()
}

func (k *committer) close() { k.applier.close() }

// run commits until ctx ends.
func (k *committer) run(ctx context.Context) error {
	retry := time.NewTicker(missingRetry)
	defer retry.Stop()
	again := time.NewTicker(againDelay)
	defer again.Stop()
	if err := k.acknowledge(); err != nil {
		return err
	}
	if err := k.resync.pump(); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-retry.C:
			if err := k.resync.fetchMissing(); err != nil {
				return err
			}
		case <-again.C:
			if err := k.resync.tick(); err != nil {
				return err
			}
		case s := <-k.c.steps:
			if err := k.takeAll(ctx, s); err != nil {
				return err
			}
		}
		if err := k.acknowledge(); err != nil {
			return err
		}
		if err := k.resync.pump(); err != nil {
			return err
		}
	}
}

// takeAll takes a step and all that have come up behind it, and commits them
// together.
func (k *committer) takeAll(ctx context.Context, s step) error {
	for {
		if err := k.take(s); err != nil {
			return err
		}
		if k.group.full() {
			if err := k.commit(); err != nil {
				return err
			}
		}
		if err := k.resync.pump(); err != nil { // what was learnt leads on
			return err
		}
		var more bool
		if s, more = k.another(ctx); !more {
			return k.commit()
		}
	}
}

// another returns a further step for the group, if one has come up, or comes
// soon and the group can wait.
func (k *committer) another(ctx context.Context) (step, bool) {
	select {
	case s := <-k.c.steps:
		return s, true
	default:
	}
	if !k.group.patient() {
		return step{}, false
	}
	timer := time.NewTimer(bulkDelay)
	defer timer.Stop()
	select {
	case s := <-k.c.steps:
		return s, true
	case <-timer.C:
	case <-ctx.Done():
	}
	return step{}, false
}

// take adds one step to the group. A listing is compared with the catalog as
// it is after all that came before, so what waits is committed first.
func (k *committer) take(s step) error {
	switch {
	case s.entries != nil:
		return k.takeEntries(s.entries, s.contents)
	case s.answer != nil:
		return k.resync.takeAnswer(s.answer)
	case s.listing != nil:
		if k.group.entries > 0 {
			if err := k.commit(); err != nil {
				return err
			}
		}
		return k.resync.takeListing(s.listing)
	default:
		k.resync.mark = s.mark
		return nil
	}
}

// takeEntries adds entries of the journal to the group.
func (k *committer) takeEntries(e *wire.Entries, contents map[uint64]*arrived) error {
	if want := max(k.applied, k.group.position.Sequence) + 1; e.First != want {
		return errSequence(e.First, want)
	}
	for i := range e.Entries {
		ch := &change{Entry: e.Entries[i], sequence: e.First + journal.Sequence(i)}
		if a := contents[ch.Transfer]; a != nil && ch.Transfer != 0 {
			ch.file, ch.plain = a.file, a.lost
			delete(contents, ch.Transfer)
		}
		if ch.Kind == journal.KindMoveDir && k.resync.running {
			// What was to be compared beneath the old name is beneath this one.
			k.resync.need(ch.Path)
		}
		k.group.add(ch)
		k.group.entries++
	}
	k.group.position = e.Last
	for _, a := range contents { // of entries whose outcome was not OK after all
		k.c.stage.drop(a.file)
	}
	return nil
}

// commit makes the group durable and visible, and acknowledges it.
func (k *committer) commit() error {
	g := k.group
	k.group = group{}
	if len(g.changes) == 0 && g.position.Sequence == 0 {
		return nil
	}
	if err := k.provide(g.changes); err != nil {
		return err
	}
	if err := k.applier.apply(g.changes); err != nil {
		return err
	}
	var totals catalog.Totals
	err := k.m.cfg.Catalog.UpdateDurably(func(t *catalog.Tx) error {
		for _, c := range g.changes {
			if err := k.record(t, c); err != nil {
				return err
			}
		}
		if g.position.Sequence > 0 {
			t.SetPosition(g.position)
		}
		totals = t.Totals()
		return nil
	})
	if err != nil {
		return err
	}
	if g.position.Sequence > 0 {
		k.applied = g.position.Sequence
	}
	for _, c := range g.changes {
		if c.missing && c.Outcome == wire.OK {
			k.resync.want(want{path: c.Path, sequence: c.sequence, plain: c.plain, alone: c.Kind == journal.KindLink && c.sequence == 0})
		}
	}
	k.m.update(func(s *Status) {
		s.Applied, s.Totals = k.applied, totals
		s.OwnersLost = s.OwnersLost || k.applier.ownersLost
	})
	return k.acknowledge()
}

// record makes one change in the catalog.
func (k *committer) record(t *catalog.Tx, c *change) error {
	switch {
	case c.sequence == 0 && c.Kind == journal.KindRemoveDir:
		return t.Remove(c.Path) // whatever it was
	case c.settle:
		return t.Put(c.Path, catalog.Item{Facts: c.Facts, Stamp: c.stamp, Link: c.link})
	case c.missing && c.Kind == journal.KindPut && c.Outcome == wire.Unreadable && c.sequence == 0:
		return k.keepOlder(t, c)
	case c.missing:
		return k.recordMissing(t, c)
	}
	e := c.Entry.Entry
	e.Stamp = c.stamp
	if c.Kind == journal.KindMove || c.Kind == journal.KindMoveDir || c.Kind == journal.KindLink {
		from, err := t.Lookup(e.From)
		if errors.Is(err, catalog.ErrNotFound) {
			return k.recordMoved(t, c)
		}
		if err != nil {
			return err
		}
		e.Facts, e.Stamp = from.Facts, from.Stamp
	}
	if err := t.Apply(&e); err != nil {
		return err
	}
	if c.sequence == 0 && c.link != 0 {
		return k.recordLink(t, c)
	}
	if c.found {
		return k.recordFound(t, c)
	}
	return nil
}

// recordLink notes the group of hard links that a comparison has found, on
// both names.
func (k *committer) recordLink(t *catalog.Tx, c *change) error {
	for _, p := range []journal.Path{c.Path, c.From} {
		item, err := t.Lookup(p)
		if errors.Is(err, catalog.ErrNotFound) || p == "" {
			continue
		}
		if err != nil {
			return err
		}
		item.Link = c.link
		if err := t.Put(p, item); err != nil {
			return err
		}
	}
	return nil
}

// recordFound notes that a file which a crash has made look lost is there.
func (k *committer) recordFound(t *catalog.Tx, c *change) error {
	item, err := t.Lookup(c.Path)
	if err != nil || !item.Missing {
		return err
	}
	info, err := k.m.cfg.Root.Stat(c.Path)
	if err != nil || info.Facts.Size != item.Facts.Size || info.Facts.Attr.MTime != item.Facts.Attr.MTime {
		return nil // the content will be fetched
	}
	item.Missing, item.Stamp = false, info.Stamp
	return t.Put(c.Path, item)
}

// recordMissing notes that there is a file whose content has not come.
func (k *committer) recordMissing(t *catalog.Tx, c *change) error {
	facts := c.Facts
	if c.From != "" {
		from, err := t.Lookup(c.From)
		if err != nil && !errors.Is(err, catalog.ErrNotFound) {
			return err
		}
		if facts.Type == 0 {
			facts = from.Facts
		}
		if c.Kind == journal.KindMove {
			if err := t.Remove(c.From); err != nil {
				return err
			}
		}
	}
	facts.Type = journal.TypeFile
	return t.Put(c.Path, catalog.Item{Facts: facts, Missing: true})
}

// recordMoved handles a move whose source the catalog does not know, but the
// store did: nothing is known of the file, so a comparison has to tell.
func (k *committer) recordMoved(t *catalog.Tx, c *change) error {
	if c.Kind == journal.KindMoveDir {
		k.resync.need(c.Path)
		return t.Put(c.Path, catalog.Item{Facts: journal.Facts{Type: journal.TypeDirectory}, Stamp: c.stamp})
	}
	_, err := t.Lookup(c.Path)
	if errors.Is(err, catalog.ErrNotFound) {
		k.resync.want(want{path: c.Path})
		return t.Put(c.Path, catalog.Item{Facts: journal.Facts{Type: journal.TypeFile}, Missing: true})
	}
	return err
}

// keepOlder notes that the primary cannot read a file. What the mirror has
// under that name stays.
func (k *committer) keepOlder(t *catalog.Tx, c *change) error {
	_, err := t.Lookup(c.Path)
	if errors.Is(err, catalog.ErrNotFound) {
		facts := c.Facts
		facts.Type = journal.TypeFile
		return t.Put(c.Path, catalog.Item{Facts: facts, Missing: true})
	}
	return err
}

// acknowledge tells the primary how far everything is durable: not beyond an
// entry whose content is still to come.
func (k *committer) acknowledge() error {
	acked := k.applied
	for seq := range k.waiting {
		acked = min(acked, seq-1)
	}
	if k.greeted && acked <= k.acked {
		return nil
	}
	k.greeted = true
	k.acked = acked
	k.m.update(func(s *Status) { s.Acked = acked })
	return k.c.send(&pb.ReplicateRequest{Message: &pb.ReplicateRequest_Acknowledgement{
		Acknowledgement: &pb.Acknowledgement{Sequence: uint64(acked)},
	}})
}
