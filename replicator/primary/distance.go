package primary

import (
	"time"

	"github.com/mailtwin/mailtwin/journal"
)

// nearby is how soon a mirror that is near acknowledges an entry, its disks
// included: one that does so is on a fast network.
const nearby = 5 * time.Millisecond

// distance finds out whether a mirror is near, by how long it took to acknowledge
// the last entry that was timed: one at a time.
type distance struct {
	near  bool
	timed journal.Sequence // not acknowledged yet; 0: none
	since time.Time
}

// sent notes that entries up to seq are being sent.
func (d *distance) sent(seq journal.Sequence, now time.Time) {
	if d.timed == 0 {
		d.timed, d.since = seq, now
	}
}

// acknowledged notes that the mirror has made everything up to seq durable.
func (d *distance) acknowledged(seq journal.Sequence, now time.Time) {
	if d.timed > 0 && seq >= d.timed {
		d.near, d.timed = now.Sub(d.since) < nearby, 0
	}
}

// isNear reports whether the mirror is near, and not busy or away now.
func (d *distance) isNear(now time.Time) bool {
	return d.near && (d.timed == 0 || now.Sub(d.since) < nearby)
}

// isNear reports whether the mirror is near.
func (s *session) isNear() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.distance.isNear(s.server.cfg.Now())
}
