package journal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/mailtwin/mailtwin/journal/vfs/crashfs"
)

var errInjected = errors.New("injected")

// scenario is an operation that can fail.
type scenario struct {
	name    string
	prepare func(t *testing.T, l *Log)
	run     func(l *Log) error
}

func nothing(*testing.T, *Log) {}

func appends(n int) func(l *Log) error {
	return func(l *Log) error {
		_, err := l.Append(testEntries(100, n)...)
		return err
	}
}

func appendLarge(l *Log) error {
	entries := testEntries(100, 5)
	for i := range entries {
		entries[i].Held = &Held{Data: make([]byte, writeSize/2)}
	}
	_, err := l.Append(entries...)
	return err
}

func scenarios() []scenario {
	full := func(t *testing.T, l *Log) {
		for i := 0; l.segments[len(l.segments)-1].size < l.opt.SegmentSize; i++ {
			mustAppend(t, l, testEntry(i))
		}
		mustSetCursor(t, l, "m", l.Head())
	}
	trimmable := func(t *testing.T, l *Log) {
		for range 3 {
			full(t, l)
			mustAppend(t, l, testEntry(1))
		}
		mustSetCursor(t, l, "m", l.Head())
	}
	return []scenario{
		{"first append", nothing, appends(1)},
		{"append", func(t *testing.T, l *Log) { mustAppend(t, l, testEntries(0, 2)...) }, appends(1)},
		{"append of several", nothing, appends(3)},
		{"append of several writes", nothing, appendLarge},
		{"append that begins a segment", full, appends(1)},
		{"saving cursors", full, (*Log).SaveCursors},
		{"dropping a cursor", full, func(l *Log) error { return l.DropCursor("m") }},
		{"trim", trimmable, func(l *Log) error { return l.Trim(1000) }},
		{"read", trimmable, (*Log).Check},
	}
}

// snapshot is what can be seen of a journal. Times and digests are left out:
// they differ between one try and another.
type snapshot struct {
	start, head Sequence
	entries     []Entry
	cursors     []string
}

func snapshotOf(t *testing.T, l *Log) snapshot {
	t.Helper()
	s := snapshot{start: l.Start().Sequence, head: l.Head().Sequence}
	for _, r := range readAll(t, l, s.start) {
		s.entries = append(s.entries, r.Entry)
	}
	for _, c := range l.Cursors() {
		s.cursors = append(s.cursors, fmt.Sprint(c.Name, c.Position.Sequence, c.Behind))
	}
	return s
}

// withoutTrimmed is s as far as a trim that failed halfway may have left it.
func (s snapshot) withoutTrimmed(start Sequence) snapshot {
	if start > s.start && start <= s.head {
		s.entries = s.entries[start-s.start:]
		s.start = start
	}
	return s
}

// TestFailures makes each operation of the file system fail, once or from then
// on: the call fails, the state is as before, after a crash too, trying again
// works, and opening again agrees.
func TestFailures(t *testing.T) {
	for _, s := range scenarios() {
		for _, lasting := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/lasting=%v", s.name, lasting), func(t *testing.T) {
				points := 0
				for failAt(t, s, points, lasting) {
					points++
				}
				if points == 0 {
					t.Error("nothing to fail")
				}
			})
		}
	}
}

// failAt runs s with the operation number n failing, and reports whether there
// is such an operation.
func failAt(t *testing.T, s scenario, n int, lasting bool) bool {
	opt := testOptions()
	opt.SegmentSize = 700
	undisturbed := mustOpen(t, crashfs.New(), testDir, opt)
	s.prepare(t, undisturbed)
	if err := s.run(undisturbed); err != nil {
		t.Fatal(err)
	}
	want := snapshotOf(t, undisturbed)

	fsys := crashfs.New()
	l := mustOpen(t, fsys, testDir, opt)
	s.prepare(t, l)
	before := snapshotOf(t, l)
	count, failed := 0, crashfs.Op{}
	fsys.Before(func(op crashfs.Op) error {
		if count++; count == n+1 || lasting && count > n {
			if count == n+1 {
				failed = op
			}
			return errInjected
		}
		return nil
	})
	err := s.run(l)
	fsys.Before(nil)
	if count <= n {
		return false
	}
	if ignorable := failed.Kind == crashfs.OpClose; err == nil && !ignorable || err != nil && !errors.Is(err, errInjected) {
		t.Fatalf("%s fails: the call says %v", failed.Kind, err)
	}
	if after := snapshotOf(t, l); err != nil && !reflect.DeepEqual(after, before.withoutTrimmed(after.start)) {
		t.Fatalf("%s fails: the state became\n%+v, it was\n%+v", failed.Kind, after, before)
	}
	if err != nil {
		checkCrashAfterFailure(t, fsys, opt, failed.Kind, before, want, lasting)
		if err := s.run(l); err != nil {
			t.Fatalf("%s failed: trying again: %v", failed.Kind, err)
		}
	}
	if got := snapshotOf(t, l); !reflect.DeepEqual(got, want) {
		t.Fatalf("%s failed: tried again, the state is\n%+v, not\n%+v", failed.Kind, got, want)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := snapshotOf(t, mustOpen(t, fsys, testDir, opt)); !reflect.DeepEqual(got, want) {
		t.Fatalf("%s failed: opened again, the state is\n%+v, not\n%+v", failed.Kind, got, want)
	}
	return true
}

// checkCrashAfterFailure opens what a crash leaves right after a call failed:
// the call is not in the journal, unless the disk refused to cut it off too.
func checkCrashAfterFailure(t *testing.T, fsys *crashfs.FS, opt Options, failed crashfs.Kind, before, want snapshot, lasting bool) {
	t.Helper()
	for _, loss := range crashfs.Losses() {
		l := mustOpen(t, fsys.Crash(loss, rand.New(rand.NewPCG(1, uint64(loss)))), testDir, opt)
		got := snapshotOf(t, l)
		expect := before.withoutTrimmed(got.start)
		if lasting && got.head > before.head {
			expect = want.withoutTrimmed(got.start)
			expect.head, expect.entries = got.head, expect.entries[:got.head-got.start]
		}
		if got.head != expect.head || got.start != expect.start || !reflect.DeepEqual(got.entries, expect.entries) {
			t.Fatalf("%s failed, then a crash: %+v, not %+v", failed, got, expect)
		}
	}
}

func TestOpenFailures(t *testing.T) {
	for _, name := range []string{"new", "torn"} {
		for n := 0; ; n++ {
			fsys, opt := crashfs.New(), testOptions()
			if name == "torn" {
				j := newBrokenJournal(t, 1)
				j.edit(j.last(), func(b []byte) []byte { return b[:len(b)-1] })
				fsys, opt = j.fs, j.opt
				fsys.Put(testDir+"/"+cursorsName, cursorState{}.encode())
				fsys.Put(testDir+"/"+cursorsName+tempSuffix, nil)
			}
			count, failed := 0, crashfs.Op{}
			fsys.Before(func(op crashfs.Op) error {
				if count++; count == n+1 {
					failed = op
					return errInjected
				}
				return nil
			})
			_, err := Open(fsys, testDir, opt)
			fsys.Before(nil)
			if count <= n {
				break
			}
			if !errors.Is(err, errInjected) {
				t.Fatalf("%s: operation %d, %+v, failed: %v", name, n, failed, err)
			}
			l := mustOpen(t, fsys, testDir, opt)
			mustAppend(t, l, testEntry(1))
			if err := errors.Join(l.Check(), l.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestCloseFailure(t *testing.T) {
	fsys := crashfs.New()
	l := mustOpen(t, fsys, testDir, testOptions())
	mustAppend(t, l, testEntry(1))
	mustSetCursor(t, l, "m", l.Head())
	fsys.Before(func(op crashfs.Op) error { return errInjected })
	if err := l.Close(); !errors.Is(err, errInjected) {
		t.Errorf("close: %v", err)
	}
	fsys.Before(nil)
	if err := l.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
	if got := mustOpen(t, fsys, testDir, testOptions()); got.Head() != l.Head() || len(got.Cursors()) != 0 {
		t.Errorf("head %v, cursors %v", got.Head(), got.Cursors())
	}
}
