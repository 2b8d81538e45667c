package governor

import (
	"context"
	"runtime"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Clock is where the governor gets the time from.
type Clock interface {
	// Now returns the time of day. It may jump.
	Now() time.Time
	// After returns a channel on which the time is sent once d has passed.
	After(d time.Duration) <-chan time.Time
}

// Sensors look at the machine. They must not block for long.
type Sensors interface {
	// Counters reads those of the devices under the store.
	Counters() Counters
	// Stalls reads how long processes have waited for disks.
	Stalls() Stalls
	// Asked counts the bytes that this process has had read from disks, inodes
	// and directories too. It is called for each leave.
	Asked() int64
	// AskedHere is Asked of the thread that calls it.
	AskedHere() int64
}

// HealthState is how an array is.
type HealthState string

// The states, from the best to the worst.
const (
	Healthy  HealthState = "healthy"
	Unknown  HealthState = "unknown"  // nothing tells
	Degraded HealthState = "degraded" // or it is being rebuilt: one more loss may be one too many
	Failing  HealthState = "failing"  // it is about to be lost
)

// Health is how an array is, in a word and in a sentence.
type Health struct {
	State HealthState
	Words string
}

// Config is what a Governor is made of. All but Log and Changed must be set.
type Config struct {
	Clock    Clock
	Sensors  Sensors
	Settings Settings
	Log      hclog.Logger // nil: nothing is logged
	Changed  func()       // called when the operator may want to know; it must not block. nil: nobody
}

// Governor gives leave. Its methods may be called concurrently.
type Governor struct {
	cfg  Config
	turn chan struct{} // held by the one who waits for leave; the others wait for it, in order
	poke chan struct{} // a look at the machine is due
	now  func() time.Duration

	mu      sync.Mutex
	pacer   *pacer
	changed chan struct{} // closed when it may be worth to ask again
	told    string        // the last reason that was logged
}

// New returns a Governor. Run must be running while leave is asked for.
func New(cfg Config) *Governor {
	if cfg.Log == nil {
		cfg.Log = hclog.NewNullLogger()
	}
	if cfg.Changed == nil {
		cfg.Changed = func() {}
	}
	g := &Governor{
		cfg: cfg, turn: make(chan struct{}, 1), poke: make(chan struct{}, 1),
		now: monotonic(cfg.Clock), changed: make(chan struct{}),
	}
	g.pacer = newPacer(circumstances{
		settings: cfg.Settings, inHours: cfg.Settings.Hours.Contains(cfg.Clock.Now()),
		health: Health{State: Unknown},
	})
	g.pacer.base = g.sense()
	g.pacer.asked = g.pacer.base.asked
	return g
}

// monotonic returns a clock that begins with 0 and never goes back.
func monotonic(c Clock) func() time.Duration {
	var mu sync.Mutex
	last, passed := c.Now(), time.Duration(0)
	return func() time.Duration {
		mu.Lock()
		defer mu.Unlock()
		t := c.Now()
		if d := t.Sub(last); d > 0 {
			passed += d
		}
		last = t
		return passed
	}
}

// pulse is how often it is found out how late timers are, while leave is asked
// for.
const pulse = 20 * time.Millisecond

// Run looks at the machine, and decides, until ctx ends.
func (g *Governor) Run(ctx context.Context) {
	looked := g.now()
	for {
		wait := max(0, looked+lookInterval-g.now())
		if g.busy() {
			wait = min(wait, pulse)
		}
		from := g.now()
		select {
		case <-ctx.Done():
			return
		case <-g.poke:
		case <-g.cfg.Clock.After(wait):
			if g.waited(from, wait); g.now()-looked < lookInterval {
				continue
			}
		}
		g.look()
		looked = g.now()
	}
}

// busy reports whether leave was given lately.
func (g *Governor) busy() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.pacer.out) > 0 || g.pacer.window.reads > 0 || g.pacer.window.limited
}

// waited notes how late a timer was that was to take so long: a read that has
// been answered comes back as late.
func (g *Governor) waited(from, wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pacer.lateness(g.now() - from - wait)
}

// sense reads all sensors.
func (g *Governor) sense() readings {
	s := g.cfg.Sensors
	return readings{counters: s.Counters(), stalls: s.Stalls(), asked: s.Asked()}
}

func (g *Governor) look() {
	r := g.sense()
	inHours := g.cfg.Clock.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if in := g.pacer.around.settings.Hours.Contains(inHours); in != g.pacer.around.inHours {
		g.imposeLocked(func(c *circumstances) { c.inHours = in })
	}
	before := g.pacer.limits
	g.pacer.look(g.now(), r)
	if g.pacer.limits != before {
		g.wakeLocked()
	}
}

// wakeLocked lets everyone ask again.
func (g *Governor) wakeLocked() {
	close(g.changed)
	g.changed = make(chan struct{})
}

func (g *Governor) imposeLocked(change func(*circumstances)) {
	around := g.pacer.around
	change(&around)
	if around == g.pacer.around {
		return
	}
	g.pacer.impose(g.now(), around)
	g.wakeLocked()
	if why := around.stopped() + around.floored() + g.pacer.why; why != g.told {
		g.told = why
		g.cfg.Log.Info("the pace has changed", "profile", around.settings.Profile, "reason", g.pacer.reason())
	}
	g.cfg.Changed()
}

// Change changes the settings. It takes effect at once.
func (g *Governor) Change(f func(*Settings)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.imposeLocked(func(c *circumstances) {
		f(&c.settings)
		c.inHours = c.settings.Hours.Contains(g.cfg.Clock.Now())
	})
}

// SetHealth says how the array is.
func (g *Governor) SetHealth(h Health) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.imposeLocked(func(c *circumstances) { c.health = h })
}

// Read waits until that many bytes of one file may be read, no more than
// UnitSize if others are to notice nothing, and returns what to call when they
// have been: with true if a device was asked, so that it counts how long it
// took. It must be called, and nothing else must be waited for before it. The
// error is that of ctx.
func (g *Governor) Read(ctx context.Context, bytes int64) (done func(fromDevice bool), err error) {
	select {
	case g.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-g.turn }()
	for {
		// A file without bytes is read all the same.
		started, wait, changed := g.ask(operations(bytes), max(1, bytes))
		if wait == 0 {
			return func(fromDevice bool) { g.done(started, fromDevice, -1) }, nil
		}
		var after <-chan time.Time
		if wait != never {
			after = g.cfg.Clock.After(wait)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-after:
			g.waited(started, wait)
		case <-changed:
		}
	}
}

func (g *Governor) ask(n float64, bytes int64) (started, wait time.Duration, changed <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	started = g.now()
	if !g.pacer.begun {
		g.pacer.begin(started, g.sense())
	}
	return started, g.pacer.ask(started, n, bytes), g.changed
}

// done gives back the leave that was given at started. here is what was asked for by
// it, if that is known; negative if not.
func (g *Governor) done(started time.Duration, fromDevice bool, here int64) {
	g.mu.Lock()
	full := len(g.pacer.out) >= g.pacer.limits.inFlight
	count := int64(0)
	if len(g.pacer.out) <= 1 { // else nobody looks at it
		count = g.cfg.Sensors.Asked()
	}
	if here >= 0 {
		g.pacer.forgive(count, here)
	}
	due := g.pacer.done(g.now(), started, fromDevice, count, g.cfg.Sensors.Counters)
	if full {
		g.wakeLocked()
	}
	g.mu.Unlock()
	if due {
		select {
		case g.poke <- struct{}{}:
		default:
		}
	}
}

// namesPerUnit is how many inodes lie in one block, when names are looked at
// in the order of their inodes.
const namesPerUnit = 16

// askAgain is the longest to wait before asking again: the rate may have changed.
const askAgain = 10 * time.Millisecond

// Look asks for leave to look at so many names of the store. It never blocks:
// it returns what to call when that is done, by the goroutine that has asked, or
// how long to wait before asking again. What is looked at meanwhile is looked at by
// one thread, so that it is known whether it came from a device, whoever else asks
// the devices.
func (g *Governor) Look(names int) (done func(), wait time.Duration) {
	n := max(1, float64(names)/namesPerUnit)
	started, wait, _ := g.ask(n, 0)
	if wait > 0 {
		return nil, min(wait, askAgain)
	}
	runtime.LockOSThread()
	asked := g.cfg.Sensors.AskedHere()
	return func() {
		here := g.cfg.Sensors.AskedHere() - asked
		runtime.UnlockOSThread()
		g.done(started, here != 0, here)
	}, 0
}

// Live counts live mail that is read. It never waits.
func (g *Governor) Live(bytes int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pacer.totals.live += operations(bytes)
	g.pacer.totals.liveBytes += uint64(bytes)
	g.pacer.given += bytes
}
