package primary

import (
	"testing"
	"time"
)

// TestDistance: a mirror is near if it answers at once, and not any more when it
// does not.
func TestDistance(t *testing.T) {
	now := time.Unix(1e9, 0)
	pass := func(d time.Duration) time.Time { now = now.Add(d); return now }
	var d distance
	near := func(want bool) {
		t.Helper()
		if d.isNear(now) != want {
			t.Errorf("near: %v, %+v", !want, d)
		}
	}
	near(false)
	d.sent(3, pass(0))
	d.sent(5, pass(nearby/2)) // not timed
	near(false)
	d.acknowledged(2, pass(0))
	near(false)
	d.acknowledged(4, pass(nearby/4))
	near(true)
	d.sent(6, pass(time.Hour))
	near(true)
	pass(nearby)
	near(false)
	d.acknowledged(6, now)
	near(false)
	d.acknowledged(7, pass(0)) // nobody was timed
	near(false)
	d.sent(8, now)
	d.acknowledged(8, pass(time.Millisecond))
	near(true)
}
