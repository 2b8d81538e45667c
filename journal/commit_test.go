package journal

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mailtwin/mailtwin/journal/vfs/crashfs"
)

// traceFS returns a file system and what was done to it.
func traceFS() (*crashfs.FS, func() string) {
	var mu sync.Mutex
	var trace []string
	fsys := crashfs.New()
	fsys.Before(func(op crashfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if op.Kind.Changes() {
			trace = append(trace, string(op.Kind))
		}
		return nil
	})
	return fsys, func() string {
		mu.Lock()
		defer mu.Unlock()
		defer func() { trace = nil }()
		return strings.Join(trace, " ")
	}
}

// The order of what is done to the disk is what durability rests on.
func TestOrderOfOperations(t *testing.T) {
	fsys, trace := traceFS()
	opt := testOptions()
	opt.SegmentSize = 1 << 20
	l := mustOpen(t, fsys, testDir, opt)
	expect := func(what, want string) {
		t.Helper()
		if got := trace(); got != want {
			t.Errorf("%s does %q, not %q", what, got, want)
		}
	}
	expect("making a journal", "create write sync rename syncdir")
	mustAppend(t, l, testEntry(1))
	expect("an append", "write sync")
	mustAppend(t, l, testEntries(0, 1000)...)
	expect("an append of 1000", "write sync")
	mustAppend(t, l, testEntries(0, 10000)...)
	expect("an append of 10000", "write write write write sync")
	mustSetCursor(t, l, "m", l.Head())
	expect("setting a cursor", "")
	if err := l.SaveCursors(); err != nil {
		t.Fatal(err)
	}
	expect("saving cursors", "create write sync rename syncdir")
	if err := l.SaveCursors(); err != nil {
		t.Fatal(err)
	}
	expect("saving nothing new", "")
	mustAppend(t, l, testEntry(1))
	expect("an append that begins a segment", "create write sync rename syncdir write sync")
	if err := l.Trim(l.Head().Sequence); err != nil {
		t.Fatal(err)
	}
	expect("trimming what the cursor allows", "remove syncdir")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	expect("closing", "create write sync rename syncdir")
	mustOpen(t, fsys, testDir, opt)
	expect("opening what was closed", "syncdir")
}

// Calls that come while another one is synced share the next sync.
func TestGroupCommit(t *testing.T) {
	fsys := crashfs.New()
	l := mustOpen(t, fsys, testDir, testOptions())
	const callers = 20
	syncs := 0
	first, release := make(chan struct{}), make(chan struct{})
	fsys.Before(func(op crashfs.Op) error {
		if op.Kind == crashfs.OpSync {
			if syncs++; syncs == 1 {
				close(first)
				<-release
			}
		}
		return nil
	})
	var group sync.WaitGroup
	var mu sync.Mutex
	var sequences []Sequence
	add := func(n int) {
		group.Go(func() {
			records, err := l.Append(testEntries(2*n, 2)...)
			if err != nil || records[0].Position.Sequence+1 != records[1].Position.Sequence || records[0].Entry.Path != testEntry(2*n).Path {
				t.Errorf("%v, %v", records, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			sequences = append(sequences, records[0].Position.Sequence)
		})
	}
	add(0)
	<-first
	for n := range callers {
		add(n + 1)
	}
	for queued := 0; queued < callers; {
		l.queueMu.Lock()
		queued = len(l.queue)
		l.queueMu.Unlock()
		runtime.Gosched()
	}
	close(release)
	group.Wait()
	if syncs != 2 {
		t.Errorf("%d syncs for %d calls", syncs, callers+1)
	}
	slices.Sort(sequences)
	for i, s := range sequences {
		if s != Sequence(2*i+1) {
			t.Fatal(fmt.Sprint(sequences))
		}
	}
}

// A group that fails fails all of its calls, and the next one works.
func TestGroupCommitFailsTogether(t *testing.T) {
	fsys := crashfs.New()
	l := mustOpen(t, fsys, testDir, testOptions())
	fsys.Before(func(op crashfs.Op) error {
		if op.Kind == crashfs.OpSync {
			return errInjected
		}
		return nil
	})
	var group sync.WaitGroup
	for n := range 10 {
		group.Go(func() {
			if _, err := l.Append(testEntry(n)); err == nil {
				t.Error("a call did not fail")
			}
		})
	}
	group.Wait()
	fsys.Before(nil)
	if records := mustAppend(t, l, testEntry(1)); records[0].Position.Sequence != 1 {
		t.Errorf("%v", records[0].Position)
	}
}

// Memory does not keep what a large entry needed.
func TestLargeEntries(t *testing.T) {
	l := mustOpen(t, crashfs.New(), testDir, testOptions())
	e := testEntry(1)
	e.Held = &Held{Data: make([]byte, MaxHeld)}
	mustAppend(t, l, e, e, e)
	mustAppend(t, l, testEntry(2))
	if cap(l.buf) > 2*writeSize {
		t.Errorf("%d bytes kept by appends", cap(l.buf))
	}
	r, err := l.Read(0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		record, ok, err := r.TryNext()
		if !ok || err != nil || (i < 3) != (record.Entry.Held != nil && len(record.Entry.Held.Data) == MaxHeld) {
			t.Fatalf("%d: %v, %v", i, ok, err)
		}
	}
	if err := errors.Join(l.Check(), r.Close()); err != nil {
		t.Fatal(err)
	}
}
