package governor

import "time"

// UnitSize is the most bytes of a content that are taken for one operation: what
// is read ahead of a file in one request by default.
const UnitSize = 128 << 10

// credit is how much of the time that was not used may be made up for. It
// hides that timers are late, and is short against what an array notices.
const credit = 5 * time.Millisecond

// operations returns how many it takes to read that many bytes of a content.
func operations(bytes int64) float64 { return float64(max(1, (bytes+UnitSize-1)/UnitSize)) }

// gate lets operations pass at a rate. Times are those since the start.
type gate struct {
	ops, bytes time.Duration // when the next ones may pass
}

// limits are what a gate is held to.
type limits struct {
	ops      float64 // a second; 0 is none
	bytes    float64 // a second; 0 is none
	inFlight int
}

// wait returns how long nothing may pass.
func (g *gate) wait(now time.Duration) time.Duration { return max(g.ops, g.bytes) - now }

// pass notes what passes now. What is more than one operation is waited for
// afterwards.
func (g *gate) pass(now time.Duration, n float64, bytes int64, l limits) {
	if l.ops > 0 {
		g.ops = max(g.ops, now-credit) + seconds(n/l.ops)
	}
	if l.bytes > 0 {
		g.bytes = max(g.bytes, now-credit) + seconds(float64(bytes)/l.bytes)
	}
}

// charge notes that it was more than what has passed, or less.
func (g *gate) charge(now time.Duration, n float64, l limits) {
	if l.ops > 0 {
		g.ops = max(g.ops, now-credit) + seconds(n/l.ops)
	}
}

// changed shortens what is still to be waited for when the limits are raised.
func (g *gate) changed(now time.Duration, from, to limits) {
	shorten := func(at time.Duration, old, new float64) time.Duration {
		switch {
		case at <= now, old <= 0:
			return at
		case new <= 0:
			return now
		}
		return now + time.Duration(float64(at-now)*min(1, old/new))
	}
	g.ops = shorten(g.ops, from.ops, to.ops)
	g.bytes = shorten(g.bytes, from.bytes, to.bytes)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
