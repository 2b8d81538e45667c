package watch_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/watch"
)

// rewrite changes the content of a message in place.
func (f *fixture) rewrite(p, content string) {
	f.t.Helper()
	file, err := os.OpenFile(f.path(p), os.O_WRONLY|os.O_TRUNC, 0)
	f.must(err)
	_, err = file.WriteString(content)
	f.must(err)
	f.must(file.Close())
}

// heldBack waits until one message, and nothing else, is held back because it was
// changed in place.
func (f *fixture) heldBack(p journal.Path) {
	f.t.Helper()
	f.wait("held back", func() bool {
		s := f.watcher.Status()
		return s.UnreadableCount == 1 && s.Unreadable[0].Path == p && s.Unreadable[0].Rewritten &&
			strings.Contains(s.Unreadable[0].Err, "in place") && s.Dirty == 0
	})
	f.noMore()
}

// TestRewrittenInPlace: what changes a message in place does not change the copy of
// it elsewhere, until another file is in its place or it is as it was.
func TestRewrittenInPlace(t *testing.T) {
	f := started(t)
	f.deliver("u1/cur/1.h:2,", "a message")
	f.deliver("u1/cur/2.h:2,", "another")
	f.expect("put u1/cur/1.h:2,", "put u1/cur/2.h:2,")
	f.rewrite("u1/cur/1.h:2,", "encrypted")
	f.heldBack("u1/cur/1.h:2,")
	f.rename("u1/cur/2.h:2,", "u1/cur/2.h:2,S") // the others go on
	if got := show(f.next()); got != "move u1/cur/2.h:2, > u1/cur/2.h:2,S" {
		t.Errorf("got %s", got)
	}
	f.rename("u1/cur/1.h:2,", "u1/cur/1.h:2,S") // so do its flags
	if got := show(f.next()); got != "move u1/cur/1.h:2, > u1/cur/1.h:2,S" {
		t.Errorf("got %s", got)
	}
	f.heldBack("u1/cur/1.h:2,S")
	f.rewrite("u1/cur/1.h:2,S", "a message")
	if got := show(f.next()); got != "attr u1/cur/1.h:2,S" {
		t.Errorf("got %s", got)
	}
	f.settled()
	f.noMore()
	f.rewrite("u1/cur/2.h:2,S", "crypted")
	f.heldBack("u1/cur/2.h:2,S")
	f.write("u1/tmp/2.h", "compressed")
	f.rename("u1/tmp/2.h", "u1/cur/2.h:2,S")
	f.expect("put u1/cur/2.h:2,S")
}

// TestRewrittenIsAccepted: a person says that messages are as they should be.
func TestRewrittenIsAccepted(t *testing.T) {
	f := started(t)
	f.deliver("u1/cur/1.h:2,", "a message")
	f.expect("put u1/cur/1.h:2,")
	f.rewrite("u1/cur/1.h:2,", "changed")
	f.heldBack("u1/cur/1.h:2,")
	f.must(f.watcher.Accept())
	f.expect("put u1/cur/1.h:2,")
	if n := f.watcher.Status().UnreadableCount; n > 0 {
		t.Errorf("%d are still held back", n)
	}
}

// TestRewrittenIsExpunged: a message that is held back can be removed.
func TestRewrittenIsExpunged(t *testing.T) {
	f := started(t)
	f.deliver("u1/cur/1.h:2,", "a message")
	f.expect("put u1/cur/1.h:2,")
	f.rewrite("u1/cur/1.h:2,", "changed")
	f.heldBack("u1/cur/1.h:2,")
	f.remove("u1/cur/1.h:2,")
	f.expect("remove u1/cur/1.h:2,")
}

// TestCopyOfRewrittenIsExpunged: a copy of a message that is held back, with the name
// that it has there, can be removed.
func TestCopyOfRewrittenIsExpunged(t *testing.T) {
	f := started(t)
	f.deliver("u1/cur/1.h:2,", "a message")
	f.deliver("u1/.A/cur/1.h:2,", "a message")
	f.settled()
	f.rest()
	f.rewrite("u1/cur/1.h:2,", "changed")
	f.heldBack("u1/cur/1.h:2,")
	f.remove("u1/.A/cur/1.h:2,")
	if got := show(f.next()); got != "remove u1/.A/cur/1.h:2," {
		t.Errorf("got %s", got)
	}
	f.heldBack("u1/cur/1.h:2,")
}

// TestRewrittenIsHeldBackOverARestart: what is held back is known after a restart too,
// also where the change shows in nothing but the content, and can be accepted then.
func TestRewrittenIsHeldBackOverARestart(t *testing.T) {
	f := started(t)
	f.deliver("u1/cur/1.h:2,", "a message")
	f.expect("put u1/cur/1.h:2,")
	was, err := os.Stat(f.path("u1/cur/1.h:2,"))
	f.must(err)
	f.rewrite("u1/cur/1.h:2,", "encrypted")
	f.heldBack("u1/cur/1.h:2,")
	f.must(os.Chtimes(f.path("u1/cur/1.h:2,"), was.ModTime(), was.ModTime()))
	for range 2 {
		f.restart()
		f.heldBack("u1/cur/1.h:2,")
	}
	f.must(f.watcher.Accept())
	f.expect("put u1/cur/1.h:2,")
	f.restart()
	f.settled()
	f.noMore()
	if n := f.watcher.Status().UnreadableCount; n > 0 {
		t.Errorf("%d are still held back", n)
	}
}

// TestRewrittenIsReadOnce: what is held back is not read again while it does not change.
func TestRewrittenIsReadOnce(t *testing.T) {
	f := started(t)
	f.deliver("u1/cur/1.h:2,", "a message")
	f.expect("put u1/cur/1.h:2,")
	f.rewrite("u1/cur/1.h:2,", "encrypted")
	f.heldBack("u1/cur/1.h:2,")
	looked := func(times uint64) uint64 {
		first := f.watcher.Status().Cycles
		f.wait("looked at", func() bool { return f.watcher.Status().Cycles >= first+times })
		return f.watcher.Status().FilesOpened
	}
	once := looked(2) // at first it may change again within one tick of the clock
	if n := looked(2); n != once {
		t.Errorf("%d files were opened, then %d", once, n)
	}
	f.heldBack("u1/cur/1.h:2,")
}

// TestManyRewritten: more of them than are known by name are accepted at once.
func TestManyRewritten(t *testing.T) {
	f := started(t)
	name := func(i int) string { return fmt.Sprintf("u1/cur/%d.h:2,S", i) }
	const many = 1030
	for i := range many {
		f.deliver(name(i), "a message")
	}
	f.wait("delivered", func() bool { return f.idle() && f.watcher.Status().Entries >= many })
	f.rest()
	for i := range many {
		f.rewrite(name(i), "crypted")
	}
	f.wait("held back", func() bool { s := f.watcher.Status(); return s.UnreadableCount == many && s.Dirty == 0 })
	f.restart()
	f.wait("held back", func() bool {
		s := f.watcher.Status()
		return s.UnreadableCount == many && s.Phase == watch.PhaseWatching
	})
	f.noMore()
	f.must(f.watcher.Accept())
	f.settled()
	if n := len(f.rest()); n != many {
		t.Errorf("%d of %d were accepted", n, many)
	}
}

// TestGrowingMessage: one that was not delivered through another directory may not
// have been complete when it was seen.
func TestGrowingMessage(t *testing.T) {
	f := started(t)
	f.write("u1/new/1.h", "a")
	f.expect("put u1/new/1.h")
	f.appendTo("u1/new/1.h", " message")
	f.expect("put u1/new/1.h")
	f.rewrite("u1/new/1.h", "something else, and longer")
	f.heldBack("u1/new/1.h")
}
