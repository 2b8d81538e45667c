package governor

import (
	"fmt"
	"time"
)

// strainKind is what a sign of strain is seen by.
type strainKind int

const (
	calm strainKind = iota
	slowOwn
	stuckOwn
	slowMember
	mailWaits
)

// strain is a sign of strain, in numbers.
type strain struct {
	kind   strainKind
	is, at time.Duration // what it is, and the baseline
	member string
	share  float64
}

// othersMatter is the share of time from which on it counts that others wait
// for some disk, not known which: then half of an excess is enough.
const (
	othersMatter = 0.3
	othersExcess = 1.5 // and if a member answers somewhat later, too
)

// memberExcess is from how many baselines on a member of the array is slow,
// if its reads take memberSlack longer as well.
const (
	memberExcess = 3
	memberSlack  = 10 * time.Millisecond
)

// strained looks for a sign of strain in a window, the clearest first.
func (c *controller) strained(w window) strain {
	if c.manner.unbound {
		return strain{}
	}
	base := c.base()
	limit := c.manner.strained(base) + c.late
	if w.others > othersMatter && w.member.excess > othersExcess {
		limit = (limit + base) / 2
	}
	switch {
	case w.reads > 0 && w.latency() > limit:
		return strain{kind: slowOwn, is: w.latency(), at: base}
	case w.oldest > limit+slowReads+c.late:
		return strain{kind: stuckOwn, is: w.oldest, at: base}
	case w.member.excess > memberExcess && w.member.wait > w.member.base+memberSlack:
		return strain{kind: slowMember, member: w.member.name, is: w.member.wait, at: w.member.base}
	case w.waits > c.manner.pressure:
		return strain{kind: mailWaits, share: w.waits}
	}
	return strain{}
}

// waited reports whether a read that took so long had to wait for others, and
// not only for a processor when it was answered.
func (c *controller) waited(took time.Duration) bool {
	return took > c.base()+max(slowReads, 4*c.base())+2*c.late
}

// slowest is more than any idle array takes for a read: what is measured in
// the first moments may be of a busy one.
const slowest = 20 * time.Millisecond

// base is the latency that is taken for that of the idle array.
func (c *controller) base() time.Duration {
	if !c.own.known() {
		return slowest
	}
	return min(c.own.value, slowest)
}

// words puts the state of the law into words.
func (c *controller) words() string {
	ms := func(d time.Duration) string {
		if d < 10*time.Millisecond {
			return fmt.Sprintf("%.1f ms", d.Seconds()*1000)
		}
		return fmt.Sprintf("%.0f ms", d.Seconds()*1000)
	}
	switch c.strain.kind {
	case slowOwn:
		return fmt.Sprintf("slowed: reads take %s, normally %s", ms(c.strain.is), ms(c.strain.at))
	case stuckOwn:
		return fmt.Sprintf("slowed: a read is not answered for %s, normally %s", ms(c.strain.is), ms(c.strain.at))
	case slowMember:
		return fmt.Sprintf("slowed: %s takes %s to read, normally %s", c.strain.member, ms(c.strain.is), ms(c.strain.at))
	case mailWaits:
		return fmt.Sprintf("slowed: the mail server waits for the array %.0f %% of the time more than usual", 100*c.strain.share)
	case calm:
	}
	switch {
	case c.manner.unbound:
		return "as fast as can be"
	case c.phase == measuring:
		return "at the limit of the array, to learn what it can do"
	case c.phase == probing:
		return fmt.Sprintf("trying whether the array can do more than %.0f operations/s", c.capacity)
	case c.capacity == 0 && c.own.known():
		return fmt.Sprintf("no strain so far: reads take %s", ms(c.latency))
	case c.capacity == 0:
		return "nothing is known of the array yet"
	}
	return fmt.Sprintf("%.0f of the %.0f operations/s that the array can do; others ask for %.0f; reads take %s, normally %s",
		c.target(), c.capacity, c.othersOps(), ms(c.latency), ms(c.own.value))
}
