package content

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// machine is a sender in a model: content is compressed at the speed of the
// level, and what is left of it goes through a network of some speed. Both
// overlap up to a buffer of nothing: one waits for the other.
type machine struct {
	now     time.Time
	control *levelControl
	speed   [4]float64 // of compressing, bytes a second; 0: takes no time
	ratio   [4]float64
	source  float64 // bytes a second that can be read
	network float64 // bytes a second
	// contention is how much longer the other side takes, in parts of the time
	// that is spent compressing here: both are on one processor.
	contention float64
}

func newMachine() *machine {
	start := time.Unix(1_700_000_000, 0)
	return &machine{
		now:     start,
		control: newLevelControl(start),
		speed:   [4]float64{0, 400e6, 250e6, 120e6},
		ratio:   [4]float64{1, 0.60, 0.56, 0.53},
		source:  2e9,
		network: 100e6,
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// run sends for so long and returns the levels: one digit a second.
func (m *machine) run(t time.Duration) string {
	const chunk = MaxChunk
	var trace strings.Builder
	end, next := m.now.Add(t), m.now.Add(time.Second)
	for m.now.Before(end) {
		level := m.control.level
		reading := seconds(chunk / m.source)
		compressing := time.Duration(0)
		if m.speed[level] > 0 {
			compressing = seconds(chunk / m.speed[level])
		}
		sending := seconds(chunk*m.ratio[level]/m.network) + seconds(m.contention*compressing.Seconds())
		blocked := max(0, sending-reading-compressing)
		m.now = m.now.Add(reading + compressing + blocked)
		m.control.add(chunk, compressing, blocked)
		m.control.decide(m.now)
		for !next.After(m.now) {
			fmt.Fprint(&trace, int(m.control.level))
			next = next.Add(time.Second)
		}
	}
	return trace.String()
}

// changes counts how often a trace changes.
func changes(trace string) (n int) {
	for i := 1; i < len(trace); i++ {
		if trace[i] != trace[i-1] {
			n++
		}
	}
	return n
}

func TestLevelFollowsTheNetwork(t *testing.T) {
	tests := []struct {
		name            string
		network, source float64
		want            Level
	}{
		{"1 MB/s", 1e6, 2e9, LevelBetter},
		{"12 MB/s", 12e6, 2e9, LevelBetter},
		{"10 GB/s", 10e9, 2e9, LevelOff},
		{"2 GB/s", 2e9, 2e9, LevelOff},
		{"a slow source and a fast network", 10e9, 50e6, LevelDefault},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine()
			m.network, m.source = test.network, test.source
			m.run(5 * time.Second)
			trace := m.run(2 * time.Minute)
			t.Log(trace)
			settled := strings.Count(trace, fmt.Sprint(int(test.want)))
			if settled < len(trace)*9/10 {
				t.Errorf("%d of %d s at %v", settled, len(trace), test.want)
			}
		})
	}
}

// A level that brings nothing is left again, and less and less often tried.
func TestLevelTakesBackWhatBringsNothing(t *testing.T) {
	m := newMachine()
	m.network = 10e6
	m.ratio = [4]float64{1, 0.76, 0.76, 0.76} // base64
	trace := m.run(10 * time.Minute)
	t.Log(trace)
	if better := strings.Count(trace, "3"); better > len(trace)/10 {
		t.Errorf("%d of %d s at a level that brings nothing", better, len(trace))
	}
	if n := changes(trace[300:]); n > 60 {
		t.Errorf("%d changes in five minutes", n)
	}
}

// Where the other side wants the processor more than the network wants the
// bytes, compressing is given up although the sender is blocked.
func TestLevelMakesRoomForTheMirror(t *testing.T) {
	m := newMachine()
	m.network, m.contention = 2e9, 2
	m.run(time.Minute)
	trace := m.run(2 * time.Minute)
	t.Log(trace)
	if off := strings.Count(trace, "0"); off < len(trace)*9/10 {
		t.Errorf("%d of %d s without compression", off, len(trace))
	}
}

// A first sync over a fast network to a mirror that wants the processor is not
// over before that is found out, and is not held up by trials from then on.
func TestLevelMakesRoomSoon(t *testing.T) {
	m := newMachine()
	m.network, m.contention = 400e6, 2
	trace := m.run(20 * time.Second)
	t.Log(trace)
	if off := strings.Count(trace[3:], "0"); off < len(trace)-3 {
		t.Errorf("%d of the last %d s without compression", off, len(trace)-3)
	}
}

// At speeds where two levels are about as good it does not flap.
func TestLevelDoesNotFlap(t *testing.T) {
	for network := 1e6; network < 4e9; network *= 1.7 {
		m := newMachine()
		m.network = network
		m.run(time.Minute)
		trace := m.run(time.Minute)
		if n := changes(trace); n > 12 {
			t.Errorf("%.0f MB/s: %d changes in a minute: %s", network/1e6, n, trace)
		}
	}
}

func TestLevelFollowsChange(t *testing.T) {
	m := newMachine()
	m.network = 10e9
	m.run(10 * time.Second)
	if m.control.level != LevelOff {
		t.Fatalf("at %v on a fast network", m.control.level)
	}
	m.network = 5e6
	m.run(time.Minute)
	if m.control.level < LevelDefault {
		t.Errorf("at %v a minute after the network became slow", m.control.level)
	}
}

func TestLevelRestsAtDefault(t *testing.T) {
	m := newMachine()
	m.network = 10e9
	m.run(10 * time.Second)
	for range 15 {
		m.now = m.now.Add(quietReset / 10)
		m.control.add(1000, time.Microsecond, 0)
		m.control.decide(m.now)
	}
	if got := m.control.level; got != LevelDefault {
		t.Errorf("at %v after a rest", got)
	}
}

func TestLevelClockSetBack(t *testing.T) {
	m := newMachine()
	m.run(5 * time.Second)
	before := m.control.level
	m.now = m.now.Add(-time.Hour)
	if got := m.control.decide(m.now); got != before {
		t.Errorf("at %v, want %v", got, before)
	}
	m.network = 10e9
	m.run(10 * time.Second)
	if m.control.level != LevelOff {
		t.Errorf("at %v on a fast network", m.control.level)
	}
}
