package governor

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func expNormal(r *rand.Rand, sigma float64) float64 { return math.Exp(sigma * r.NormFloat64()) }

// gently are the usual circumstances.
func gently() circumstances {
	return circumstances{
		settings: Settings{Profile: Gentle, OnDegraded: AtFloor, OnFailing: Pause},
		inHours:  true, health: Health{State: Healthy},
	}
}

// alone is the p99 of a foreground that has the device for itself.
func alone(make func(*world) *disk, rate float64) time.Duration {
	w := newWorld(1)
	f := &foreground{w: w, d: make(w), rate: rate, on: true}
	f.run()
	w.run(5 * time.Minute)
	return quantile(f.took, 0.99)
}

// TestTheForeground is the law against devices and foregrounds: what others
// feel, and how much of what they leave is used.
func TestTheForeground(t *testing.T) {
	slow := func(w *world) *disk { return throttled(w, 20) }
	unmerged := func(w *world) *disk {
		d := throttled(w, 20)
		d.merges = false
		return d
	}
	for _, c := range []struct {
		name     string
		device   func(*world) *disk
		profile  Profile
		rate     float64 // of the foreground
		capacity float64 // operations a second that there are
		worse    float64 // p99, times idle
		uses     float64 // of what the foreground leaves
		lasts    time.Duration
	}{
		{"throttled, gentle", slow, Gentle, 20, 200, 1.25, 0.70, 4 * time.Minute},
		{"throttled, gentle, busy", slow, Gentle, 40, 200, 1.35, 0.65, 4 * time.Minute},
		{"throttled before merging, gentle", unmerged, Gentle, 20, 200, 1.35, 0.70, 4 * time.Minute},
		{"throttled, gentle, idle", slow, Gentle, 0.01, 200, 100, 0.70, 4 * time.Minute},
		{"throttled, normal", slow, Normal, 20, 200, 10, 0.80, 4 * time.Minute},
		{"500, gentle", func(w *world) *disk { return throttled(w, 50) }, Gentle, 20, 500, 1.25, 0.70, 4 * time.Minute},
		{"3000, gentle", func(w *world) *disk { return throttled(w, 300) }, Gentle, 20, 3000, 1.25, 0.70, 4 * time.Minute},
		{"spindle, gentle", spindle, Gentle, 10, 125, 2.0, 0.2, 4 * time.Minute},
		{"flash, gentle", flash, Gentle, 200, 1e5, 1.25, 0.25, 4 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			idle := alone(c.device, c.rate)
			var took []time.Duration
			used, left := 0.0, 0.0
			first := 0
			for seed := range uint64(8) {
				w := newWorld(seed + 10)
				d := c.device(w)
				around := gently()
				around.settings.Profile = c.profile
				f := &foreground{w: w, d: d, rate: c.rate, on: true}
				b := newBulk(w, d, around)
				f.run()
				w.run(2 * time.Second)
				before := len(f.took)
				b.dirs = 700
				b.run()
				w.run(min(5*time.Second, c.lasts))
				for _, d := range f.took[before:] {
					if d > 20*time.Millisecond {
						first++
					}
				}
				w.run(c.lasts - min(5*time.Second, c.lasts))
				took = append(took, f.took...)
				left += c.capacity*(c.lasts+2*time.Second).Seconds() - float64(f.ops)
				used += float64(b.ops)
			}
			p99 := quantile(took, 0.99)
			t.Logf("p99 %v, idle %v; used %.2f; %.1f waited in the first 5 s", p99, idle, used/left, float64(first)/8)
			if float64(p99) > c.worse*float64(idle) {
				t.Errorf("the foreground's p99 is %v, %.2f times that of idle", p99, float64(p99)/float64(idle))
			}
			if used < c.uses*left {
				t.Errorf("only %.2f of what the foreground leaves is used", used/left)
			}
		})
	}
}

// TestAProbeIsNotMisled: what an array answers at once because it has saved up
// for it is not taken for what it can do.
func TestAProbeIsNotMisled(t *testing.T) {
	for seed := range uint64(8) {
		w := newWorld(seed + 80)
		f := &foreground{w: w, d: throttled(w, 20), rate: 20, on: true}
		b := newBulk(w, f.d, gently())
		f.run()
		b.run()
		for range 6 {
			w.run(10 * time.Second)
			if c := b.p.law.capacity; c < 0.8*200 || c > 1.1*200 {
				t.Errorf("after %v the array is taken to do %.0f operations/s, it does 200", w.now, c)
			}
		}
	}
}

// TestTakenAndGivenBack: the spare capacity is taken when the foreground
// stops, and given back when it comes.
func TestTakenAndGivenBack(t *testing.T) {
	for _, blind := range []bool{false, true} {
		t.Run(fmt.Sprintf("blind %v", blind), func(t *testing.T) {
			taken := 0.0
			for seed := range uint64(4) {
				w := newWorld(seed + 20)
				d := throttled(w, 20)
				d.blind = blind
				f := &foreground{w: w, d: d, rate: 40, on: true}
				b := newBulk(w, d, gently())
				f.run()
				b.run()
				w.run(time.Minute)
				f.on = false
				w.run(10 * time.Second)
				ops := b.ops
				w.run(5 * time.Second)
				got := float64(b.ops-ops) / 5
				taken += got / 4
				if got < 0.5*200 {
					t.Errorf("10 s after the foreground has stopped, %.0f of 200 operations/s are used; %s", got, b.p.reason())
				}
				f.on = true
				w.run(2 * time.Second)
				f.took = nil
				w.run(3 * time.Second)
				idle := 2 * time.Millisecond
				t.Logf("p90 %v; %s", quantile(f.took, 0.9), b.p.reason())
				if p := quantile(f.took, 0.9); p > idle && !blind {
					t.Errorf("2 s after the foreground has come back, its p90 is %v", p)
				}
			}
			if taken < 0.7*200 && !blind { // what is not seen has to be found by probes
				t.Errorf("10 s after the foreground has stopped, %.0f of 200 operations/s are used", taken)
			}
		})
	}
}

// TestAFastDiskIsNotSlowed: the search for the limits costs next to nothing.
func TestAFastDiskIsNotSlowed(t *testing.T) {
	free, governed := time.Duration(0), time.Duration(0)
	for _, profile := range []Profile{Evacuate, Gentle} {
		w := newWorld(3)
		around := gently()
		around.settings.Profile = profile
		b := newBulk(w, flash(w), around)
		b.p.law.manner.inFlight = 4
		b.run()
		for b.files < 50_000 {
			w.run(10 * time.Millisecond)
		}
		if profile == Gentle {
			governed = w.now
		} else {
			free = w.now
		}
	}
	t.Logf("50,000 messages: %v without, %v with a governor", free, governed)
	if governed-free > 300*time.Millisecond {
		t.Errorf("%v more with a governor", governed-free)
	}
}

// TestAFastDiskIsSeldomLookedAt: where nobody waits for leave, the counters of the
// devices, which cost more to read than a message, are read no more often than they
// have to be.
func TestAFastDiskIsSeldomLookedAt(t *testing.T) {
	w := newWorld(4)
	b := newBulk(w, flash(w), gently())
	b.run()
	w.run(time.Second)
	before := b.looks
	w.run(5 * time.Second)
	if looks := b.looks - before - int(5*time.Second/pulse); looks > 100 {
		t.Errorf("%d looks in 5 s beside those of the clock, at %.0f operations/s; %s", looks, b.p.law.used, b.p.reason())
	}
}

// TestAFastDiskIsSoonFastAgain: others who make a fast disk busy for a moment are
// given way to, and what can be measured meanwhile is not taken for what the disk
// can do.
func TestAFastDiskIsSoonFastAgain(t *testing.T) {
	for name, others := range map[string]func(w *world, d *disk){
		"many small writes": func(w *world, d *disk) {
			d.ahead(2000 + w.rng.IntN(2000))
			w.run(25 * time.Millisecond)
		},
		"some large ones": func(w *world, d *disk) {
			usual := d.service
			d.service = func() time.Duration { return 5*time.Millisecond + usual() }
			d.ahead(60)
			w.run(15 * time.Millisecond)
			d.service = usual
			w.run(10 * time.Millisecond)
		},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(8) {
				w := newWorld(seed + 90)
				d := flash(w)
				b := newBulk(w, d, gently())
				b.run()
				w.run(time.Second)
				files := b.files
				w.run(time.Second)
				usual := b.files - files
				for range 16 {
					others(w, d)
				}
				w.run(time.Second)
				files = b.files
				w.run(time.Second)
				if got := b.files - files; got < usual*9/10 {
					t.Errorf("a second after others have stopped, %d messages are read in one, usually %d; %s", got, usual, b.p.reason())
				}
			}
		})
	}
}

// TestAStarvedProcessorIsNoStrain: that threads wait for a processor does not
// slow the work, beyond that they do; and does not hide that reads wait.
func TestAStarvedProcessorIsNoStrain(t *testing.T) {
	starve := func(b *bulk) {
		b.late = func() time.Duration {
			return time.Duration(min(b.w.rng.ExpFloat64(), 8) * float64(4*time.Millisecond))
		}
	}
	var took [2]time.Duration
	for i, profile := range []Profile{Evacuate, Gentle} {
		for seed := range uint64(4) {
			w := newWorld(seed + 60)
			around := gently()
			around.settings.Profile = profile
			b := newBulk(w, flash(w), around)
			b.p.law.manner.inFlight = 4
			starve(b)
			b.run()
			for b.files < 10_000 {
				w.run(10 * time.Millisecond)
			}
			took[i] += w.now / 4
		}
	}
	t.Logf("10,000 messages: %v without, %v with a governor", took[0], took[1])
	if took[1] > took[0]*5/4 {
		t.Errorf("%v with a governor, %v without", took[1], took[0])
	}

	w := newWorld(61)
	d := throttled(w, 20)
	f := &foreground{w: w, d: d, rate: 20, on: true}
	b := newBulk(w, d, gently())
	starve(b)
	f.run()
	b.run()
	w.run(2 * time.Minute)
	p99, used := quantile(f.took, 0.99), float64(b.ops)/(200*w.now.Seconds()-float64(f.ops))
	t.Logf("p99 %v; used %.2f; %s", p99, used, b.p.reason())
	if p99 > 20*time.Millisecond || used < 0.5 {
		t.Errorf("the foreground's p99 is %v; %.2f of what it leaves is used", p99, used)
	}
}

// TestAWrongCapacityIsCorrected: what was taken for the capacity in a bad
// moment does not hold the work up for long.
func TestAWrongCapacityIsCorrected(t *testing.T) {
	for seed := range uint64(4) {
		w := newWorld(seed + 40)
		b := newBulk(w, throttled(w, 20), gently())
		b.run()
		w.run(10 * time.Second)
		b.p.law.capacity, b.p.law.rate = 20, 10
		w.run(40 * time.Second)
		ops := b.ops
		w.run(10 * time.Second)
		if got := float64(b.ops-ops) / 10; got < 0.6*200 {
			t.Errorf("after 40 s %.0f of 200 operations/s are used; %s", got, b.p.reason())
		}
	}
}

// TestAScanOfAFastDiskIsNotSlowed: what a file system reads ahead of the inodes
// of directories does not hold up the search for the limits.
func TestAScanOfAFastDiskIsNotSlowed(t *testing.T) {
	var took [2]time.Duration
	for i, profile := range []Profile{Evacuate, Gentle} {
		w := newWorld(5)
		around := gently()
		around.settings.Profile = profile
		b := newBulk(w, flash(w), around)
		b.wants, b.dirs, b.ahead = false, 300, 31
		b.run()
		for b.dirs > 0 {
			w.run(time.Millisecond)
		}
		took[i] = w.now
	}
	t.Logf("300 directories: %v without, %v with a governor", took[0], took[1])
	if took[1]-took[0] > 500*time.Millisecond {
		t.Errorf("%v more with a governor", took[1]-took[0])
	}
}

// TestACacheInFrontIsNotTakenForTheArray: that a cache has answered for a while as
// only a disk without heads can does not let the array behind it be driven to its
// limit more often, or its users wait longer, than if nothing were ever taken for fast.
func TestACacheInFrontIsNotTakenForTheArray(t *testing.T) {
	slow := func(w *world) *disk { return throttled(w, 20) }
	const runs = 4
	for _, c := range []struct {
		name         string
		array        func(*world) *disk
		rate         float64 // of the foreground
		hits, misses time.Duration
	}{
		{"throttled, once", slow, 20, 2 * time.Second, time.Hour},
		{"throttled, seldom", slow, 20, 2 * time.Second, 20 * time.Second},
		{"throttled, often", slow, 20, 2 * time.Second, 5 * time.Second},
		{"throttled, busy", slow, 40, 2 * time.Second, 20 * time.Second},
		{"spindle, often", spindle, 10, 2 * time.Second, 5 * time.Second},
		{"spindle, busy", spindle, 20, 2 * time.Second, 20 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p99 [2]time.Duration
			var pushed [2]int
			for i, proof := range []time.Duration{never, probeTime} {
				var took []time.Duration
				for seed := range uint64(runs) {
					w := newWorld(seed + 110)
					f := &foreground{w: w, d: cached(c.array(w), c.hits, c.misses), rate: c.rate, on: true}
					b := newBulk(w, f.d, gently())
					b.dirs = 1 << 30
					b.p.law.proof = proof
					f.run()
					b.run()
					pushed[i] += b.pushes(3 * time.Minute)
					took = append(took, f.took...)
				}
				p99[i] = quantile(took, 0.99)
			}
			t.Logf("p99 %v, plainly %v; %d times at the limit or beyond, plainly %d", p99[1], p99[0], pushed[1], pushed[0])
			if p99[1] > p99[0]*11/10 {
				t.Errorf("the foreground's p99 is %v, plainly %v", p99[1], p99[0])
			}
			if pushed[1] > pushed[0]+runs { // one more each, to learn of the cache
				t.Errorf("the array was at its limit %d times, plainly %d", pushed[1], pushed[0])
			}
		})
	}
}

// TestACacheThatComesAndGoes: each time that an array which seemed fast turns out to
// be slow it takes twice as long to seem so again, within a bound.
func TestACacheThatComesAndGoes(t *testing.T) {
	c := newController(Gentle.manner())
	answered := func(rate float64) {
		ops := rate * lookInterval.Seconds()
		c.fast, c.phase = true, searching
		c.prove(window{passed: lookInterval, own: ops, ops: ops})
	}
	for proof := probeTime; proof < 2*lastProof; proof *= 2 {
		took := time.Duration(0)
		for !c.quick() {
			answered(5 * fastRate)
			took += lookInterval
		}
		if want := min(proof, lastProof); took < want || took > want+lookInterval {
			t.Errorf("proven after %v, not %v", took, want)
		}
		c.capacity, c.total, c.used = 200, 200, 20
		if c.settle(); !c.quick() {
			t.Error("what others made slow is taken for slow")
		}
		c.total, c.used = 200, 150
		if c.settle(); c.quick() || c.hold != firstHold {
			t.Errorf("an array that does %.0f operations/s is taken for fast, and searched again after %v", c.capacity, c.hold)
		}
	}
}
