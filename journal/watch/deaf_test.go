package watch_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mailtwin/mailtwin/journal"
)

// journaled waits until the store is observed, and compares what was journaled for it.
func (f *fixture) journaled(want ...string) {
	f.t.Helper()
	f.settled()
	var got []string
	for _, e := range f.rest() {
		got = append(got, show(e))
	}
	if !slices.Equal(got, want) {
		f.t.Errorf("journaled %q, want %q", got, want)
	}
}

// linked puts a link to a directory of the store in place of another directory.
func (f *fixture) linked(p, to string) {
	f.t.Helper()
	f.must(os.Rename(f.path(p), filepath.Join(f.t.TempDir(), "elsewhere")))
	f.must(os.Symlink(to, f.path(p)))
}

// TestRestartFindsALinkInPlaceOfADirectory: what was in the directory is gone from the
// store, and what the link leads to is not taken for it. Its own watch is not given up
// with the directory.
func TestRestartFindsALinkInPlaceOfADirectory(t *testing.T) {
	f := started(t)
	f.deliver("u1/.A/new/1.h", "one")
	f.deliver("u2/new/2.h", "two")
	f.settled()
	f.rest()
	f.close()
	f.linked("u1/.A", "../u2")
	f.start()
	f.journaled("rmdir u1/.A", "symlink u1/.A")
	f.deliver("u2/new/3.h", "three")
	f.expect("put u2/new/3.h")
	f.write("u2/subscriptions", "A\n")
	f.expect(`put u2/subscriptions +0 "A\n"`)
}

// TestLinkInPlaceOfADirectory is the same while the store is observed.
func TestLinkInPlaceOfADirectory(t *testing.T) {
	f := started(t)
	f.rest()
	f.linked("u1/.A", "../u2")
	f.journaled("rmdir u1/.A", "symlink u1/.A")
	f.deliver("u2/new/3.h", "three")
	f.expect("put u2/new/3.h")
	f.remove("u1/.A")
	f.mailbox("u1/.A")
	f.settled()
	f.rest()
	f.deliver("u1/.A/new/4.h", "four")
	f.expect("put u1/.A/new/4.h")
	f.deliver("u2/new/5.h", "five")
	f.expect("put u2/new/5.h")
}

// TestExchangedForALink exchanges a directory and a link to another one at once.
func TestExchangedForALink(t *testing.T) {
	f := started(t)
	f.must(os.Symlink("u2", f.path("z")))
	f.settled()
	for range 2 {
		f.must(unix.Renameat2(unix.AT_FDCWD, f.path("u1"), unix.AT_FDCWD, f.path("z"), unix.RENAME_EXCHANGE))
		f.settled()
	}
	f.rest()
	for _, p := range []string{"u1/new/1.h", "u1/.A/new/2.h", "u2/new/3.h"} {
		f.deliver(p, p)
		f.expect("put " + p)
	}
}

// TestRenamedOver renames a directory over an empty one, which is watched as well.
func TestRenamedOver(t *testing.T) {
	f := started(t)
	f.must(unix.Rename(f.path("u2/new"), f.path("u1/.A/new")))
	f.settled()
	f.rest()
	f.deliver("u1/.A/new/1.h", "one")
	f.expect("put u1/.A/new/1.h")
}

// TestRestartFindsADirectoryInPlaceOfAnother: the one that is there has been known by
// another name.
func TestRestartFindsADirectoryInPlaceOfAnother(t *testing.T) {
	f := started(t)
	f.deliver("u2/new/2.h", "two")
	f.settled()
	f.rest()
	f.close()
	f.remove("u1/.A")
	f.rename("u2", "u1/.A")
	f.start()
	f.settled()
	f.rest()
	f.deliver("u1/.A/new/3.h", "three")
	f.expect("put u1/.A/new/3.h")
}

// TestRenamedThereAndBack: the watch is not lost of a directory that was elsewhere
// for so short a time that it may not have been missed.
func TestRenamedThereAndBack(t *testing.T) {
	f := started(t)
	for i, p := range []string{"u2/new", "u2", "u1/.A/cur", "u1/.A"} {
		f.rename(p, "../away")
		f.rename("../away", p)
		f.settled()
		f.rest()
		name := fmt.Sprintf("%s/%d.h", p, i)
		f.write(name, "content")
		f.wait(name+" is known", func() bool { return f.knows(journal.Path(name)) })
	}
}
