package journal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/mailtwin/mailtwin/journal/vfs/crashfs"
)

// crashTest drives a journal and remembers what it promised, to compare it with
// what is found after a crash.
type crashTest struct {
	fsys *crashfs.FS
	opt  Options
	log  *Log
	hook func(crashfs.Op) error
	n    int // entries made so far

	acked   []Record   // what Append returned, from sequence 1 on
	tried   [][]Entry  // calls of Append since then that did not return, or failed
	cursors []Position // the last one saved, and those set since; empty: none
	saved   bool       // cursors[0] was saved
	trimmed Sequence   // what Trim was allowed to drop
}

// The operations of a crashTest, one letter each.
const (
	opAppend      = 'a'
	opAppendThree = 'b'
	opRoll        = 'r' // appends until a segment is begun
	opCursor      = 'c' // sets the cursor to the head and saves it
	opSet         = 's' // only sets it
	opTrim        = 't'
	opReopen      = 'o'
	opKill        = 'k' // opens without closing before, as after kill -9

	crashOps = "abrcstok"
)

func newCrashTest(t testing.TB) *crashTest {
	c := &crashTest{fsys: crashfs.New(), opt: testOptions()}
	c.opt.SegmentSize = headerSize + 4*frameSize + 500
	c.log = mustOpen(t, c.fsys, testDir, c.opt)
	return c
}

func (c *crashTest) do(op rune) error {
	switch op {
	case opAppend:
		return c.append(1)
	case opAppendThree:
		return c.append(3)
	case opRoll:
		for s := c.log.segments[len(c.log.segments)-1]; s == c.log.segments[len(c.log.segments)-1]; {
			if err := c.append(2); err != nil {
				return err
			}
		}
	case opSet, opCursor:
		c.cursors = append(c.cursors, c.log.Head())
		err := c.log.SetCursor("m", c.log.Head())
		if err != nil || op == opSet {
			return err
		}
		return c.saving(c.log.SaveCursors())
	case opTrim:
		c.trimmed = c.log.Head().Sequence
		return c.log.Trim(c.trimmed)
	case opReopen:
		if !c.log.closed {
			if err := c.saving(c.log.Close()); err != nil {
				return err
			}
		}
		return c.open()
	case opKill:
		return c.open()
	}
	return nil
}

func (c *crashTest) append(n int) error {
	entries := testEntries(c.n, n)
	c.n += n
	c.tried = append(c.tried, entries)
	records, err := c.log.Append(entries...)
	if err == nil {
		c.acked, c.tried = append(c.acked, records...), nil
	}
	return err
}

func (c *crashTest) saving(err error) error {
	if err == nil && len(c.cursors) > 0 {
		c.cursors, c.saved = c.cursors[len(c.cursors)-1:], true
	}
	return err
}

// open opens the journal, verifies it, and takes what is there for promised
// from now on.
func (c *crashTest) open() error {
	l, err := Open(c.fsys, testDir, c.opt)
	for errors.Is(err, errInjected) { // whoever had it open before is dead
		l, err = Open(c.fsys, testDir, c.opt)
	}
	if err != nil {
		return err
	}
	c.log = l
	c.fsys.Before(nil)
	defer c.fsys.Before(c.hook)
	if err := c.verify(l); err != nil {
		return err
	}
	extra, err := recordsAfter(l, Sequence(len(c.acked)))
	if err != nil {
		return err
	}
	c.acked = append(c.acked, extra...)
	c.tried, c.saved, c.cursors = nil, false, nil
	if cursors := l.Cursors(); len(cursors) > 0 {
		c.saved, c.cursors = true, []Position{cursors[0].Position}
	}
	return nil
}

// verify compares a journal that was opened after a crash with what was
// promised.
func (c *crashTest) verify(l *Log) error {
	start, head := l.Start().Sequence, l.Head().Sequence
	if start > c.trimmed {
		return fmt.Errorf("it starts after %d, and only %d might be dropped", start, c.trimmed)
	}
	if int(head) < len(c.acked) {
		return fmt.Errorf("%d records are left of %d that were acknowledged", head, len(c.acked))
	}
	records, err := recordsAfter(l, start)
	if err != nil {
		return err
	}
	known := len(c.acked) - int(start)
	for i, record := range records[:known] {
		if want := c.acked[int(start)+i]; !reflect.DeepEqual(record, want) {
			return fmt.Errorf("a record is %+v, not %+v", record, want)
		}
	}
	var extra []Entry
	for _, record := range records[known:] {
		extra = append(extra, record.Entry)
	}
	if len(extra) > 0 && !slices.ContainsFunc(c.tried, func(tried []Entry) bool {
		return len(extra) <= len(tried) && reflect.DeepEqual(extra, tried[:len(extra)])
	}) {
		return fmt.Errorf("%d records nobody appended: %+v", len(extra), extra)
	}
	return c.verifyCursors(l.Cursors())
}

// recordsAfter returns all records after a sequence, up to the head.
func recordsAfter(l *Log, after Sequence) (records []Record, err error) {
	r, err := l.Read(after)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for {
		record, ok, err := r.TryNext()
		if err != nil || !ok {
			return records, err
		}
		records = append(records, record)
	}
}

func (c *crashTest) verifyCursors(got []Cursor) error {
	if len(got) == 0 && !c.saved {
		return nil
	}
	if len(got) != 1 || !slices.Contains(c.cursors, got[0].Position) || got[0].Behind {
		return fmt.Errorf("the cursors are %+v, set since the last save were %v", got, c.cursors)
	}
	return nil
}

// crashNow verifies what each kind of crash leaves, and that it can be gone on
// with.
func (c *crashTest) crashNow(rng *rand.Rand) error {
	for _, loss := range append(crashfs.Losses(), crashfs.LoseSome) {
		after := c.fsys.Crash(loss, rng)
		l, err := Open(after, testDir, c.opt)
		if err == nil {
			err = c.verify(l)
		}
		if err != nil {
			return fmt.Errorf("loss %d: %w", loss, err)
		}
		records, err := l.Append(testEntry(0))
		if err != nil {
			return err
		}
		again, err := Open(after.Crash(crashfs.LoseAll, nil), testDir, c.opt)
		if err != nil {
			return fmt.Errorf("loss %d, and a second crash: %w", loss, err)
		}
		if head := records[0].Position; again.Head() != head || again.Repaired() != nil {
			return fmt.Errorf("loss %d: the head is %v, then %v, %w", loss, head, again.Head(), again.Repaired())
		}
	}
	return nil
}

// before sets what happens before operations of the file system.
func (c *crashTest) before(hook func(crashfs.Op) error) {
	c.hook = hook
	c.fsys.Before(hook)
}

// crashAt makes the machine crash at the operation number n that changes
// something, counted from now.
func (c *crashTest) crashAt(n int) {
	c.before(func(op crashfs.Op) error {
		if op.Kind.Changes() {
			if n--; n < 0 {
				return crashfs.ErrCrashed
			}
		}
		return nil
	})
}

// TestCrashEverywhere runs every sequence of up to three operations with a
// crash at every operation of the file system in the last of them; those in the
// others are crashes of a shorter sequence.
func TestCrashEverywhere(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	points := 0
	var extend func(before string)
	extend = func(before string) {
		for _, op := range crashOps {
			for n := 0; ; n++ {
				c := newCrashTest(t)
				for _, earlier := range before {
					if err := c.do(earlier); err != nil {
						t.Fatal(err)
					}
				}
				c.crashAt(n)
				err := c.do(op)
				if err != nil && !errors.Is(err, crashfs.ErrCrashed) {
					t.Fatal(err)
				}
				if err := c.crashNow(rng); err != nil {
					t.Fatalf("crash at %d of %c after %q: %v", n, op, before, err)
				}
				points++
				if err == nil {
					break // there was no operation number n
				}
			}
			if len(before) < 2 {
				extend(before + string(op))
			}
		}
	}
	extend("")
	t.Logf("%d crash points", points)
}

// TestCrashAtRandom runs long sequences with crashes in between, also during
// recovery, and with operations of the file system that fail.
func TestCrashAtRandom(t *testing.T) {
	base := rand.Uint64()
	t.Logf("seed %d", base)
	for i := range uint64(100) {
		rng := rand.New(rand.NewPCG(base, i))
		t.Run(fmt.Sprintf("seed=%d,%d", base, i), func(t *testing.T) {
			c := newCrashTest(t)
			for range 6 {
				c.runUntilCrash(t, rng)
			}
		})
	}
}

// runUntilCrash runs random operations on failing ground until a crash, and
// goes on with what it leaves.
func (c *crashTest) runUntilCrash(t *testing.T, rng *rand.Rand) {
	left := rng.IntN(150)
	failures := rng.IntN(3) == 0
	c.before(func(op crashfs.Op) error {
		if op.Kind.Changes() {
			left--
		}
		switch {
		case left < 0:
			return crashfs.ErrCrashed
		case failures && rng.IntN(20) == 0:
			return errInjected
		}
		return nil
	})
	for {
		err := c.do(rune(crashOps[rng.IntN(len(crashOps))]))
		if errors.Is(err, crashfs.ErrCrashed) {
			break
		}
		if errors.Is(err, ErrClosed) || errors.Is(err, errInjected) || err == nil {
			continue
		}
		t.Fatal(err)
	}
	c.recover(t, rng)
}

// recover opens what a crash left, crashing again now and then.
func (c *crashTest) recover(t *testing.T, rng *rand.Rand) {
	losses := crashfs.Losses()
	for {
		c.fsys = c.fsys.Crash(losses[rng.IntN(len(losses))], rng)
		c.crashAt(rng.IntN(8))
		if err := c.open(); err == nil {
			break
		} else if !errors.Is(err, crashfs.ErrCrashed) {
			t.Fatal(err)
		}
	}
	c.before(nil)
}
