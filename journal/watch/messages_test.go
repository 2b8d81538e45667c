package watch_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/watch"
)

// TestBeingWritten holds a message open for writing: it is journaled when it
// is complete.
func TestBeingWritten(t *testing.T) {
	f := started(t)
	file, err := os.Create(f.path("u1/new/1.h"))
	f.must(err)
	for i := range 5 {
		_, err = fmt.Fprintln(file, "line", i)
		f.must(err)
		f.wait("it waits", func() bool { return f.watcher.Status().BeingWritten == 1 })
	}
	f.noMore()
	f.must(file.Close())
	e := f.next()
	if show(e) != "put u1/new/1.h" || e.Facts.Size != 35 {
		t.Errorf("%s of %d bytes", show(e), e.Facts.Size)
	}
	f.settled()
	f.noMore()
}

// TestInodeReuse expunges and delivers at once, again and again, so that the
// new message gets the inode of the former one.
func TestInodeReuse(t *testing.T) {
	f := started(t)
	reused := 0
	var last uint64
	for i := range 200 {
		name := fmt.Sprintf("u1/new/%d.h", i)
		f.write(name, fmt.Sprintf("%04d", i)) // all of one size
		var st unix.Stat_t
		f.must(unix.Lstat(f.path(name), &st))
		if st.Ino == last {
			reused++
		}
		last = st.Ino
		if i%3 == 0 {
			f.wait("journaled", func() bool { return f.watcher.Status().Entries > 0 })
		}
		if i < 199 {
			f.remove(name)
		}
	}
	t.Logf("%d of 200 files had the inode of the one before", reused)
	f.settled() // also compares the contents
}

// TestReplacedContent compresses a message under its name, and touches one.
func TestReplacedContent(t *testing.T) {
	f := started(t)
	f.deliver("u1/cur/1.h:2,S", "a long message")
	f.expect("put u1/cur/1.h:2,S")
	f.write("u1/tmp/1.h", "short")
	f.rename("u1/tmp/1.h", "u1/cur/1.h:2,S")
	f.expect("put u1/cur/1.h:2,S")
	when := time.Unix(1000000000, 123456789)
	f.must(os.Chtimes(f.path("u1/cur/1.h:2,S"), when, when))
	f.expect("attr u1/cur/1.h:2,S")
	f.write("u1/tmp/1.h", "short")
	f.must(os.Chtimes(f.path("u1/tmp/1.h"), when, when))
	f.rename("u1/tmp/1.h", "u1/cur/1.h:2,S") // the same again, in another file
	f.settled()
	f.noMore()
	f.write("u1/tmp/1.h", "new content, and new flags at once")
	f.must(os.Rename(f.path("u1/tmp/1.h"), f.path("u1/cur/1.h:2,FS")))
	f.remove("u1/cur/1.h:2,S")
	f.settled()
}

// TestReplacedUnderAnotherName compresses a message, and marks it by a flag: whoever
// follows the journal has it at every moment, and never under two names.
func TestReplacedUnderAnotherName(t *testing.T) {
	f := started(t)
	f.deliver("u1/cur/1.h:2,S", "a long message")
	f.expect("put u1/cur/1.h:2,S")
	f.close() // or the one may be seen before the other
	f.write("u1/tmp/1.h", "short")
	f.remove("u1/cur/1.h:2,S")
	f.rename("u1/tmp/1.h", "u1/cur/1.h:2,SZ")
	f.start()
	f.expect("move u1/cur/1.h:2,S > u1/cur/1.h:2,SZ", "put u1/cur/1.h:2,SZ")
}

// TestXattrs sees extended attributes come and go.
func TestXattrs(t *testing.T) {
	f := started(t)
	f.deliver("u1/new/1.h", "one")
	f.expect("put u1/new/1.h")
	if err := unix.Setxattr(f.path("u1/new/1.h"), "user.mark", []byte("x"), 0); err != nil {
		t.Skip(err)
	}
	e := f.next()
	if show(e) != "attr u1/new/1.h" || len(e.Facts.Attr.Xattrs) != 1 {
		t.Errorf("%s %+v", show(e), e.Facts.Attr.Xattrs)
	}
	f.settled()
	f.rename("u1/new/1.h", "u1/cur/1.h:2,")
	if e = f.next(); show(e) != "move u1/new/1.h > u1/cur/1.h:2," || len(e.Facts.Attr.Xattrs) != 1 {
		t.Errorf("%s %+v", show(e), e.Facts.Attr.Xattrs)
	}
	f.must(unix.Removexattr(f.path("u1/cur/1.h:2,"), "user.mark"))
	f.expect("attr u1/cur/1.h:2,")
}

// TestLinkedAttributes changes the mode of a file with two names.
func TestLinkedAttributes(t *testing.T) {
	f := started(t)
	f.deliver("u1/new/1.h", "one")
	f.must(os.Link(f.path("u1/new/1.h"), f.path("u2/new/1.h")))
	f.settled()
	f.rest()
	f.must(os.Chmod(f.path("u1/new/1.h"), 0o640))
	f.settled()
	if n := count(f.rest(), journal.KindSetAttributes); n != 2 {
		t.Errorf("%d entries, want 2", n)
	}
}

// TestSpecialFiles makes what is never replicated.
func TestSpecialFiles(t *testing.T) {
	f := started(t)
	f.must(unix.Mkfifo(f.path("u1/new/pipe"), 0o600))
	f.must(unix.Mknod(f.path("u1/socket"), unix.S_IFSOCK|0o600, 0))
	f.deliver("u1/new/1.h", "one")
	if got := show(f.next()); got != "put u1/new/1.h" {
		t.Errorf("got %s", got)
	}
	f.noMore()
	f.remove("u1/new/1.h") // a pipe in the place of a message
	f.must(unix.Mkfifo(f.path("u1/new/1.h"), 0o600))
	if got := show(f.next()); got != "remove u1/new/1.h" {
		t.Errorf("got %s", got)
	}
}

// TestStress renames flags at full speed while scans run: a live message is
// never removed, and at the end the catalog is what is in the store.
func TestStress(t *testing.T) {
	for _, hinted := range []bool{true, false} {
		t.Run(fmt.Sprint("hints=", hinted), func(t *testing.T) {
			f := newFixture(t)
			const users, messages = 2, 50
			for u := range users {
				f.mailbox(fmt.Sprint("s", u))
				for m := range messages {
					f.write(fmt.Sprintf("s%d/cur/%d.h:2,", u, m), fmt.Sprint(u, m))
				}
			}
			f.cfg.Timing.Rescan = time.Millisecond
			f.cfg.Timing.Settle, f.cfg.Timing.SettleAtLatest = time.Millisecond, 10*time.Millisecond
			if !hinted {
				f.cfg.Hints = filtered(f.store, func(watch.Hint) bool { return rand.IntN(4) > 0 })
			}
			f.start()
			f.eventually()
			var group sync.WaitGroup
			for u := range users {
				group.Go(func() { renameFlags(t, f.path(fmt.Sprint("s", u)), messages) })
			}
			group.Wait()
			f.eventually()
			entries := f.rest()
			for _, e := range entries {
				if e.Kind == journal.KindRemove {
					t.Errorf("%s was removed, and it lives:\n%s", e.Path, history(entries, maildir{}.Base(e.Path.Name())))
				}
			}
		})
	}
}

// history returns the entries of one message.
func history(entries []journal.Entry, base string) string {
	var lines []string
	for _, e := range entries {
		if (maildir{}).Base(e.Path.Name()) == base {
			lines = append(lines, fmt.Sprint(show(e), " inode ", e.Stamp.Inode))
		}
	}
	return strings.Join(lines, "\n")
}

// renameFlags changes flags and moves between new and cur for a second.
func renameFlags(t *testing.T, mailbox string, messages int) {
	names := make([]string, messages)
	for m := range names {
		names[m] = fmt.Sprintf("cur/%d.h:2,", m)
	}
	for until := time.Now().Add(2 * time.Second); time.Now().Before(until); {
		m := rand.IntN(messages)
		to := fmt.Sprintf("%s/%d.h:2,%s", []string{"cur", "new"}[rand.IntN(2)], m, strings.Repeat("S", rand.IntN(5)))
		if err := os.Rename(filepath.Join(mailbox, names[m]), filepath.Join(mailbox, to)); err != nil {
			t.Error(err)
			return
		}
		names[m] = to
	}
}

// TestRemovalAmidRenames expunges a message from a directory in which others
// are renamed all the time: traffic does not postpone it for ever.
func TestRemovalAmidRenames(t *testing.T) {
	f := newFixture(t)
	f.cfg.Timing.Confirm = 2 * time.Millisecond
	const messages = 20
	for m := range messages {
		f.write(fmt.Sprintf("u1/cur/%d.h:2,", m), fmt.Sprint(m))
	}
	f.write("u1/cur/victim.h:2,", "x")
	f.start()
	f.settled()
	done := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for i := 0; ; i++ {
			m := i % messages
			from, to := "", "S"
			if i/messages%2 == 1 {
				from, to = to, from
			}
			f.rename(fmt.Sprintf("u1/cur/%d.h:2,%s", m, from), fmt.Sprintf("u1/cur/%d.h:2,%s", m, to))
			select {
			case <-done:
				return
			case <-time.After(100 * time.Microsecond):
			}
		}
	})
	f.remove("u1/cur/victim.h:2,")
	for e := f.next(); e.Kind != journal.KindRemove; e = f.next() {
	}
	close(done)
	group.Wait()
	f.eventually()
}
