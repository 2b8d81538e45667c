package governor

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"time"
)

// world is a simulation: time passes from one event to the next.
type world struct {
	now    time.Duration
	events events
	serial int
	rng    *rand.Rand
}

type event struct {
	at     time.Duration
	serial int
	do     func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].serial < e[j].serial
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func newWorld(seed uint64) *world { return &world{rng: rand.New(rand.NewPCG(seed, 7))} }

func (w *world) after(d time.Duration, do func()) {
	w.serial++
	heap.Push(&w.events, event{w.now + d, w.serial, do})
}

// run lets that much time pass.
func (w *world) run(d time.Duration) {
	end := w.now + d
	for len(w.events) > 0 && w.events[0].at <= end {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		e.do()
	}
	w.now = end
}

// device answers operations.
type device interface {
	submit(done func())
	ahead(blocks int)
	counters() Counters
}

// disk is a queue with some servers, and what a test makes of it.
type disk struct {
	w       *world
	servers int
	service func() time.Duration
	// quota is how many operations may begin in each tenth of a second, as the
	// kernel throttles block devices, and what was not used of it in the one
	// before; 0 is no limit.
	quota int
	// merges: what is read ahead is one operation of it.
	merges bool
	// hit reports whether a cache in front of it has what is read now; nil: there
	// is none.
	hit func() bool

	queue  []operation
	busy   int
	slice  int64
	left   int // of the quota
	ops    float64
	reads  uint64
	waited time.Duration
	blind  bool
}

type operation struct {
	at   time.Duration
	done func()
}

const (
	slice   = 100 * time.Millisecond
	hitTime = 100 * time.Microsecond
)

func (d *disk) submit(done func()) {
	if d.hit != nil && d.hit() {
		d.w.after(hitTime, func() { d.answer(hitTime, done) })
		return
	}
	d.queue = append(d.queue, operation{d.w.now, done})
	d.dispatch()
}

// ahead reads neighbouring blocks that nobody waits for.
func (d *disk) ahead(blocks int) {
	if blocks > 0 && d.merges {
		blocks = 1
	}
	for range blocks {
		d.submit(func() {})
	}
}

func (d *disk) dispatch() {
	for len(d.queue) > 0 && d.busy < d.servers {
		if d.quota > 0 {
			if s := int64(d.w.now / slice); s != d.slice {
				d.left = min(d.left+int(s-d.slice)*d.quota, 2*d.quota)
				d.slice = s
			}
			if d.left == 0 {
				d.w.after(time.Duration(d.slice+1)*slice-d.w.now, d.dispatch)
				return
			}
			d.left--
		}
		op := d.queue[0]
		d.queue = d.queue[1:]
		d.busy++
		accounted := op.at
		if d.quota > 0 {
			accounted = d.w.now // the kernel counts from behind the throttle
		}
		d.w.after(d.service(), func() {
			d.busy--
			d.answer(d.w.now-accounted, op.done)
			d.dispatch()
		})
	}
}

func (d *disk) answer(waited time.Duration, done func()) {
	d.ops++
	d.reads++
	d.waited += waited
	done()
}

func (d *disk) counters() Counters {
	if d.blind {
		return Counters{Ops: -1}
	}
	return Counters{Ops: d.ops, Members: []Member{{"sda", d.reads, d.waited}}}
}

// throttled is a device that manages 10 times quota operations a second.
func throttled(w *world, quota int) *disk {
	return &disk{w: w, servers: 32, quota: quota, left: quota, merges: true, service: func() time.Duration {
		return 150*time.Microsecond + time.Duration(w.rng.ExpFloat64()*float64(100*time.Microsecond))
	}}
}

// spindle is a disk with heads.
func spindle(w *world) *disk {
	return &disk{w: w, servers: 1, merges: true, service: func() time.Duration {
		return 4*time.Millisecond + time.Duration(w.rng.Float64()*float64(8*time.Millisecond))
	}}
}

// flash is a disk without.
func flash(w *world) *disk {
	return &disk{w: w, servers: 16, service: func() time.Duration {
		return 80*time.Microsecond + time.Duration(w.rng.ExpFloat64()*float64(20*time.Microsecond))
	}}
}

// cached puts a cache in front of a disk. What is read is in it for a while, as
// directories that were just looked at are, and then is not for a while.
func cached(d *disk, hits, misses time.Duration) *disk {
	d.hit = func() bool { return d.w.now%(hits+misses) < hits }
	return d
}

// foreground opens messages and notes how long that takes.
type foreground struct {
	w      *world
	d      device
	rate   float64 // messages a second
	on     bool
	took   []time.Duration
	ops    int
	stalls time.Duration
}

func (f *foreground) run() {
	interval := seconds(1 / f.rate)
	var next func()
	next = func() {
		if f.on {
			f.read()
		}
		f.w.after(interval+time.Duration((f.w.rng.Float64()-0.5)*float64(interval)/5), next)
	}
	f.w.after(0, next)
}

func (f *foreground) read() {
	began, left := f.w.now, 2+f.w.rng.IntN(2)
	var step func()
	step = func() {
		if left == 0 {
			f.took = append(f.took, f.w.now-began)
			f.stalls += f.w.now - began
			return
		}
		left--
		f.ops++
		f.d.submit(step)
	}
	step()
}

func quantile(d []time.Duration, p float64) time.Duration {
	s := slices.Sorted(slices.Values(d))
	if len(s) == 0 {
		return 0
	}
	return s[min(len(s)-1, int(p*float64(len(s))))]
}

// bulk is an initial sync under a governor: some readers of many messages, and
// behind them a scan of names.
type bulk struct {
	w       *world
	d       device
	p       *pacer
	stalls  func() Stalls
	late    func() time.Duration // how late the processor is; nil: never
	waiting []wish
	armed   bool
	ops     int
	looks   int
	asked   int64
	files   int
	dirs    int // that are left to scan
	ahead   int // blocks that are read ahead of each of them; 0: of some of them some
	wants   bool
}

// wish is someone who waits for leave.
type wish struct {
	bytes int64
	do    func()
}

const bulkReaders = 4

func newBulk(w *world, d device, around circumstances) *bulk {
	b := &bulk{w: w, d: d, p: newPacer(around), wants: true}
	b.stalls = func() Stalls { return Stalls{Mail: -1, All: -1} }
	b.p.base = readings{counters: d.counters(), stalls: b.stalls()}
	return b
}

func (b *bulk) run() {
	for range bulkReaders {
		b.next()
	}
	b.scan()
	var tick func()
	tick = func() {
		late := b.delay()
		b.w.after(late, func() {
			b.p.lateness(late)
			b.look()
			b.w.after(pulse, tick)
		})
	}
	b.w.after(pulse, tick)
}

// delay is how late something runs that has waited.
func (b *bulk) delay() time.Duration {
	if b.late == nil {
		return 0
	}
	return b.late()
}

// pushes lets that much time pass and counts how often in it the array is driven to
// what it can do or what is believed to be, or beyond.
func (b *bulk) pushes(d time.Duration) int {
	n, was := 0, b.p.law.phase
	for end := b.w.now + d; b.w.now < end; {
		b.w.run(time.Millisecond)
		now := b.p.law.phase
		if now != was && (now == measuring || now == probing) {
			n++
		}
		was = now
	}
	return n
}

func (b *bulk) look() {
	b.looks++
	b.p.look(b.w.now, readings{counters: b.d.counters(), stalls: b.stalls(), asked: b.asked})
	b.pump()
}

// scan looks at one directory after the other: a block or two of names, and
// inodes that are mostly in memory, for the kernel reads many of them ahead.
func (b *bulk) scan() {
	if b.dirs == 0 {
		return
	}
	b.dirs--
	ahead := 0
	if b.w.rng.IntN(15) == 0 || b.ahead > 0 {
		ahead = max(b.ahead, 8+b.w.rng.IntN(12))
	}
	b.leave(0, 1+b.w.rng.IntN(2), ahead, b.scan)
}

// next reads one message: an inode that is not in memory half of the time,
// and then its pieces.
func (b *bulk) next() {
	if !b.wants {
		b.w.after(100*time.Millisecond, b.next)
		return
	}
	size := min(int64(14000*expNormal(b.w.rng, 1.6)), 8<<20)
	first := true
	var piece func()
	piece = func() {
		if size <= 0 {
			b.files++
			b.next()
			return
		}
		n := min(size, UnitSize)
		size -= n
		blocks := 0
		if first {
			blocks = b.w.rng.IntN(2)
		}
		first = false
		b.leave(n, blocks, 0, piece)
	}
	piece()
}

// leave waits for leave to read that many bytes of a message, and with it some
// blocks one after the other and some at once, and does it.
func (b *bulk) leave(bytes int64, blocks, ahead int, then func()) {
	b.waiting = append(b.waiting, wish{bytes, func() {
		started := b.w.now
		b.asked += bytes + int64(blocks+ahead)*blockSize
		left := blocks
		if bytes > 0 {
			left++
		}
		b.ops += left + ahead
		b.d.ahead(ahead)
		var step func()
		step = func() {
			if left > 0 {
				left--
				b.d.submit(step)
				return
			}
			b.w.after(b.delay(), func() {
				if b.p.done(b.w.now, started, true, b.asked, b.d.counters) {
					b.look()
				}
				then()
				b.pump()
			})
		}
		step()
	}})
	b.pump()
}

func (b *bulk) pump() {
	for len(b.waiting) > 0 {
		wait := b.p.ask(b.w.now, 1, b.waiting[0].bytes)
		if wait == never {
			return
		}
		if wait > 0 {
			if !b.armed {
				b.armed = true
				b.w.after(wait, func() { b.armed = false; b.pump() })
			}
			return
		}
		given := b.waiting[0]
		b.waiting = b.waiting[1:]
		given.do()
	}
}
