package watch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/watch"
)

// indexed is maildir with an index of two files, of whole lines: index says in
// its first line how many lines of the log it knows.
type indexed struct{ maildir }

func (i indexed) Classify(p journal.Path, t journal.Type) watch.Class {
	if name := p.Name(); t == journal.TypeFile && (name == "index" || name == "index.log") {
		return watch.ClassDerived
	}
	return i.maildir.Classify(p, t)
}

func (indexed) Members(dir journal.Path) []journal.Path {
	return []journal.Path{dir.Join("index"), dir.Join("index.log")}
}

func (indexed) Before(p journal.Path) []journal.Path {
	if p.Name() != "list" {
		return nil
	}
	return []journal.Path{p.Dir().Join("list.log.2"), p.Dir().Join("list.log")}
}

func (indexed) Locks(dir journal.Path) []journal.Path {
	return []journal.Path{dir.Join("dovecot-uidlist.lock")}
}

func (indexed) Whole(members [][]byte) ([][]byte, bool) {
	log := members[1][:bytes.LastIndexByte(members[1], '\n')+1]
	return [][]byte{members[0], log}, bytes.Count(members[0], []byte("\n")) <= bytes.Count(log, []byte("\n"))
}

// withIndex makes a fixture that takes snapshots.
func withIndex(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t)
	f.cfg.Rules, f.cfg.Snapshots = indexed{}, indexed{}
	f.cfg.Timing.Snapshot, f.cfg.Timing.SnapshotAtLatest = 60*time.Millisecond, 150*time.Millisecond
	return f
}

// TestReferredFirst: a control file is journaled behind what it refers into as
// that is then, though its own hint, and its name, come first.
func TestReferredFirst(t *testing.T) {
	f := withIndex(t)
	f.cfg.Hints = filtered(f.store, func(h watch.Hint) bool { return h.Path.Name() == "list" })
	f.start()
	f.settled()
	replace := func(data string) {
		f.write("u1/list.tmp", data)
		f.rename("u1/list.tmp", "u1/list")
	}
	f.write("u1/list.log", "one\n")
	replace("1\n")
	f.expect(`put u1/list.log +0 "one\n"`, `put u1/list +0 "1\n"`)
	f.appendTo("u1/list.log", "two\n")
	replace("2\n")
	f.expect(`put u1/list.log +4 "two\n"`, `put u1/list +0 "2\n"`)
}

// snapped waits until every snapshot is journaled.
func (f *fixture) snapped() {
	f.t.Helper()
	f.settled()
	f.wait("snapshots", func() bool { return f.watcher.Status().Snapshots == 0 })
}

// shown returns the entries that were not read yet.
func (f *fixture) shown() (all []string) {
	f.t.Helper()
	for _, e := range f.rest() {
		all = append(all, show(e))
	}
	return all
}

func TestSnapshotIsJournaledInItsOrder(t *testing.T) {
	f := withIndex(t)
	f.start()
	f.settled()
	f.write("u1/index.log", "1\n")
	f.write("u1/index", "1\n")
	f.expectNext(`put u1/index.log +0 "1\n"`, `put u1/index +0 "1\n"`)
	f.appendTo("u1/index.log", "2\n3")
	f.expectNext(`put u1/index.log +2 "2\n"`)
	f.snapped()
	f.noMore()
	f.restart()
	f.snapped()
	f.noMore()
	f.remove("u1/index")
	f.remove("u1/index.log")
	f.settled()
	if got := f.shown(); len(got) != 2 || got[0][:6] != "remove" || got[1][:6] != "remove" {
		t.Errorf("entries %q", got)
	}
}

// TestSnapshotComesLast changes everything at one time, also what no hint
// tells: the index comes behind all of it.
func TestSnapshotComesLast(t *testing.T) {
	f := withIndex(t)
	f.cfg.Timing.Settle, f.cfg.Timing.SettleAtLatest = patience, 2*patience // nothing else finds it
	f.cfg.Hints = filtered(f.store, func(h watch.Hint) bool {
		return strings.HasSuffix(string(h.Path), ".log") || strings.HasSuffix(string(h.Path), "index")
	})
	f.deliver("u1/cur/old.h:2,S", "old")
	f.write("u1/dovecot-uidlist", header+"1 :old.h\n")
	f.start()
	f.wait("started", func() bool { return f.watcher.Status().Phase == watch.PhaseWatching })
	f.deliver("u1/new/1.h", "one")
	f.appendTo("u1/dovecot-uidlist", "2 :1.h\n")
	f.remove("u1/cur/old.h:2,S")
	f.write("u1/index.log", "1\n2\n")
	f.write("u1/index", "1\n")
	f.wait("snapshots", func() bool {
		return f.watcher.Status().Snapshots == 0 && f.knows("u1/index")
	})
	got := f.shown()
	last := got[len(got)-2:]
	if !slices.Equal(last, []string{`put u1/index.log +0 "1\n2\n"`, `put u1/index +0 "1\n"`}) {
		t.Errorf("the last entries are %q", last)
	}
	for _, want := range []string{"put u1/new/1.h", "put u1/dovecot-uidlist", "remove u1/cur/old.h:2,S"} {
		if !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, want) }) {
			t.Errorf("no %q before the index: %q", want, got)
		}
	}
}

// knows reports whether the catalog has a path.
func (f *fixture) knows(p journal.Path) bool {
	f.t.Helper()
	_, ok := f.items()[p]
	return ok
}

// TestSnapshotWaits for a message that is being written, for a lock, and for
// files that belong together.
func TestSnapshotWaits(t *testing.T) {
	f := withIndex(t)
	f.start()
	f.settled()
	message, err := os.Create(f.path("u1/new/1.h"))
	f.must(err)
	f.write("u1/index.log", "1\n")
	f.write("u2/index.log", "1\n")
	f.write("u2/index", "1\n2\n")
	f.write("u1/.A/index.log", "1\n")
	f.write("u1/.A/dovecot-uidlist.lock", "")
	f.wait("all three wait", func() bool { s := f.watcher.Status(); return s.Snapshots == 3 && s.BeingWritten == 1 })
	f.noMore()
	f.must(message.Close())
	f.expectNext("put u1/new/1.h", `put u1/index.log +0 "1\n"`)
	f.remove("u1/.A/dovecot-uidlist.lock")
	f.expectNext(`put u1/.A/index.log +0 "1\n"`)
	f.appendTo("u2/index.log", "2\n")
	f.expectNext(`put u2/index.log +0 "1\n2\n"`, `put u2/index +0 "1\n2\n"`)
	f.snapped()
	f.noMore()
}

// expectNext waits for the next entries.
func (f *fixture) expectNext(want ...string) {
	f.t.Helper()
	for _, w := range want {
		if got := show(f.next()); got != w {
			f.t.Fatalf("the next entry is %q, want %q", got, w)
		}
	}
}

// TestSnapshotOfARenamedMailbox renames a folder while its snapshot waits, and
// removes another.
func TestSnapshotOfARenamedMailbox(t *testing.T) {
	f := withIndex(t)
	f.start()
	f.settled()
	var open []*os.File
	for _, box := range []string{"u1/.A", "u2"} {
		file, err := os.Create(f.path(box + "/new/1.h"))
		f.must(err)
		open = append(open, file)
		f.write(box+"/index.log", "1\n")
	}
	f.wait("both wait", func() bool { s := f.watcher.Status(); return s.Snapshots == 2 && s.BeingWritten == 2 })
	f.rename("u1/.A", "u1/.B")
	f.remove("u2")
	f.wait("it is known to be renamed", func() bool { return f.knows("u1/.B") })
	for _, file := range open {
		f.must(file.Close())
	}
	f.wait("the index is known", func() bool { return f.knows("u1/.B/index.log") && !f.knows("u2") })
	f.snapped()
}

// TestSteadySnapshots changes an index all the time.
func TestSteadySnapshots(t *testing.T) {
	f := withIndex(t)
	f.start()
	f.settled()
	stop := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for i := 0; ; i++ {
			f.appendTo("u1/index.log", fmt.Sprintln(i))
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	began := time.Now()
	const times = 4
	for range times {
		f.next()
	}
	took := time.Since(began)
	close(stop)
	<-ended
	if least := (times - 1) * f.cfg.Timing.SnapshotAtLatest; took < least {
		t.Errorf("%d snapshots in %v, which is less than %v", times, took, least)
	}
	f.snapped()
}

// TestSnapshotsOfTheBaseline are journaled, for they are not put into the
// catalog unread; those that lie beside no messages never are.
func TestSnapshotsOfTheBaseline(t *testing.T) {
	f := withIndex(t)
	f.must(os.Mkdir(f.path("elsewhere"), 0o700))
	f.write("elsewhere/index.log", "1\n")
	f.write("u1/index.log", "1\n")
	f.write("u2/index.log", strings.Repeat("x", journal.MaxHeld)+"\n")
	f.cfg.Snapshots = nil
	f.start()
	f.wait("started", func() bool { return f.watcher.Status().Phase == watch.PhaseWatching })
	f.close()
	f.cfg.Snapshots = indexed{} // what an earlier run has passed over is found
	f.start()
	f.expectNext(`put u1/index.log +0 "1\n"`)
	f.wait("the large one is seen", func() bool {
		s := f.watcher.Status()
		return s.LargeSnapshots == 1 && s.Snapshots == 0
	})
	f.noMore()
}

// TestQuiesceJournalsTheLastSnapshots, whose turn would come much later, but
// does not wait for ever for one that cannot be had.
func TestQuiesceJournalsTheLastSnapshots(t *testing.T) {
	f := withIndex(t)
	f.cfg.Timing.Snapshot, f.cfg.Timing.SnapshotAtLatest = patience, 10*patience
	f.start()
	f.settled()
	f.write("u1/index.log", "1\n")
	f.write("u1/index", "1\n")
	f.write("u2/index.log", "1\n")
	f.write("u1/.A/index.log", "1\n")
	f.write("u1/.A/dovecot-uidlist.lock", "")
	f.wait("they are pending", func() bool { return f.watcher.Status().Snapshots == 3 })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	head, err := f.watcher.Quiesce(ctx, func(string) {})
	if err != nil {
		t.Fatalf("%v; %+v", err, f.watcher.Status())
	}
	for p, want := range map[journal.Path]bool{"u1/index.log": true, "u1/index": true, "u2/index.log": true, "u1/.A/index.log": false} {
		if f.knows(p) != want {
			t.Errorf("%s is journaled: %v", p, !want)
		}
	}
	if head != f.log.Head() {
		t.Errorf("its end is %v, the head is %v", head, f.log.Head())
	}
	f.remove("u1/.A/dovecot-uidlist.lock")
	if _, err := f.watcher.Quiesce(ctx, func(string) {}); err != nil || !f.knows("u1/.A/index.log") {
		t.Errorf("%v; %+v", err, f.watcher.Status())
	}
	// It ends with its context.
	f.write("u1/index.log", "1\n2\n")
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := f.watcher.Quiesce(ended, func(string) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("it does not end with its context: %v", err)
	}
}
