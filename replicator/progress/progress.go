package progress

import (
	"fmt"
	"time"
)

const (
	// Window is how long a rate is measured over, at most.
	Window = 5 * time.Minute
	// interval is the least time between two samples, so that there are not
	// more than a hundred.
	interval = Window / 100
	// longestGap is between two samples that belong together: a mirror may have
	// been away.
	longestGap = Window / 2
	// enough is how long a rate has to be measured before it tells anything.
	enough = 10 * time.Second
)

// State is what there is, and how much of it is done.
type State struct {
	Messages, MessagesDone uint64
	Bytes, BytesDone       uint64
}

// Left returns what is still to be done.
func (s State) Left() (messages, bytes uint64) {
	return s.Messages - min(s.Messages, s.MessagesDone), s.Bytes - min(s.Bytes, s.BytesDone)
}

// Report is how it goes.
type Report struct {
	State
	MessagesPerSecond, BytesPerSecond float64
	// Remaining is how long it will take; it is known only if Known is set.
	Remaining time.Duration
	Known     bool
	// Basis says what Remaining rests on, or why it is not known.
	Basis string
}

// Meter measures how it goes. The zero Meter is ready. It is for one goroutine
// at a time.
type Meter struct {
	samples []sample
}

type sample struct {
	at time.Time
	State
}

// Reset forgets what was measured: something else begins.
func (m *Meter) Reset() { m.samples = nil }

// Note takes a sample. A clock that went back, a long time without samples, or
// less done than before begins the measurement anew.
func (m *Meter) Note(at time.Time, s State) {
	if n := len(m.samples); n > 0 {
		last := m.samples[n-1]
		switch since := at.Sub(last.at); {
		case since < 0 || since > longestGap || s.MessagesDone < last.MessagesDone && s.BytesDone < last.BytesDone:
			m.samples = nil
		case since < interval:
			return
		}
	}
	m.samples = append(m.samples, sample{at, s})
	// The oldest that is kept is the last one before the window.
	for len(m.samples) > 2 && at.Sub(m.samples[1].at) >= Window {
		m.samples = m.samples[1:]
	}
}

// Report tells how it goes at a time, with what is done by then.
func (m *Meter) Report(at time.Time, s State) Report {
	r := Report{State: s, Basis: "unknown: it has only begun"}
	if len(m.samples) == 0 {
		return r
	}
	first := m.samples[0]
	over := at.Sub(first.at)
	if over < enough {
		return r
	}
	rate := func(now, then uint64) float64 { return float64(now-min(now, then)) / over.Seconds() }
	r.MessagesPerSecond, r.BytesPerSecond = rate(s.MessagesDone, first.MessagesDone), rate(s.BytesDone, first.BytesDone)
	messages, bytes := s.Left()
	longest := 0.0
	for _, part := range []struct{ left, perSecond float64 }{
		{float64(messages), r.MessagesPerSecond}, {float64(bytes), r.BytesPerSecond},
	} {
		if part.left == 0 {
			continue
		}
		if part.perSecond == 0 {
			r.Basis = "unknown: nothing came in " + last(over)
			return r
		}
		longest = max(longest, part.left/part.perSecond)
	}
	const century = 100 * 365 * 24 * time.Hour
	if longest > century.Seconds() {
		r.Basis = "unknown: next to nothing came in " + last(over)
		return r
	}
	r.Remaining, r.Known = time.Duration(longest*float64(time.Second)), true
	r.Basis = "at the rate of " + last(over)
	return r
}

// last puts a time into words.
func last(d time.Duration) string {
	if d >= Window {
		return fmt.Sprintf("the last %d minutes", int(Window/time.Minute))
	}
	if d >= 2*time.Minute {
		return fmt.Sprintf("the last %d minutes", int(d/time.Minute))
	}
	return fmt.Sprintf("the last %d seconds", int(d/time.Second))
}
