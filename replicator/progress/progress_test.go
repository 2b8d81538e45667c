package progress

import (
	"strings"
	"testing"
	"time"
)

var start = time.Unix(1_700_000_000, 0)

func at(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }

func done(messages uint64) State {
	return State{Messages: 10_000, MessagesDone: messages, Bytes: 1_000_000, BytesDone: 100 * messages}
}

// TestRemaining: the time that is left, what it rests on, and why it is unknown.
func TestRemaining(t *testing.T) {
	for _, c := range []struct {
		name    string
		samples map[int]uint64 // by second
		at      int
		done    uint64
		left    time.Duration
		known   bool
		basis   string
	}{
		{"nothing measured", nil, 0, 0, 0, false, "unknown: it has only begun"},
		{"just begun", map[int]uint64{0: 0, 5: 500}, 9, 900, 0, false, "unknown: it has only begun"},
		{"a while", map[int]uint64{0: 0, 30: 300}, 40, 400, 960 * time.Second, true, "at the rate of the last 40 seconds"},
		{"minutes", map[int]uint64{0: 0, 100: 1000}, 200, 2000, 800 * time.Second, true, "at the rate of the last 3 minutes"},
		{"it stands still", map[int]uint64{0: 1000, 30: 1000}, 60, 1000, 0, false, "unknown: nothing came in the last 60 seconds"},
		{"done", map[int]uint64{0: 1000, 30: 5000}, 60, 10_000, 0, true, "at the rate of the last 60 seconds"},
		// 10 a second for long, then 1 a second: the last minutes count.
		{"slower lately", map[int]uint64{0: 0, 300: 3000, 400: 3100, 500: 3200, 600: 3300}, 700, 3400, 6600 * time.Second, true, "at the rate of the last 5 minutes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m Meter
			for s := range 1000 {
				if n, ok := c.samples[s]; ok {
					m.Note(at(s), done(n))
				}
			}
			r := m.Report(at(c.at), done(c.done))
			if diff := (r.Remaining - c.left).Abs(); r.Known != c.known || diff > time.Second || r.Basis != c.basis {
				t.Errorf("%v (%v), %q; want %v (%v), %q", r.Remaining, r.Known, r.Basis, c.left, c.known, c.basis)
			}
		})
	}
}

// TestTheSlowerCounts: many small messages take longer than their bytes say.
func TestTheSlowerCounts(t *testing.T) {
	var m Meter
	s := State{Messages: 1000, Bytes: 1000}
	m.Note(at(0), s)
	s.MessagesDone, s.BytesDone = 10, 500
	if r := m.Report(at(100), s); !r.Known || r.Remaining != 9900*time.Second {
		t.Errorf("%v", r.Remaining)
	}
}

// TestMeterIsBounded: however often it is told, it keeps little, and a clock
// that jumps does not confuse it.
func TestMeterIsBounded(t *testing.T) {
	var m Meter
	for i := range 100_000 {
		m.Note(start.Add(time.Duration(i)*100*time.Millisecond), done(uint64(i)))
	}
	if n := len(m.samples); n > 110 {
		t.Errorf("%d samples are kept", n)
	}
	m.Note(at(0), done(5))
	if r := m.Report(at(5), done(6)); r.Known || !strings.Contains(r.Basis, "begun") {
		t.Errorf("after the clock was set back: %+v", r)
	}
	m.Reset()
	if r := m.Report(at(50), done(6)); r.Known {
		t.Errorf("after a reset: %+v", r)
	}
}
