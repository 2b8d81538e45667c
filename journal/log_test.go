package journal

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/journal/vfs"
)

// testClock is a clock that goes on by a second at each look.
type testClock struct {
	mu  sync.Mutex
	now time.Time
}

func newTestClock() *testClock {
	return &testClock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
}

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(time.Second)
	return c.now
}

func (c *testClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func testOptions() Options { return Options{Now: newTestClock().Now, Epoch: 1} }

// testEntry is an entry that tells n.
func testEntry(n int) Entry {
	return Entry{
		Kind:  KindPut,
		Path:  Path(fmt.Sprintf("user%d/cur/%d.M1P2.host,S=%d:2,S", n%7, n, n)),
		Facts: Facts{Type: TypeFile, Attr: Attributes{Mode: 0o600, UID: 5000, GID: 5000, MTime: int64(n)}, Size: int64(n), Content: ContentID{1, byte(n)}},
		Stamp: Stamp{Device: 66, Inode: uint64(1000 + n), Birth: 3, Change: 4},
	}
}

func testEntries(from, n int) []Entry {
	entries := make([]Entry, n)
	for i := range entries {
		entries[i] = testEntry(from + i)
	}
	return entries
}

func mustOpen(t testing.TB, fsys vfs.FS, dir string, opt Options) *Log {
	t.Helper()
	l, err := Open(fsys, dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func mustAppend(t testing.TB, l *Log, entries ...Entry) []Record {
	t.Helper()
	records, err := l.Append(entries...)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// readAll returns all records after a sequence, up to the head.
func readAll(t testing.TB, l *Log, after Sequence) []Record {
	t.Helper()
	records, err := recordsAfter(l, after)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

func TestAppendAndRead(t *testing.T) {
	dir := t.TempDir()
	opt := testOptions()
	opt.SegmentSize = 1000
	l := mustOpen(t, vfs.OS(), dir, opt)
	if l.Head() != l.Start() || l.Head().Epoch != 1 {
		t.Fatalf("empty journal: head %v, start %v", l.Head(), l.Start())
	}
	var want []Record
	for i := range 40 {
		want = append(want, mustAppend(t, l, testEntries(3*i, 1+i%3)...)...)
	}
	check := func() {
		t.Helper()
		if got := readAll(t, l, 0); !reflect.DeepEqual(got, want) {
			t.Fatalf("read %d records, appended %d, or they differ", len(got), len(want))
		}
		for i := range want {
			if got := readAll(t, l, Sequence(i)); !reflect.DeepEqual(got, want[i:]) {
				t.Fatalf("reading after %d differs", i)
			}
			if err := l.Contains(want[i].Position); err != nil {
				t.Fatal(err)
			}
		}
		if l.Head() != want[len(want)-1].Position {
			t.Fatalf("head %v", l.Head())
		}
		if err := l.Check(); err != nil {
			t.Fatal(err)
		}
	}
	check()
	for range 2 {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = mustOpen(t, vfs.OS(), dir, opt)
		check()
		want = append(want, mustAppend(t, l, testEntries(1000, 2)...)...)
		check()
	}
	if _, entries := l.Size(); entries != uint64(len(want)) {
		t.Fatalf("%d entries", entries)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(testEntry(1)); !errors.Is(err, ErrClosed) {
		t.Fatalf("append after close: %v", err)
	}
}

func TestReaderFollows(t *testing.T) {
	opt := testOptions()
	opt.SegmentSize = 2000
	l := mustOpen(t, vfs.OS(), t.TempDir(), opt)
	r, err := l.Read(0)
	if err != nil {
		t.Fatal(err)
	}
	const writers, each = 8, 50
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for i := range each {
				if _, err := l.Append(testEntries(w*1000+i, 2)...); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var before Position
	for i := range 2 * writers * each {
		record, err := r.Next(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if record.Position.Sequence != Sequence(i+1) || record.Position == before {
			t.Fatalf("record %d is %v", i, record.Position)
		}
		before = record.Position
	}
	group.Wait()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := r.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled: %v", err)
	}
	waiting := make(chan error)
	go func() { _, err := r.Next(context.Background()); waiting <- err }()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; !errors.Is(err, ErrClosed) {
		t.Fatalf("reader of a closed journal: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}
