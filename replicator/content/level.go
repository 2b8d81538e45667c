package content

import "time"

// How a levelControl decides.
const (
	interval      = 250 * time.Millisecond // what is decided on
	quietReset    = 10 * time.Second       // of little to do: begin anew
	stepDownAfter = 2                      // intervals
	stepUpAfter   = 2                      // intervals, doubled by each step that was taken back
	stepUpAtMost  = 64                     // intervals
	trialLength   = 3                      // intervals
)

// levelControl finds the level at which content flows fastest. In each
// interval it weighs the time that the sender was blocked against the time
// spent compressing:
//
//   - blocked for more than a quarter, several intervals on end: one level up,
//     on trial. If the content (counted before compression) does not flow at
//     least 3 % faster then, one down again.
//   - hardly blocked, and compressing for more than two fifths: one level down.
//   - a step down, whichever, doubles the patience before the next step up: it
//     does not flap.
//   - little to do for ten seconds: the default level, as at the beginning,
//     since there is time to compress.
//
// It is fed with times and reads no clock itself.
type levelControl struct {
	level    Level
	start    time.Time // of the interval
	interval sample    // so far
	streak   sample    // the intervals that asked for a step up, together
	up, down int       // intervals on end that asked for a step
	patience int       // intervals of up before it is done
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

// trial watches a step up.
type trial struct {
	left   int     // intervals; 0: no trial
	before float64 // rate
	since  sample
}

func newLevelControl(now time.Time) *levelControl {
	return &levelControl{level: LevelDefault, start: now, patience: stepUpAfter}
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
	case (s.compressing+s.blocked)*20 < elapsed:
		l.rest(elapsed)
	case l.trial.left > 0:
		l.judge(s)
	case s.blocked*4 > elapsed:
		l.wantUp(s)
	case s.blocked*20 < elapsed && s.compressing*5 > elapsed*2:
		l.wantDown()
	default:
		l.steady()
	}
	return l.level
}

// steady forgets what the last intervals asked for.
func (l *levelControl) steady() {
	l.up, l.down, l.quiet, l.streak = 0, 0, 0, sample{}
}

// rest is for an interval in which there was little to do.
func (l *levelControl) rest(elapsed time.Duration) {
	quiet := l.quiet + elapsed
	l.steady()
	l.quiet = quiet
	l.trial = trial{}
	if quiet >= quietReset {
		l.level, l.patience = LevelDefault, stepUpAfter
	}
}

// wantUp is for an interval in which the sender was blocked.
func (l *levelControl) wantUp(s sample) {
	l.down, l.quiet = 0, 0
	l.up++
	l.streak.add(s)
	if l.up < l.patience || l.level == LevelBetter {
		return
	}
	l.level++
	l.trial = trial{left: trialLength, before: l.streak.rate()}
	l.steady()
}

// wantDown is for an interval in which compressing held the sender up.
func (l *levelControl) wantDown() {
	l.up, l.quiet, l.streak = 0, 0, sample{}
	l.down++
	if l.down >= stepDownAfter && l.level > LevelOff {
		l.stepDown()
	}
}

// judge is for an interval of a trial.
func (l *levelControl) judge(s sample) {
	l.quiet = 0
	l.trial.since.add(s)
	l.trial.left--
	if l.trial.left == 0 && l.trial.since.rate() < l.trial.before*1.03 {
		l.stepDown()
	}
}

func (l *levelControl) stepDown() {
	l.level--
	l.patience = min(2*l.patience, stepUpAtMost)
	l.steady()
}
