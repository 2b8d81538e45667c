package governor

import (
	"fmt"
	"slices"
	"time"
)

// Counters are what the block devices under a store have counted since the
// machine started.
type Counters struct {
	Ops     float64 // reads and writes completed, neighbouring ones that were merged as one; negative: they cannot be told
	Members []Member
}

// Member is one device that holds part of the store.
type Member struct {
	Name   string
	Reads  uint64        // completed
	Waited time.Duration // by all of them together
}

// Stalls are for how long, since the machine started, processes have waited
// for a disk. Negative: it cannot be told.
type Stalls struct {
	Mail time.Duration // those of the mail server
	All  time.Duration // any process
}

// readings are what one look at the machine finds.
type readings struct {
	counters Counters
	stalls   Stalls
	asked    int64 // see Sensors
}

// circumstances are what is imposed from outside.
type circumstances struct {
	settings Settings
	inHours  bool
	health   Health
}

// totals are counted since the start.
type totals struct {
	ops, live        float64
	bytes, liveBytes uint64
}

// leave is one that is out.
type leave struct {
	since time.Duration
	ops   float64 // that it was taken to cost
	bytes int64   // of content; 0: names are looked at
}

// pacer is the governor without clock and lock. Times are those since the
// start.
type pacer struct {
	begun  bool // leave was asked for
	law    *controller
	gate   gate
	around circumstances
	limits limits
	why    string // the limits are not only the law's; "" if they are

	out     []leave
	busy    time.Duration // how long any was, up to busyAt
	busyAt  time.Duration
	totals  totals
	window  window // since the last decision, without what is measured
	decided time.Duration
	base    readings // at the last decision
	busyWas time.Duration
	totWas  totals
	awaits  map[string]*baseline
	asked   int64         // of the devices by this process, when none was out
	given   int64         // of those after that, what leave was given for
	lag     time.Duration // how late timers are
	mail    baseline      // of the share of time that the mail server waits

	bytesRate float64 // a second, lately
}

func newPacer(around circumstances) *pacer {
	p := &pacer{awaits: make(map[string]*baseline)}
	p.base = readings{counters: Counters{Ops: -1}, stalls: Stalls{Mail: -1, All: -1}}
	p.law = newController(around.settings.Profile.manner())
	p.impose(0, around)
	return p
}

// impose changes what is imposed from outside.
func (p *pacer) impose(now time.Duration, around circumstances) {
	p.around = around
	profile, why := around.profile()
	p.why = why
	if m := profile.manner(); m != p.law.manner {
		p.law.use(m)
	}
	p.limit(now)
}

// profile returns the profile that holds in the circumstances; why says what
// else than the operator's choice has decided, or what is beside it.
func (a circumstances) profile() (Profile, string) {
	if a.health.State == Failing && a.settings.OnFailing == Rescue && !a.settings.Paused {
		return Evacuate, "the array is failing: " + a.health.Words + "; what is left is fetched as fast as can be"
	}
	return a.settings.Profile, ""
}

// stopped says why no content but of live mail may be read; "" if it may.
func (a circumstances) stopped() string {
	switch {
	case a.settings.Paused:
		return "paused by the operator"
	case a.health.State == Failing && a.settings.OnFailing == Pause:
		return "paused: the array is failing: " + a.health.Words + "; `mailtwin pace evacuate` fetches what is left"
	case a.health.State == Degraded && a.settings.OnDegraded == Pause:
		return "paused: the array is degraded: " + a.health.Words
	}
	return ""
}

// floored says why it goes on at the floor; "" if it may go faster.
func (a circumstances) floored() string {
	switch {
	case a.health.State == Failing:
	case a.health.State == Degraded && a.settings.OnDegraded == AtFloor:
		return "at the floor: the array is degraded: " + a.health.Words
	case !a.inHours && a.settings.Profile != Evacuate:
		return "at the floor: it is not within the hours " + a.settings.Hours.String()
	}
	return ""
}

// limit finds the limits that hold now.
func (p *pacer) limit(now time.Duration) {
	c, s := p.law, p.around.settings
	l := limits{ops: c.allowed(), bytes: float64(s.BytesPerSecond), inFlight: c.inFlight}
	if c.manner.unbound {
		l.ops, l.inFlight = 0, c.manner.inFlight
	}
	floored := p.around.floored()
	if floored != "" {
		p.why = floored
	}
	if floored != "" || p.around.stopped() != "" {
		l.ops, l.inFlight = c.manner.floor, 1
	} else if d := c.duty(); d > 0 && d < l.ops {
		l.ops = max(d, c.manner.floor)
	}
	if reads := float64(s.ReadsPerSecond); reads > 0 && (l.ops == 0 || reads < l.ops) {
		l.ops = reads
	}
	if s.ReadsInFlight > 0 {
		l.inFlight = min(l.inFlight, s.ReadsInFlight)
	}
	if l != p.limits {
		p.gate.changed(now, p.limits, l)
		p.limits = l
	}
}

// never is a wait for something else than time: a leave that comes back, or a
// change of the circumstances.
const never = time.Duration(1<<63 - 1)

// begin is told what the sensors say when leave is asked for the first time. What
// this process has had read before was its own: its program, its catalog.
func (p *pacer) begin(now time.Duration, r readings) {
	p.begun, p.base, p.asked, p.decided, p.window = true, r, r.asked, now, window{}
}

// ask gives leave for n units of that many bytes, and returns 0, or how long
// to wait before asking again.
func (p *pacer) ask(now time.Duration, n float64, bytes int64) time.Duration {
	if bytes > 0 && p.around.stopped() != "" {
		return never
	}
	if len(p.out) >= p.limits.inFlight {
		p.window.crowded = true
		return never
	}
	if wait := p.gate.wait(now); wait > 0 {
		p.window.limited = true
		return wait
	}
	p.gate.pass(now, n, bytes, p.limits)
	p.occupy(now)
	p.out = append(p.out, leave{now, n, bytes})
	p.totals.bytes += uint64(bytes)
	return 0
}

// occupy counts the time that leaves are out.
func (p *pacer) occupy(now time.Duration) {
	if len(p.out) > 0 {
		p.busy += now - p.busyAt
	}
	p.busyAt = now
}

// done ends the leave that was given at started. measured says that a device
// was asked, so that it counts how long an operation took; asked is what it is
// in Sensors now, and counters reads those of the devices. It reports whether a
// look is due that should not wait.
func (p *pacer) done(now, started time.Duration, measured bool, asked int64, counters func() Counters) bool {
	p.occupy(now)
	i := slices.IndexFunc(p.out, func(l leave) bool { return l.since == started })
	if i < 0 {
		return false
	}
	l := p.out[i]
	p.out = slices.Delete(p.out, i, i+1)
	if measured {
		p.spend(l.ops)
		p.given += max(l.bytes, int64(l.ops*blockSize))
		took := time.Duration(float64(now-started) / max(l.ops, 1))
		p.window.reads++
		p.window.took += took
		if p.law.waited(took) {
			p.window.slowed += now - started
		}
	} else if p.sees() {
		p.gate.charge(now, -l.ops, p.limits)
	}
	if len(p.out) == 0 {
		p.settle(now, asked, counters)
	}
	w := p.window
	w.passed = now - p.decided
	return p.slow(now) && w.passed > lookInterval/10 || p.law.searched(w)
}

// slow reports whether the window so far is one at the limit of the array: a
// good part of it was spent on reads that had to wait.
func (p *pacer) slow(now time.Duration) bool {
	return p.window.slowed.Seconds() > slowShare*(now-p.decided).Seconds()*float64(p.limits.inFlight)
}

// sees reports whether what the devices do is known, and so what we ask of them.
func (p *pacer) sees() bool { return p.base.counters.Ops >= 0 }

// spend counts operations of ours.
func (p *pacer) spend(n float64) {
	p.window.own += n
	p.totals.ops += n
}

// blockSize is that of what file systems keep inodes and directories in.
const blockSize = 4096

// mostAtOnce bounds what is charged for one leave afterwards, in operations:
// beside some blocks there may be a read-ahead of inodes, and not all that the
// process asks for is asked of the array.
const mostAtOnce = 64

// readAhead is from how many blocks on some may be neighbours of each other,
// which a device reads at once.
const readAhead = 8

// forgive is told before the end of a leave by which here bytes were asked for, and
// the process has asked for so many by now. If nobody else had leave since it was
// settled last, the rest is not the array's: it is the catalog, the journal, the
// program itself. Where they lie on the same devices, those count them as others'.
func (p *pacer) forgive(asked, here int64) {
	if len(p.out) == 1 && p.given == 0 {
		p.asked = max(p.asked, asked-here)
	}
}

// settle charges for what was asked of the devices beyond that for which leave
// was given: the inodes and directories on the way to a content, and the
// kernel's read-ahead of inodes, which nobody can foretell. Each block of them
// is an operation, but of many no more are than the devices have done, and what
// comes next waits until they have been made up for. A search makes up for no
// more than for one of its steps: it goes by how long the next read takes.
func (p *pacer) settle(now time.Duration, asked int64, counters func() Counters) {
	beyond := float64(asked-p.asked-p.given) / blockSize
	p.asked, p.given = asked, 0
	if beyond < 1 {
		return
	}
	beyond = min(beyond, mostAtOnce)
	if beyond >= readAhead && p.sees() {
		done := counters().Ops - p.base.counters.Ops - p.window.own
		beyond = min(beyond, max(1, done))
	}
	p.spend(beyond)
	if p.law.phase == searching {
		beyond = min(beyond, searchOps)
	}
	p.gate.charge(now, beyond, p.limits)
}

// lateness notes how late a timer was.
func (p *pacer) lateness(d time.Duration) {
	p.window.late = max(p.window.late, d)
	p.lag += (d - p.lag) / 16
}

// look takes what a look at the machine found, and decides if it is time to.
func (p *pacer) look(now time.Duration, r readings) {
	if len(p.out) == 0 {
		p.settle(now, r.asked, func() Counters { return r.counters })
	}
	w := p.window
	w.passed, w.slow, w.lag = now-p.decided, p.slow(now), p.lag
	if w.passed <= 0 || !p.law.urgent(w) {
		return
	}
	for _, l := range p.out {
		w.oldest = max(w.oldest, now-l.since)
	}
	p.occupy(now)
	p.devices(&w, r.counters)
	p.stalls(&w, r.stalls)
	p.law.decide(w)
	p.bytesRate += 0.2 * (float64(p.totals.bytes-p.totWas.bytes)/w.passed.Seconds() - p.bytesRate)
	p.window, p.decided, p.base, p.busyWas, p.totWas = window{}, now, r, p.busy, p.totals
	p.limit(now)
}

// devices adds to a window what the devices did in it.
func (p *pacer) devices(w *window, c Counters) {
	w.ops = -1
	if c.Ops >= 0 && p.base.counters.Ops >= 0 && c.Ops >= p.base.counters.Ops {
		w.ops = c.Ops - p.base.counters.Ops
	}
	if w.ops < 0 {
		w.own += p.totals.live - p.totWas.live
	}
	p.law.members, p.law.answer = len(c.Members), 0
	for _, m := range c.Members {
		i := slices.IndexFunc(p.base.counters.Members, func(b Member) bool { return b.Name == m.Name })
		if i < 0 {
			continue
		}
		was := p.base.counters.Members[i]
		if m.Reads <= was.Reads || m.Waited < was.Waited {
			continue
		}
		b := p.awaits[m.Name]
		if b == nil {
			b = &baseline{}
			p.awaits[m.Name] = b
		}
		reads, waited := int(m.Reads-was.Reads), m.Waited-was.Waited
		wait := waited / time.Duration(reads)
		if b.known() {
			excess := wait.Seconds() / max(b.value, time.Millisecond).Seconds()
			if excess > w.member.excess {
				w.member = memberWait{name: m.Name, wait: wait, base: b.value, excess: excess}
			}
		}
		b.add(waited, reads, p.law.strain.kind == calm)
	}
	for _, b := range p.awaits {
		if b.known() {
			p.law.answer = max(p.law.answer, b.value)
		}
	}
}

// stalls adds to a window how long others waited for a disk in it.
func (p *pacer) stalls(w *window, s Stalls) {
	if s.Mail >= 0 && p.base.stalls.Mail >= 0 {
		share := (s.Mail - p.base.stalls.Mail).Seconds() / w.passed.Seconds()
		if p.mail.known() {
			w.waits = max(0, share-p.mail.value.Seconds())
		}
		p.mail.add(seconds(share), 1, p.law.strain.kind == calm)
	}
	if s.All >= 0 && p.base.stalls.All >= 0 {
		ours := p.busy - p.busyWas
		w.others = max(0, (s.All-p.base.stalls.All-ours).Seconds()/w.passed.Seconds())
	}
}

// reason says in words why the limits are as they are.
func (p *pacer) reason() string {
	if s := p.around.stopped(); s != "" {
		return s
	}
	if p.why != "" {
		return p.why
	}
	c, s := p.law, p.around.settings
	switch {
	case c.strain.kind != calm:
	case s.ReadsPerSecond > 0 && p.limits.ops == float64(s.ReadsPerSecond):
		return fmt.Sprintf("at the cap of %d reads/s that is set", s.ReadsPerSecond)
	case s.BytesPerSecond > 0 && p.bytesRate > 0.9*float64(s.BytesPerSecond):
		return "at the cap of bytes/s that is set"
	case c.duty() > 0 && p.limits.ops == c.duty():
		return fmt.Sprintf("no more than %.0f %% of the time of a disk with heads, which takes %.1f ms for a read",
			100*c.manner.duty, c.own.value.Seconds()*1000)
	}
	return c.words()
}
