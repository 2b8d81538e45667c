package governor

import (
	"time"
)

// The rhythm of the control law; see the package comment.
const (
	startRate    = 64.0                    // operations a second that a search begins with
	searchOps    = 8                       // after which it doubles
	lookInterval = 200 * time.Millisecond  // between two decisions otherwise
	measureTime  = 80 * time.Millisecond   // at the limit, to know the capacity
	correctTime  = 150 * time.Millisecond  // at the limit, to correct it, or where others wait for next to nothing
	measureLimit = 400 * time.Millisecond  // and no longer than this
	limitMore    = 2.0                     // times what is done is asked for there
	restTime     = 200 * time.Millisecond  // at the floor, for others to be done
	probeTime    = 1500 * time.Millisecond // more than what an array answers at once of what it has saved up
	probeMore    = 1.25                    // of the capacity
	firstHold    = 5 * time.Second         // before a probe
	holdMore     = 3                       // times as long after one that found nothing
	lastHold     = 2 * time.Minute
	probeCalm    = 2 * time.Second // without strain, before a probe
	nextHold     = time.Second     // after a probe that found more
	blindHold    = 2 * time.Second
	quickHold    = 200 * time.Millisecond // before a disk that is proven to be fast is searched again
	lastProof    = 2 * time.Minute        // that it takes at most to be proven fast; see disprove
	slowReads    = 10 * time.Millisecond  // above the baseline: a read that had to wait
	slowShare    = 0.125                  // of the time that is spent on such reads, to count
	headLatency  = time.Millisecond       // from here on a disk is taken to have heads
	fastRate     = 1000.0                 // operations a second that only a disk without heads answers one by one
	windows      = 5                      // that the operations are averaged over
	maxRate      = 1e6
)

// window is what happened between two decisions.
type window struct {
	passed  time.Duration
	own     float64       // operations of ours
	reads   int           // that were measured
	took    time.Duration // together
	oldest  time.Duration // how long the oldest leave is out
	limited bool          // someone waited for leave because of the rate
	crowded bool          // or because too many were out
	slow    bool          // it ends with a read that had to wait
	slowed  time.Duration // what such reads took together
	late    time.Duration // how late the processor let a thread run that had slept, at most
	lag     time.Duration // and on average
	ops     float64       // of the devices, ours among them; negative: they cannot be told
	member  memberWait    // of the slowest member
	waits   float64       // share of the time that the mail server waits for the disk, beyond what is usual
	others  float64       // share of the time that anyone but us waits for a disk
}

// latency is what a read took on average, less what the processor was late: as
// much as our own timers. Part of it is left in any case, for it is an estimate.
func (w window) latency() time.Duration {
	took := w.took / time.Duration(max(1, w.reads))
	return max(took-w.lag, took/8)
}

// memberWait is how long a member of the array takes to answer reads.
type memberWait struct {
	name       string
	wait, base time.Duration
	excess     float64 // of wait in baselines
}

// phase is one of those of the package comment.
type phase int

const (
	searching phase = iota
	measuring
	cruising
	probing
)

// controller is the control law. It knows no clock, no devices and no lock:
// it is told what happened, and tells what may be asked for.
type controller struct {
	manner   manner
	own      baseline
	rate     float64 // operations a second, of ours
	inFlight int
	members  int     // of the array, as far as they are known
	capacity float64 // operations a second; 0: not known
	total    float64 // operations a second lately, ours and others'
	used     float64 // those of them that are ours
	latency  time.Duration
	late     time.Duration // see window; that of lately
	answer   time.Duration // what the slowest member of the array takes for a read when it is idle; 0: not known
	fast     bool          // there are no heads
	proven   time.Duration // for how long it was so without strain; see quick
	proof    time.Duration // how long that must be to be beyond doubt
	strain   strain

	phase   phase
	inPhase time.Duration
	calm    time.Duration // since the last strain
	strains int           // windows in a row with strain
	rest    time.Duration // that is left of a rest at the floor
	probed  time.Duration // since the last probe
	hold    time.Duration // between two probes
	before  float64       // the rate before a probe
	found   int           // probes in a row that found more
	busyOps float64       // operations in windows that began and ended with a wait
	busy    time.Duration
	wasSlow bool
	recent  []window // the last windows
}

func newController(m manner) *controller {
	return &controller{manner: m, rate: startRate, inFlight: 1, hold: firstHold, proof: probeTime}
}

// use changes the manner.
func (c *controller) use(m manner) {
	c.manner = m
	c.inFlight = min(c.inFlight, m.inFlight)
	c.calm = 0
}

// urgent reports whether a decision must not wait for more to happen.
func (c *controller) urgent(w window) bool {
	return w.slow || w.passed >= lookInterval || c.searched(w)
}

// searched reports whether a window is long enough for a step of the search.
// Without a bound there is none to be found, and where neither the rate nor how
// many are out holds anybody up, the next step makes no difference.
func (c *controller) searched(w window) bool {
	return c.phase == searching && !c.manner.unbound && w.own >= searchOps &&
		(c.outrun(w) || w.crowded && c.inFlight < c.mostInFlight())
}

// outrun reports whether more would have been done in a window if the rate were
// higher.
func (c *controller) outrun(w window) bool {
	return w.limited && w.own >= c.rate*w.passed.Seconds()/2
}

// decide takes one window into account.
func (c *controller) decide(w window) {
	c.note(w)
	c.strain = c.strained(w)
	c.inPhase += w.passed
	c.calm += w.passed
	c.probed += w.passed
	if c.manner.unbound {
		c.inFlight = c.manner.inFlight
		return
	}
	c.prove(w)
	bad := c.strain.kind != calm
	switch c.phase {
	case searching:
		c.search(w, bad)
	case measuring:
		c.measure(w, bad)
	case cruising:
		c.cruise(w, bad)
	case probing:
		c.probe(bad || w.slow)
	}
	c.crowd(w, bad)
	c.rate = min(max(c.rate, c.manner.floor), maxRate)
}

// note learns from a window what does not depend on the phase.
func (c *controller) note(w window) {
	if w.ops < 0 { // our own are all that we see
		w.ops = w.own
		c.hold = min(c.hold, blindHold)
	}
	if w.slow && c.wasSlow {
		c.busyOps += w.ops
		c.busy += w.passed
	} else if !w.slow {
		c.busyOps, c.busy = 0, 0
	}
	c.wasSlow = w.slow
	c.recent = append(c.recent, w)
	if len(c.recent) > windows {
		c.recent = c.recent[1:]
	}
	c.total, c.used = c.average()
	c.late = max(w.late, time.Duration(float64(c.late)*max(0, 1-w.passed.Seconds())))
	c.fast = c.own.known() && !c.heads() && (c.fast || c.used >= fastRate)
	if w.reads > 0 {
		c.latency = w.latency()
		c.own.add(c.latency*time.Duration(w.reads), w.reads, c.idle() && !w.slow)
	}
}

// prove notes how long an array without a limit that is known has answered what only
// one without heads can. The longer it goes on doing so, the sooner it is searched
// again when others have made it busy.
func (c *controller) prove(w window) {
	switch {
	case c.heads():
		c.proven = 0
	case !c.fast || c.phase != searching || c.strain.kind != calm || w.own < fastRate*w.passed.Seconds():
	case c.quick():
		c.hold = max(quickHold, c.hold-w.passed)
	default:
		if c.proven += w.passed; c.quick() {
			c.hold = quickHold
		}
	}
}

// quick reports whether an array is fast beyond doubt: it was for longer than by
// what it may have saved up for. What is measured of such a one while others make it
// busy for a moment says little of what it can do, so that is soon searched for again.
func (c *controller) quick() bool { return c.proven >= c.proof }

// disprove takes back that an array is fast beyond doubt, when its limit was found to
// be that of a slow one, and as a good part of what it did was ours, who had one read
// out at a time, others did not make it so: then what was fast is a cache in front of
// it, and what is read now is not in there. As that may come and go, it takes twice as
// long to be proven again.
func (c *controller) disprove() {
	if c.quick() && c.capacity < fastRate && c.used > c.capacity/4 {
		c.proven, c.proof = 0, min(2*c.proof, lastProof)
		c.hold = firstHold
	}
}

// idle reports whether the array is as good as idle, so that reads take now
// what they take at best: there is no strain, or we add next to nothing to
// what others ask for; others ask for little; and our own reads do not wait
// for each other.
func (c *controller) idle() bool {
	calm := c.strain.kind == calm && c.phase != measuring || c.rate < 2*c.manner.floor
	quiet := c.capacity == 0 || c.othersOps() < c.capacity/4
	alone := c.inFlight == 1 || c.own.known() && !c.heads()
	return calm && quiet && alone
}

// average returns the operations a second of the last windows, of all and ours.
// What we have asked for and is not done is in ours already.
func (c *controller) average() (ops, own float64) {
	var passed time.Duration
	for _, w := range c.recent {
		ops, own, passed = ops+w.ops, own+w.own, passed+w.passed
	}
	if passed <= 0 {
		return 0, 0
	}
	return ops / passed.Seconds(), own / passed.Seconds()
}

func (c *controller) enter(p phase) { c.phase, c.inPhase = p, 0 }

// search doubles the rate until there is strain. Then what was done meanwhile
// tells how much must be asked for to be at the limit, and no more is.
func (c *controller) search(w window, bad bool) {
	switch {
	case bad:
		c.inFlight = 1
		c.enter(measuring)
		if w.ops > 0 {
			c.rate = min(c.rate, max(startRate, limitMore*w.ops/w.passed.Seconds()))
		}
		c.busyOps, c.busy = 0, 0
		c.recent = c.recent[:0]
	case !w.slow && c.outrun(w):
		c.rate *= 2
	}
}

// measure learns the capacity of an array that is at its limit, if it is: one
// late answer may have been an accident.
func (c *controller) measure(w window, bad bool) {
	switch {
	case !bad && !w.slow:
		c.enter(searching)
		return
	case c.busy >= c.measureTime():
		c.capacity = c.busyOps / c.busy.Seconds()
	case c.inPhase >= measureLimit && c.total > 0:
		c.capacity = c.total
	default:
		return
	}
	c.settle()
}

// measureTime is how long an array must have been at its limit for its capacity to
// be known. Of a slow one others wait for a good part of that time.
func (c *controller) measureTime() time.Duration {
	if c.fast {
		return correctTime
	}
	return measureTime
}

// settle begins to cruise with a capacity that was just measured.
func (c *controller) settle() {
	c.rate = max(c.manner.floor, min(c.rate, c.used-(c.total-c.target()), c.target()))
	c.fast = c.fast && c.capacity >= fastRate
	c.enter(cruising)
	c.calm, c.probed, c.strains, c.recent = 0, 0, 0, c.recent[:0]
	if c.disprove(); c.quick() {
		c.hold = min(2*c.hold, lastHold)
	}
}

// target is how many operations a second all together may use.
func (c *controller) target() float64 { return c.capacity * c.manner.headroom }

// cruise holds the operations of all at the target.
func (c *controller) cruise(w window, bad bool) {
	if bad {
		c.strains++
		c.yield()
		return
	}
	c.strains = 0
	if c.rest > 0 {
		if c.rest -= w.passed; c.rest <= 0 {
			c.recent = c.recent[:0] // it was no measure of what is asked for
		}
		return
	}
	spare := c.target() - c.total
	step := min(1, w.passed.Seconds()/lookInterval.Seconds())
	switch {
	case spare < 0:
		c.rate += 0.4 * spare * step
	case w.limited:
		c.rate += 0.35 * min(spare, max(c.rate, c.manner.floor)) * step
	}
	switch due := c.probed >= c.hold && c.calm >= min(c.hold, probeCalm) && w.limited; {
	case due && c.quick():
		c.rate = max(c.rate, startRate)
		c.enter(searching)
		c.recent = c.recent[:0]
	case due && spare < c.rate/4:
		c.before = c.rate
		c.rate = min(c.rate, c.used) + probeMore*c.capacity - c.total
		c.enter(probing)
		c.recent = c.recent[:0]
	}
}

// yield lets others go first: they mostly want much for a moment, so we stop
// for one, and go on a little slower. What was taken for the capacity is lowered only
// when the strain does not end at once, though all do about as much as they
// may: else it has another reason.
func (c *controller) yield() {
	if c.strains >= 2 && c.total > 0.9*c.target() {
		c.capacity *= 0.97
	}
	if c.busy >= correctTime {
		measured := c.busyOps / c.busy.Seconds()
		c.capacity = min(max((c.capacity+measured)/2, 0.7*c.capacity), 1.05*c.capacity)
		c.busyOps, c.busy = 0, 0
	}
	c.calm = 0
	if c.rest <= 0 {
		// What was answered from memory was no measure.
		c.rate = min(c.rate, max(c.used, c.manner.floor), max(c.target(), c.manner.floor)) * c.manner.decrease
	}
	c.rest = restTime
}

// allowed returns the rate that holds now.
func (c *controller) allowed() float64 {
	if c.rest > 0 {
		return c.manner.floor
	}
	return c.rate
}

// probe looks whether the capacity is larger by now.
func (c *controller) probe(bad bool) {
	switch {
	case bad:
		c.hold = min(max(c.hold, firstHold/2)*holdMore, lastHold)
		c.found = 0
	case c.inPhase < probeTime:
		return
	case c.total > 1.05*c.capacity:
		c.capacity = min(c.total, probeMore*c.capacity)
		c.hold = nextHold
		c.found++
	}
	c.rate = c.before
	c.calm, c.probed = 0, 0
	c.enter(cruising)
	if c.found >= 3 {
		c.found = 0
		c.enter(searching)
	}
	c.recent = c.recent[:0]
}

// crowd decides how many leaves may be out at a time.
func (c *controller) crowd(w window, bad bool) {
	switch {
	case bad:
		c.inFlight = max(1, c.inFlight/2)
	case w.crowded && c.phase != measuring && c.inFlight < c.mostInFlight() &&
		w.reads > 0 && !c.crowdedOut():
		c.inFlight++
	case w.reads > 0 && c.inFlight > 1 && c.crowdedOut():
		c.inFlight--
	}
}

// mostInFlight is how many leaves may ever be out: each disk with heads can do
// only one thing at a time, and of an array that has a limit, each is taken for
// such a one until it has answered more than that.
func (c *controller) mostInFlight() int {
	if !c.own.known() || c.heads() || c.capacity > 0 && !c.fast {
		return min(c.manner.inFlight, max(1, c.members))
	}
	return c.manner.inFlight
}

// crowdedOut reports whether reads take longer because there are several.
func (c *controller) crowdedOut() bool {
	return c.latency > c.own.value*5/4+slowReads/20+c.late
}

// duty returns the rate beyond which we would keep a disk with heads busy for
// a larger share of the time than the manner allows; 0: there is no such rate.
func (c *controller) duty() float64 {
	if c.manner.unbound || !c.own.known() || !c.heads() {
		return 0
	}
	return c.manner.duty * float64(c.inFlight) / c.alone().Seconds()
}

// alone is what a disk takes for a read, as well as it is known.
func (c *controller) alone() time.Duration {
	if c.answer > 0 {
		return min(c.answer, c.own.value)
	}
	return c.own.value
}

// heads reports whether a disk takes as long as only one with heads does.
func (c *controller) heads() bool { return c.alone() >= headLatency }

// othersOps estimates the operations a second of others.
func (c *controller) othersOps() float64 { return max(0, c.total-c.used) }
