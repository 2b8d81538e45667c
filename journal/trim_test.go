package journal

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/journal/vfs"
	"github.com/mailtwin/mailtwin/journal/vfs/crashfs"
)

// segmented is a journal of ten entries, two in each segment but the last.
func segmented(t *testing.T, opt Options) *Log {
	t.Helper()
	opt.SegmentSize = headerSize + frameSize + 100
	l := mustOpen(t, crashfs.New(), testDir, opt)
	for i := range 10 {
		mustAppend(t, l, testEntry(i))
	}
	if len(l.segments) != 5 {
		t.Fatalf("%d segments", len(l.segments))
	}
	return l
}

func mustTrim(t *testing.T, l *Log, keep, start Sequence) {
	t.Helper()
	if err := l.Trim(keep); err != nil {
		t.Fatal(err)
	}
	if got := l.Start().Sequence; got != start {
		t.Fatalf("trimmed with keep %d: starts after %d, not %d", keep, got, start)
	}
	if err := l.Check(); err != nil {
		t.Fatal(err)
	}
}

func mustSetCursor(t *testing.T, l *Log, name string, p Position) {
	t.Helper()
	if err := l.SetCursor(name, p); err != nil {
		t.Fatal(err)
	}
}

func TestTrimKeepsWhatCursorsNeed(t *testing.T) {
	l := segmented(t, testOptions())
	records := readAll(t, l, 0)
	mustTrim(t, l, 0, 0)
	mustTrim(t, l, 1, 0)
	mustTrim(t, l, 3, 2)
	mustSetCursor(t, l, "one", records[4].Position)
	mustSetCursor(t, l, "two", records[8].Position)
	mustTrim(t, l, 10, 4)
	mustSetCursor(t, l, "one", records[5].Position)
	mustTrim(t, l, 10, 6)
	if err := l.DropCursor("one"); err != nil {
		t.Fatal(err)
	}
	mustTrim(t, l, 10, 8)
	mustSetCursor(t, l, "two", l.Head())
	mustTrim(t, l, 1000, 8)
	if bytes, entries := l.Size(); entries != 2 || bytes != l.segments[0].size {
		t.Errorf("%d bytes, %d entries", bytes, entries)
	}
	for i, r := range records {
		err := l.Contains(r.Position)
		if s := Sequence(i + 1); (s >= 8) != (err == nil) || (s < 8 && !errors.Is(err, ErrTrimmed)) {
			t.Errorf("contains %d: %v", s, err)
		}
		if _, err := l.Read(r.Position.Sequence - 1); (i >= 8) != (err == nil) || (i < 8 && !errors.Is(err, ErrTrimmed)) {
			t.Errorf("read %d: %v", i+1, err)
		}
	}
}

func TestTrimBeyondLimitsLeavesCursorsBehind(t *testing.T) {
	clock := newTestClock()
	for name, opt := range map[string]Options{
		"size": {Now: clock.Now, Epoch: 1, MaxSize: 900},
		"age":  {Now: clock.Now, Epoch: 1, MaxAge: time.Hour},
	} {
		l := segmented(t, opt)
		records := readAll(t, l, 0)
		mustSetCursor(t, l, "slow", records[0].Position)
		mustSetCursor(t, l, "quick", l.Head())
		if name == "age" {
			mustTrim(t, l, 10, 0)
			clock.advance(time.Hour)
		}
		mustTrim(t, l, 5, 4) // never above keep
		want := []Cursor{{"quick", l.Head(), false}, {"slow", records[0].Position, true}}
		if got := l.Cursors(); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: cursors %+v", name, got)
		}
		// A cursor that is behind holds back nothing.
		mustTrim(t, l, 10, map[string]Sequence{"size": 8, "age": 8}[name])
		l = mustOpen(t, l.fs, testDir, l.opt)
		want[0].Position = l.Head()
		if got := l.Cursors(); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: cursors after reopening %+v", name, got)
		}
		mustSetCursor(t, l, "slow", l.Head())
		if l.Cursors()[1].Behind {
			t.Errorf("%s: still behind", name)
		}
	}
}

func TestCursorsAreDurable(t *testing.T) {
	fsys := crashfs.New()
	opt := testOptions()
	opt.SegmentSize = 100
	l := mustOpen(t, fsys, testDir, opt)
	first := mustAppend(t, l, testEntry(1))[0].Position
	saved := func(when string, want ...Cursor) {
		t.Helper()
		other := mustOpen(t, fsys.Crash(crashfs.LoseAll, nil), testDir, opt)
		if got := other.Cursors(); len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, not %+v", when, got, want)
		}
	}
	mustSetCursor(t, l, "a", l.Start())
	saved("before saving")
	if err := l.SaveCursors(); err != nil {
		t.Fatal(err)
	}
	saved("after saving", Cursor{Name: "a", Position: l.Start()})
	mustSetCursor(t, l, "a", first)
	mustAppend(t, l, testEntry(2))
	saved("after a new segment", Cursor{Name: "a", Position: first})
	mustSetCursor(t, l, "b", first)
	if err := l.DropCursor("a"); err != nil {
		t.Fatal(err)
	}
	saved("after dropping", Cursor{Name: "b", Position: first})
	mustSetCursor(t, l, "b", l.Head())
	head := l.Head()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	saved("after closing", Cursor{Name: "b", Position: head})
}

func TestCursorRefusals(t *testing.T) {
	l := segmented(t, testOptions())
	beyond := l.Head()
	beyond.Sequence++
	if err := l.SetCursor("a", beyond); !errors.Is(err, ErrDiverged) {
		t.Errorf("beyond the head: %v", err)
	}
	for _, name := range []string{"", strings.Repeat("x", MaxCursorName+1)} {
		if err := l.SetCursor(name, l.Head()); err == nil {
			t.Errorf("a name of %d bytes", len(name))
		}
	}
	for i := range MaxCursors {
		mustSetCursor(t, l, fmt.Sprintf("%0*d", MaxCursorName, i), l.Head())
	}
	if err := l.SetCursor("one more", l.Head()); err == nil {
		t.Error("one cursor more than there can be")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := len(mustOpen(t, l.fs, testDir, l.opt).Cursors()); got != MaxCursors {
		t.Errorf("%d cursors", got)
	}
	for what, err := range map[string]error{
		"set": l.SetCursor("a", beyond), "save": l.SaveCursors(), "drop": l.DropCursor("a"), "trim": l.Trim(10),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after close: %v", what, err)
		}
	}
}

func TestContainsOtherHistories(t *testing.T) {
	l := segmented(t, testOptions())
	for _, r := range readAll(t, l, 0) {
		digest, epoch := r.Position, r.Position
		digest.Digest[15] ^= 1
		epoch.Epoch++
		for _, p := range []Position{digest, epoch, {Sequence: r.Position.Sequence}} {
			if err := l.Contains(p); !errors.Is(err, ErrDiverged) {
				t.Errorf("%v: %v", p, err)
			}
		}
	}
	beyond := l.Head()
	beyond.Sequence++
	if err := l.Contains(beyond); !errors.Is(err, ErrDiverged) {
		t.Errorf("beyond the head: %v", err)
	}
	if _, err := l.Read(beyond.Sequence); !errors.Is(err, ErrDiverged) {
		t.Errorf("reading beyond the head: %v", err)
	}
}

func TestReaderOfWhatIsTrimmed(t *testing.T) {
	l := segmented(t, testOptions())
	slow, err := l.Read(1)
	if err != nil {
		t.Fatal(err)
	}
	quick, err := l.Read(7)
	if err != nil {
		t.Fatal(err)
	}
	mustTrim(t, l, 6, 6)
	if _, err := slow.Next(context.Background()); !errors.Is(err, ErrTrimmed) {
		t.Errorf("slow reader: %v", err)
	}
	for s := Sequence(8); s <= 10; s++ {
		if r, ok, err := quick.TryNext(); err != nil || !ok || r.Position.Sequence != s {
			t.Errorf("quick reader: %v, %v, %v", r.Position, ok, err)
		}
	}
	if err := errors.Join(slow.Close(), quick.Close()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := quick.TryNext(); !errors.Is(err, ErrClosed) {
		t.Errorf("closed reader: %v", err)
	}
}

// Readers, appends and trimming at once, on real files.
func TestTrimUnderReaders(t *testing.T) {
	opt := testOptions()
	opt.SegmentSize = 1000
	l := mustOpen(t, vfs.OS(), t.TempDir(), opt)
	mustSetCursor(t, l, "m", l.Head())
	done := make(chan error, 2)
	const n = 300
	go func() {
		for i := range n {
			if _, err := l.Append(testEntry(i)); err != nil {
				done <- err
				return
			}
			if err := l.Trim(l.Head().Sequence); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	go func() {
		r, err := l.Read(0)
		for s := Sequence(1); s <= n && err == nil; s++ {
			var record Record
			if record, err = r.Next(context.Background()); err == nil && record.Position.Sequence != s {
				err = fmt.Errorf("%v after %d", record.Position, s-1)
			}
			err = errors.Join(err, l.SetCursor("m", record.Position))
		}
		done <- errors.Join(err, r.Close())
	}()
	for range 2 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Trim(n); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Check(), l.Close()); err != nil {
		t.Fatal(err)
	}
}
