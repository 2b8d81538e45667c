package mirror

import (
	"slices"
	"time"

	"github.com/mailtwin/mailtwin/replicator/wire"
)

// lanes are the steps that have come up first in each of the two lanes: entries,
// and everything else.
type lanes struct {
	live, bulk *step
	taken      uint64 // steps of the second lane that were taken
}

func (l *lanes) empty() bool { return l.live == nil && l.bulk == nil }

// next returns the step whose turn it is, if one has come up. Entries go first,
// past contents and listings that the primary has sent before them, but not past
// those that have to do with the same names: what came later must find what was
// there before. Nothing ever goes past entries that were sent before it.
func (k *committer) next() (step, bool) {
	l := &k.lanes
	// Entries come into their lane before what follows them comes into the other
	// one; so after a look into that one all of them are seen.
	if l.bulk == nil {
		select {
		case s := <-k.c.steps:
			l.bulk = &s
		default:
		}
	}
	if s, free := k.nextEntries(); free {
		l.live = nil
		return s, true
	}
	if l.live != nil && l.bulk == nil {
		before := <-k.c.steps // it was passed on before the entries
		l.bulk = &before
	}
	if s := l.bulk; s != nil {
		l.bulk = nil
		l.taken++
		return *s, true
	}
	return step{}, false
}

// nextEntries looks at the entries that have come up first, and reports whether
// there are any and it is their turn.
func (k *committer) nextEntries() (step, bool) {
	l := &k.lanes
	if l.live == nil {
		select {
		case s := <-k.c.live:
			l.live = &s
		default:
			return step{}, false
		}
	}
	s := *l.live
	return s, s.after <= l.taken || !k.resync.concerns(s.entries.Entries)
}

// concerns reports whether contents and listings that were asked for may concern
// entries.
func (r *resync) concerns(entries []wire.Entry) bool {
	for i := range entries {
		if lacksContent(&entries[i]) || r.concernsEntry(&entries[i]) {
			return true
		}
	}
	return false
}

func (r *resync) concernsEntry(e *wire.Entry) bool {
	concern := concernOf(e, r.k.m.cfg.Rules)
	if slices.ContainsFunc(r.asked, func(t *task) bool { return concern.withListing(t.path) }) {
		return true
	}
	if concern.single {
		return r.sent[e.Path] > 0 || r.sent[e.From] > 0
	}
	for p := range r.sent {
		if concern.with(p) {
			return true
		}
	}
	return false
}

// The time that a group of a comparison may take: entries that come meanwhile
// wait for it.
const (
	longGroup  = 80 * time.Millisecond
	shortGroup = 40 * time.Millisecond
	// leastBulk is how small a group may get, in bytes, and firstBulk how large it
	// may be as long as nothing is known of the disk.
	leastBulk = 2 << 20
	firstBulk = 4 << 20
)

// rhythm finds out how much of a comparison the disk takes in a short while.
type rhythm struct {
	bulk int64 // bytes of a group
}

// full reports whether the group should be committed.
func (r *rhythm) full(g *group) bool {
	return g.full() || g.entries == 0 && (g.bytes >= r.bulk || len(g.changes) >= bulkChanges)
}

// inFlight is how many bytes may be asked for at one time: what is staged is
// written beside the groups, and holds them up.
func (r *rhythm) inFlight() int64 { return max(2*r.bulk, 2*leastBulk) }

// took learns from a group of contents.
func (r *rhythm) took(g *group, d time.Duration) {
	switch {
	case g.entries > 0:
	case d > longGroup:
		// As much as it takes in a short while, if that is less than half.
		fits := int64(float64(g.bytes) * shortGroup.Seconds() / d.Seconds())
		r.bulk = max(min(r.bulk/2, g.bytes/2, fits), leastBulk)
	case d < shortGroup && g.bytes >= r.bulk/2:
		r.bulk = min(r.bulk+r.bulk/4, bulkBytes)
	}
}
