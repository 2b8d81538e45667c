package governor

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// handClock is a clock that a test moves.
type handClock struct {
	mu     sync.Mutex
	now    time.Time
	timers []timer
}

type timer struct {
	at time.Time
	c  chan time.Time
}

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *handClock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := make(chan time.Time, 1)
	c.timers = append(c.timers, timer{c.now.Add(d), ch})
	return ch
}

func (c *handClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	left := c.timers[:0]
	for _, t := range c.timers {
		if t.at.After(c.now) {
			left = append(left, t)
			continue
		}
		t.c <- c.now
	}
	c.timers = left
}

// blindSensors see nothing.
type blindSensors struct{}

func (blindSensors) Counters() Counters { return Counters{Ops: -1} }
func (blindSensors) Stalls() Stalls     { return Stalls{Mail: -1, All: -1} }
func (blindSensors) Asked() int64       { return 0 }
func (blindSensors) AskedHere() int64   { return 0 }

// coldSensors see that each look has asked a device.
type coldSensors struct {
	blindSensors
	asked int64
}

func (s *coldSensors) Asked() int64 {
	s.asked++
	return s.asked
}

func newGovernor(change func(*Settings)) (*Governor, *handClock) {
	clock := &handClock{now: time.Date(2026, 5, 4, 12, 0, 0, 0, time.Local)}
	s := Settings{Profile: Gentle, OnDegraded: AtFloor, OnFailing: Pause}
	if change != nil {
		change(&s)
	}
	return New(Config{Clock: clock, Sensors: blindSensors{}, Settings: s}), clock
}

// waiting asks for leave in the background.
func waiting(ctx context.Context, g *Governor, bytes int64) chan error {
	got := make(chan error, 1)
	go func() {
		done, err := g.Read(ctx, bytes)
		if err == nil {
			done(true)
		}
		got <- err
	}()
	return got
}

// TestCircumstances: what is imposed from outside, and what is said of it.
func TestCircumstances(t *testing.T) {
	for _, c := range []struct {
		name     string
		settings func(*Settings)
		health   Health
		allowed  float64 // -1: all there is
		paused   bool
		profile  Profile
		reason   string
	}{
		{"nothing", func(*Settings) {}, Health{State: Healthy}, startRate, false, Gentle, "nothing is known of the array yet"},
		{"a cap", func(s *Settings) { s.ReadsPerSecond = 40 }, Health{}, 40, false, Gentle, "at the cap of 40 reads/s"},
		{"a cap on evacuation", func(s *Settings) { s.Profile, s.ReadsPerSecond = Evacuate, 40 }, Health{}, 40, false, Evacuate, "at the cap of 40"},
		{"evacuation", func(s *Settings) { s.Profile = Evacuate }, Health{}, -1, false, Evacuate, "as fast as can be"},
		{"paused", func(s *Settings) { s.Paused = true }, Health{}, 0, true, Gentle, "paused by the operator"},
		{"other hours", func(s *Settings) { s.Hours = Hours{22 * 60, 6 * 60} }, Health{}, 2, false, Gentle, "not within the hours 22:00-06:00"},
		{"these hours", func(s *Settings) { s.Hours = Hours{9 * 60, 17 * 60} }, Health{}, startRate, false, Gentle, "nothing is known"},
		{"degraded", func(*Settings) {}, Health{Degraded, "md0"}, 2, false, Gentle, "at the floor: the array is degraded: md0"},
		{"degraded, pause", func(s *Settings) { s.OnDegraded = Pause }, Health{Degraded, "md0"}, 0, true, Gentle, "paused: the array is degraded: md0"},
		{"degraded, ignored", func(s *Settings) { s.OnDegraded = Ignore }, Health{Degraded, "md0"}, startRate, false, Gentle, "nothing is known"},
		{"failing", func(*Settings) {}, Health{Failing, "sda"}, 0, true, Gentle, "paused: the array is failing: sda"},
		{"failing, evacuated", func(s *Settings) { s.OnFailing = Rescue }, Health{Failing, "sda"}, -1, false, Evacuate, "the array is failing: sda; what is left"},
		{"failing, evacuated, paused", func(s *Settings) { s.OnFailing, s.Paused = Rescue, true }, Health{Failing, "sda"}, 0, true, Gentle, "paused by the operator"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, _ := newGovernor(nil)
			g.SetHealth(c.health)
			g.Change(c.settings)
			s := g.Status()
			if c.allowed < 0 != s.Unbound || c.allowed >= 0 && s.ReadsPerSecond != c.allowed {
				t.Errorf("allowed %v (unbound %v), want %v", s.ReadsPerSecond, s.Unbound, c.allowed)
			}
			if s.Paused != c.paused || s.Profile != c.profile || !strings.Contains(s.Reason, c.reason) {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestReadAheadIsCharged: as many operations as the devices make of it, and all
// of its blocks if they are not seen.
func TestReadAheadIsCharged(t *testing.T) {
	for _, c := range []struct {
		before, after float64 // what the devices have counted
		want          float64 // operations beyond the one that leave was given for
	}{
		{100, 102, 1},
		{100, 101, 1},
		{100, 120, 19},
		{100, 150, 32},
		{-1, -1, 32},
	} {
		p := newPacer(gently())
		p.base.counters.Ops = c.before
		if wait := p.ask(0, 1, blockSize); wait != 0 {
			t.Fatalf("the first one waits %v", wait)
		}
		p.done(time.Millisecond, 0, true, 33*blockSize, func() Counters { return Counters{Ops: c.after} })
		if got := p.totals.ops - 1; got != c.want {
			t.Errorf("32 blocks beside one, the devices count %.0f: %.0f are charged, want %.0f", c.after-c.before, got, c.want)
		}
	}
}

// TestTheCapsHold: never more passes than is set, however much is asked for.
func TestTheCapsHold(t *testing.T) {
	for _, settings := range []Settings{
		{Profile: Evacuate, ReadsPerSecond: 50},
		{Profile: Evacuate, BytesPerSecond: 50 * 4096},
		{Profile: Gentle, ReadsPerSecond: 50},
		{Profile: Normal, ReadsPerSecond: 50, ReadsInFlight: 1},
	} {
		p := newPacer(circumstances{settings: settings, inHours: true})
		passed, now := 0, time.Duration(0)
		for now < 20*time.Second {
			started := now
			if p.ask(now, 1, 4096) == 0 {
				passed++
				now += 100 * time.Microsecond
				p.done(now, started, true, 0, func() Counters { return Counters{Ops: -1} })
			} else {
				now += 500 * time.Microsecond
			}
			p.look(now, readings{counters: Counters{Ops: -1}, stalls: Stalls{-1, -1}})
		}
		if passed > 1001 || passed < 950 {
			t.Errorf("%+v: %d reads in 20 s", settings, passed)
		}
	}
}

func TestNoMoreAreOutThanMayBe(t *testing.T) {
	g, clock := newGovernor(func(s *Settings) { s.Profile, s.ReadsInFlight = Evacuate, 2 })
	var done []func(bool)
	for range 2 {
		d, err := g.Read(t.Context(), 10)
		if err != nil {
			t.Fatal(err)
		}
		done = append(done, d)
	}
	if _, wait := g.Look(1); wait <= 0 {
		t.Error("a third leave was given")
	}
	third := waiting(t.Context(), g, 10)
	clock.pass(time.Hour)
	select {
	case err := <-third:
		t.Fatal("a third leave was given", err)
	default:
	}
	done[0](true)
	if err := <-third; err != nil {
		t.Error(err)
	}
	if d, wait := g.Look(100); wait != 0 {
		t.Errorf("to wait %v", wait)
	} else {
		d()
	}
	done[1](false)
}

// busySensors see that somebody else in the process asks the devices all the time.
type busySensors struct {
	blindSensors
	asked atomic.Int64
}

func (s *busySensors) Asked() int64 { return s.asked.Add(blockSize) }

// TestALookFromMemoryIsNoMeasure, whatever others in the process ask of the
// devices meanwhile: it would teach that the array is faster than it is.
func TestALookFromMemoryIsNoMeasure(t *testing.T) {
	g, _ := newGovernor(nil)
	g.cfg.Sensors = &busySensors{}
	done, wait := g.Look(1)
	if wait > 0 {
		t.Fatalf("to wait %v", wait)
	}
	done()
	if n := g.pacer.window.reads; n != 0 {
		t.Errorf("%d reads were measured", n)
	}
}

// startedSensors are those of a process that has read its program and its catalog.
type startedSensors struct {
	blindSensors
	read int64 // blocks
	here int64 // by the thread that looks
}

func (s *startedSensors) Counters() Counters { return Counters{Ops: float64(s.read)} }
func (s *startedSensors) Asked() int64       { return s.read * blockSize }
func (s *startedSensors) AskedHere() int64   { return s.here * blockSize }

// TestALookIsChargedForWhatItRead, and not for what the process reads beside it, so
// that a start is not held up by the catalog and the program that it loads.
func TestALookIsChargedForWhatItRead(t *testing.T) {
	g, clock := newGovernor(nil)
	sensors := &startedSensors{}
	g.cfg.Sensors = sensors
	clock.pass(50 * time.Millisecond)
	sensors.read += 400
	done, wait := g.Look(1)
	if wait > 0 {
		t.Fatalf("to wait %v", wait)
	}
	sensors.here += 3
	sensors.read += 3 + 200
	done()
	if ops := g.pacer.totals.ops; ops != 3 {
		t.Errorf("%v operations are charged for 3", ops)
	}
}

// TestALookIsAskedForAgainSoon: who was told to wait asks again before the rate has
// doubled twice, for nobody tells him of that.
func TestALookIsAskedForAgainSoon(t *testing.T) {
	g, _ := newGovernor(nil)
	done, wait := g.Look(1000)
	if wait > 0 {
		t.Fatalf("to wait %v", wait)
	}
	done()
	if _, wait := g.Look(1); wait <= 0 || wait > 10*time.Millisecond {
		t.Errorf("to wait %v", wait)
	}
}

func TestAPauseEndsAndSoDoesWaiting(t *testing.T) {
	g, _ := newGovernor(func(s *Settings) { s.Paused = true })
	ctx, cancel := context.WithCancel(t.Context())
	given, waits := waiting(ctx, g, 1), waiting(ctx, g, 1)
	g.Live(4096)
	cancel()
	for _, c := range []chan error{given, waits} {
		if err := <-c; !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	}
	again := waiting(t.Context(), g, 1)
	g.Change(func(s *Settings) { s.Paused = false })
	if err := <-again; err != nil {
		t.Error(err)
	}
	if s := g.Status(); s.LiveBytes != 4096 || s.BulkBytes != 1 {
		t.Errorf("%+v", s)
	}
}

// TestAPauseLetsNamesBeLookedAt: after a restart new mail is seen only where
// somebody has looked, so a pause holds that back no further than to the floor.
func TestAPauseLetsNamesBeLookedAt(t *testing.T) {
	for _, pause := range []func(*Settings){
		func(s *Settings) { s.Paused = true },
		func(s *Settings) { s.Paused, s.Profile = true, Evacuate },
	} {
		g, clock := newGovernor(pause)
		g.cfg.Sensors = &coldSensors{}
		begun, looked := clock.Now(), 0
		for clock.Now().Sub(begun) < 10*time.Second {
			done, wait := g.Look(namesPerUnit)
			if wait > 0 {
				clock.pass(wait)
				continue
			}
			looked++
			done()
		}
		if want := int(10 * g.Status().Profile.manner().floor); looked < want-1 || looked > want+2 {
			t.Errorf("%d looks in 10 s, want the floor, %d", looked, want)
		}
		if s := g.Status(); !s.Paused || s.Reason != "paused by the operator" {
			t.Errorf("%+v", s)
		}
	}
}

func TestRunLooksAndEnds(t *testing.T) {
	g, clock := newGovernor(func(s *Settings) { s.Hours = Hours{0, 12 * 60} })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { g.Run(ctx); close(ended) }()
	if s := g.Status(); !strings.Contains(s.Reason, "hours") {
		t.Errorf("at noon: %+v", s)
	}
	clock.pass(13 * time.Hour)
	g.poke <- struct{}{}
	g.poke <- struct{}{} // the first one was seen to
	for !strings.Contains(g.Status().Reason, "nothing is known") {
		clock.pass(lookInterval)
	}
	cancel()
	<-ended
}

func TestTheClockMayJump(t *testing.T) {
	clock := &handClock{now: time.Unix(1e9, 0)}
	now := monotonic(clock)
	clock.pass(time.Second)
	first := now()
	clock.pass(-time.Hour)
	if got := now(); got != first {
		t.Errorf("%v, then %v", first, got)
	}
	clock.pass(time.Second)
	if got := now(); got != first+time.Second {
		t.Errorf("%v after a second", got-first)
	}
}

func TestHours(t *testing.T) {
	at := func(h, m int) time.Time { return time.Date(2026, 1, 2, h, m, 0, 0, time.UTC) }
	for _, c := range []struct {
		text string
		in   []time.Time
		out  []time.Time
	}{
		{"always", []time.Time{at(0, 0), at(12, 0)}, nil},
		{"22:00-06:00", []time.Time{at(22, 0), at(0, 0), at(5, 59)}, []time.Time{at(6, 0), at(21, 59)}},
		{"09:30-17:00", []time.Time{at(9, 30), at(16, 59)}, []time.Time{at(17, 0), at(9, 29), at(0, 0)}},
	} {
		h, err := ParseHours(c.text)
		if err != nil || h.String() != c.text {
			t.Errorf("%q: %v, %v", c.text, h, err)
		}
		for _, x := range c.in {
			if !h.Contains(x) {
				t.Errorf("%v is not in %s", x, c.text)
			}
		}
		for _, x := range c.out {
			if h.Contains(x) {
				t.Errorf("%v is in %s", x, c.text)
			}
		}
	}
	for _, bad := range []string{"noon", "22:00", "22-6", "25:00-06:00", "06:00-06:00", "22:00-06:60"} {
		if _, err := ParseHours(bad); !errors.Is(err, ErrHours) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzHours(f *testing.F) {
	f.Add("22:00-06:00")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := ParseHours(s)
		if err != nil {
			return
		}
		if again, err := ParseHours(h.String()); err != nil || again != h {
			t.Errorf("%q is %v, written and read again %v, %v", s, h, again, err)
		}
	})
}

// TestTheBaselineIsLearntAgain: an array that has become slower for good is
// not taken to be strained for ever, and a busy hour is no new baseline.
func TestTheBaselineIsLearntAgain(t *testing.T) {
	var b baseline
	for range 40 {
		b.add(8*6*time.Millisecond, 8, true)
	}
	for range 400 {
		b.add(8*40*time.Millisecond, 8, false)
	}
	if b.value != 6*time.Millisecond {
		t.Errorf("after a busy hour it is %v", b.value)
	}
	for range batchesKept {
		b.add(8*9*time.Millisecond, 8, true)
	}
	if b.value != 9*time.Millisecond {
		t.Errorf("after a change for good it is %v", b.value)
	}
	b.add(8*7*time.Millisecond, 8, false)
	if b.value > 9*time.Millisecond || len(b.batches) != batchesKept {
		t.Errorf("%v of %d batches", b.value, len(b.batches))
	}
}

// TestSigns: each sign of strain lowers the rate, and is told in words.
func TestSigns(t *testing.T) {
	for _, c := range []struct {
		name  string
		w     window
		words string
	}{
		{"own", window{reads: 10, took: 380 * time.Millisecond}, "slowed: reads take 38 ms, normally 6.0 ms"},
		{"stuck", window{oldest: 3 * time.Second}, "slowed: a read is not answered for 3000 ms, normally 6.0 ms"},
		{"member", window{member: memberWait{"sdb", 80 * time.Millisecond, 8 * time.Millisecond, 10}}, "slowed: sdb takes 80 ms to read, normally 8.0 ms"},
		{"mail", window{waits: 0.23}, "slowed: the mail server waits for the array 23 % of the time more than usual"},
		{"others, and a little", window{others: 0.8, member: memberWait{excess: 2}, reads: 10, took: 85 * time.Millisecond}, "slowed: reads take 8.5 ms, normally 6.0 ms"},
	} {
		l := newController(Gentle.manner())
		for range 4 {
			l.decide(window{passed: lookInterval, own: 8, reads: 8, took: 48 * time.Millisecond, ops: 8})
		}
		l.capacity, l.phase = 100, cruising
		before := l.rate
		c.w.passed, c.w.own = lookInterval, 4
		l.decide(c.w)
		if l.words() != c.words {
			t.Errorf("%s: %q", c.name, l.words())
		}
		if l.rate >= before || l.rate < l.manner.floor {
			t.Errorf("%s: the rate was %v and is %v", c.name, before, l.rate)
		}
	}
}
