package content

import "time"

// How a levelControl decides.
const (
	interval        = 250 * time.Millisecond // what is decided on
	quietRate       = 8 << 20                // bytes a second; more is not little to do
	fastRate        = 96 << 20               // bytes a second; who takes that unhindered does not need it compressed
	lineRate        = 125_000_000            // bytes a second that a gigabit line carries
	quietReset      = 10 * time.Second       // of little to do: begin anew
	stepAfter       = 2                      // intervals that ask for it; before a trial doubled each time it was wrong,
	stepAfterAtMost = 64                     // up to this
	trialLength     = 3                      // intervals
)

// levelControl finds the level at which content flows fastest. In each
// interval it weighs the time that the sender was blocked against the time
// spent compressing:
//
//   - hardly blocked (handing a message over takes some time by itself), and compressing for more than a quarter, or content flows
//     as fast as a gigabit line carries it: one level down. The network takes
//     all there is, so compressing buys nothing, and reading, hashing and the
//     mail server want the processor too.
//   - blocked for more than a quarter, several intervals on end: one level up,
//     on trial. If the content (counted before compression) does not flow at
//     least 3 % faster then, back again. But if compressing costs more than a
//     fifth, the first trial goes one level down, and so does the one after a
//     step up that was wrong: the mirror may want the processor more than the
//     network wants the bytes. And what takes more than a gigabit line carries
//     as it is, is not made to wait by the network.
//   - a step that was wrong, or is one down without a trial, doubles the
//     patience before the next trial: it does not flap.
//   - little to do for ten seconds: the default level, as at the beginning,
//     since there is time to compress.
//
// It is fed with times and reads no clock itself.
type levelControl struct {
	level    Level
	start    time.Time // of the interval
	interval sample    // so far
	streak   sample    // the intervals of waiting, together
	waiting  int       // intervals on end that were blocked
	costly   int       // intervals on end that asked for a step down
	patience int       // intervals of waiting before a trial
	tryDown  bool      // the next trial is down, if that can be
	trial    trial
	quiet    time.Duration
}

// sample is what was done in some time.
type sample struct {
	elapsed, compressing, blocked time.Duration
	bytes                         int64 // before compression
}

func (s *sample) add(o sample) {
	s.elapsed += o.elapsed
	s.compressing += o.compressing
	s.blocked += o.blocked
	s.bytes += o.bytes
}

// rate is in bytes a second.
func (s sample) rate() float64 { return float64(s.bytes) / s.elapsed.Seconds() }

// trial watches a step.
type trial struct {
	left   int     // intervals; 0: no trial
	step   Level   // 1 or -1
	before float64 // rate
	since  sample
}

func newLevelControl(now time.Time) *levelControl {
	return &levelControl{level: LevelDefault, start: now, patience: stepAfter, tryDown: true}
}

// add counts a chunk of so many bytes.
func (l *levelControl) add(bytes int, compressing, blocked time.Duration) {
	l.interval.add(sample{compressing: max(compressing, 0), blocked: blocked, bytes: int64(bytes)})
}

// decide returns the level to go on with.
func (l *levelControl) decide(now time.Time) Level {
	elapsed := now.Sub(l.start)
	if elapsed >= 0 && elapsed < interval {
		return l.level
	}
	s := l.interval
	s.elapsed = elapsed
	l.start, l.interval = now, sample{}
	if elapsed < 0 { // the clock was set back
		return l.level
	}
	switch {
	case (s.compressing+s.blocked)*20 < elapsed && s.rate() < quietRate:
		l.rest(elapsed)
	case l.trial.left > 0:
		l.judge(s)
	case l.level == LevelOff && s.rate() > lineRate:
		l.steady()
	case s.blocked*4 > elapsed:
		l.wait(s)
	case s.blocked*8 < elapsed && (s.compressing*4 > elapsed || s.rate() > fastRate):
		l.lower()
	default:
		l.steady()
	}
	return l.level
}

// steady forgets what the last intervals asked for.
func (l *levelControl) steady() {
	l.waiting, l.costly, l.quiet, l.streak = 0, 0, 0, sample{}
}

// rest is for an interval in which there was little to do.
func (l *levelControl) rest(elapsed time.Duration) {
	quiet := l.quiet + elapsed
	l.steady()
	l.quiet = quiet
	l.trial = trial{}
	if quiet >= quietReset {
		l.level, l.patience, l.tryDown = LevelDefault, stepAfter, true
	}
}

// lower is for an interval in which compressing held the sender up.
func (l *levelControl) lower() {
	l.costly++
	costly := l.costly
	l.steady()
	l.costly = costly
	if costly >= stepAfter && l.level > LevelOff {
		l.level--
		l.waitLonger()
	}
}

// wait is for an interval in which the sender was blocked.
func (l *levelControl) wait(s sample) {
	l.costly, l.quiet = 0, 0
	l.waiting++
	l.streak.add(s)
	if l.waiting < l.patience {
		return
	}
	step := Level(1)
	costly := l.streak.compressing*5 > l.streak.elapsed && l.level > LevelOff
	if costly && (l.tryDown || l.level == LevelBetter) {
		step = -1
	} else if l.level == LevelBetter {
		return
	}
	l.level += step
	l.trial = trial{left: trialLength, step: step, before: l.streak.rate()}
	l.steady()
}

// judge is for an interval of a trial.
func (l *levelControl) judge(s sample) {
	l.steady()
	l.trial.since.add(s)
	l.trial.left--
	if l.trial.left > 0 {
		return
	}
	if l.trial.since.rate() >= l.trial.before*1.03 {
		l.tryDown = l.trial.step < 0 // go on in the same direction
		return
	}
	l.level -= l.trial.step
	l.tryDown = l.trial.step > 0
	l.waitLonger()
}

// waitLonger makes the next trial wait longer.
func (l *levelControl) waitLonger() {
	l.patience = min(2*l.patience, stepAfterAtMost)
	l.steady()
}
