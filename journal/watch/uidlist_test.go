package watch_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/watch"
)

const header = "3 V1 N1 G1\n"

// TestUIDList appends to a uidlist, rewrites it and leaves a torn line.
func TestUIDList(t *testing.T) {
	f := started(t)
	f.write("u1/dovecot-uidlist", header)
	f.expect(`put u1/dovecot-uidlist +0 "3 V1 N1 G1\n"`)
	f.deliver("u1/new/1.h", "one")
	f.expect("put u1/new/1.h")
	f.appendTo("u1/dovecot-uidlist", "1 :1.h\n")
	f.expect(`put u1/dovecot-uidlist +11 "1 :1.h\n"`)
	f.appendTo("u1/dovecot-uidlist", "2 :2.h") // torn
	f.appendTo("u1/dovecot-uidlist", "ost\n")  // an expunged message
	f.expect(`put u1/dovecot-uidlist +18 "2 :2.host\n"`)
	f.write("u1/dovecot-uidlist.tmp", "3 V1 N4 G1\n1 :1.h\n")
	f.rename("u1/dovecot-uidlist.tmp", "u1/dovecot-uidlist")
	f.expect(`put u1/dovecot-uidlist +0 "3 V1 N4 G1\n1 :1.h\n"`)
}

// TestTornUIDList never finishes a line.
func TestTornUIDList(t *testing.T) {
	f := started(t)
	f.write("u1/dovecot-uidlist", header+"1 :1.h")
	f.expect(`put u1/dovecot-uidlist +0 "3 V1 N1 G1\n"`)
	f.restart()
	f.settled()
	f.noMore()
}

// TestOrder makes everything at once; the order of the entries is that of
// what they mean.
func TestOrder(t *testing.T) {
	f := started(t)
	for round := range 20 {
		name := fmt.Sprintf("%d.h", round)
		f.write("u1/dovecot-keywords", fmt.Sprint("0 k", round, "\n"))
		f.deliver("u1/new/"+name, name)
		f.appendTo("u1/dovecot-uidlist", fmt.Sprintf("%d :%s\n", round, name))
		f.settled()
	}
	checkOrder(t, f.rest())
}

// checkOrder makes sure that no uidlist names a message that comes later.
func checkOrder(t *testing.T, entries []journal.Entry) {
	t.Helper()
	named := make(map[string]bool)
	for _, e := range entries {
		if e.Held != nil {
			for _, base := range (maildir{}).Named(e.Path, e.Held.Data) {
				named[base] = true
			}
		}
		if e.Kind == journal.KindPut && e.Held == nil && named[(maildir{}).Base(e.Path.Name())] {
			t.Errorf("%s comes after the uidlist that names it", show(e))
		}
	}
}

// TestUnhintedMessage has the message that a uidlist names found though there
// never was a hint for it.
func TestUnhintedMessage(t *testing.T) {
	f := newFixture(t)
	f.cfg.Timing.Settle, f.cfg.Timing.SettleAtLatest = patience, 2*patience
	f.cfg.Hints = filtered(f.store, func(h watch.Hint) bool { return h.Path.Name() == "dovecot-uidlist" })
	f.write("u1/dovecot-uidlist", header)
	f.start()
	f.wait("baseline", func() bool { return f.watcher.Status().Phase == watch.PhaseWatching })
	f.deliver("u1/new/1.h", "one")
	f.deliver("u1/cur/2.h:2,S", "two")
	f.appendTo("u1/dovecot-uidlist", "1 :1.h\n2 :2.h\n3 :expunged\n")
	got := []string{show(f.next()), show(f.next()), show(f.next())}
	slices.Sort(got[:2])
	want := []string{"put u1/cur/2.h:2,S", "put u1/new/1.h", `put u1/dovecot-uidlist +0 "3 V1 N1 G1\n1 :1.h\n2 :2.h\n3 :expunged\n"`}
	if !slices.Equal(got, want) {
		t.Errorf("entries %q, want %q", got, want)
	}
}

// TestManyUnhinted does that with more messages than one cycle takes.
func TestManyUnhinted(t *testing.T) {
	f := newFixture(t)
	f.cfg.Timing.Settle, f.cfg.Timing.SettleAtLatest = patience, 2*patience
	f.cfg.Hints = filtered(f.store, func(h watch.Hint) bool { return h.Path.Name() == "dovecot-uidlist" })
	f.start()
	f.wait("baseline", func() bool { return f.watcher.Status().Phase == watch.PhaseWatching })
	var list strings.Builder
	list.WriteString(header)
	for i := range 700 {
		f.deliver(fmt.Sprintf("u1/new/%d.h", i), fmt.Sprint("message ", i))
		fmt.Fprintf(&list, "%d :%d.h\n", i, i)
	}
	f.write("u1/dovecot-uidlist", list.String())
	var all []journal.Entry
	for range 701 {
		all = append(all, f.next())
	}
	checkOrder(t, all)
	if last := all[700].Path; last != "u1/dovecot-uidlist" {
		t.Errorf("the last entry is of %q", last)
	}
}

// TestUIDListWaits lets a uidlist wait for a message that is still written.
func TestUIDListWaits(t *testing.T) {
	f := started(t)
	file, err := os.Create(f.path("u1/new/1.h"))
	f.must(err)
	f.write("u1/dovecot-uidlist", header+"1 :1.h\n")
	f.wait("both wait", func() bool { s := f.watcher.Status(); return s.BeingWritten == 1 && s.Waiting == 2 })
	f.deliver("u2/new/2.h", "nobody waits for the other mailbox")
	if got := show(f.next()); got != "put u2/new/2.h" {
		t.Errorf("got %s", got)
	}
	_, err = file.WriteString("complete")
	f.must(err)
	f.must(file.Close())
	f.expect("put u1/new/1.h", `put u1/dovecot-uidlist +0 "3 V1 N1 G1\n1 :1.h\n"`)
}

// TestLargeMessage is hashed while others overtake it, but not the uidlist
// that names it.
func TestLargeMessage(t *testing.T) {
	f := newFixture(t)
	f.cfg.Limits.LargeFile = 1000
	f.start()
	f.settled()
	f.write("u1/tmp/1.h", strings.Repeat("large ", 1<<20))
	f.rename("u1/tmp/1.h", "u1/new/1.h")
	f.write("u1/dovecot-uidlist", header+"1 :1.h\n")
	f.expect("put u1/new/1.h", `put u1/dovecot-uidlist +0 "3 V1 N1 G1\n1 :1.h\n"`)
}

// TestLargeControl captures a file that no entry can carry.
func TestLargeControl(t *testing.T) {
	f := started(t)
	var list strings.Builder
	list.WriteString(header)
	for i := 0; list.Len() <= journal.MaxHeld; i++ {
		fmt.Fprintf(&list, "%d :%0100d\n", i, i)
	}
	size := list.Len()
	list.WriteString("torn")
	f.write("u1/dovecot-uidlist.tmp", list.String())
	f.rename("u1/dovecot-uidlist.tmp", "u1/dovecot-uidlist")
	e := f.next()
	if e.Held != nil || e.Facts.Size != int64(size) {
		t.Errorf("size %d, want %d, held %v", e.Facts.Size, size, e.Held != nil)
	}
	f.settled()
	f.appendTo("u1/dovecot-uidlist", "1 :x\n")
	f.expect(fmt.Sprintf(`put u1/dovecot-uidlist +%d "torn1 :x\n"`, size))
}
