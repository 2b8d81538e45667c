package governor

import "time"

// Profile is how considerate the governor is.
type Profile string

// The profiles.
const (
	Gentle   Profile = "gentle"   // nobody notices
	Normal   Profile = "normal"   // faster; others may feel it at times
	Evacuate Profile = "evacuate" // as fast as can be: the array is about to be lost
)

// Profiles lists them.
func Profiles() []Profile { return []Profile{Gentle, Normal, Evacuate} }

// manner is what a profile means.
type manner struct {
	unbound  bool          // only the caps count
	headroom float64       // the share of the capacity that all together may use
	factor   float64       // latency, in baselines, that is a sign of strain
	slack    time.Duration // and at least so much above the baseline
	decrease float64       // what is left of the rate after a sign of strain
	pressure float64       // the share of time that the mail server may wait for the disk beyond what is usual
	duty     float64       // the share of time that we may keep a disk with heads busy
	inFlight int
	floor    float64 // operations a second
}

func (p Profile) manner() manner {
	switch p {
	case Normal:
		return manner{headroom: 0.9, factor: 2.5, slack: 5 * time.Millisecond, decrease: 0.9, pressure: 0.2, duty: 0.8, inFlight: 8, floor: 10}
	case Evacuate:
		return manner{unbound: true, inFlight: 16, floor: 10}
	case Gentle:
	}
	return manner{headroom: 0.8, factor: 1.6, slack: 2 * time.Millisecond, decrease: 0.85, pressure: 0.05, duty: 0.5, inFlight: 4, floor: 2}
}

// strained returns the latency from which on there is strain, where an idle
// array has the latency base.
func (m manner) strained(base time.Duration) time.Duration {
	return max(time.Duration(float64(base)*m.factor), base+m.slack)
}
