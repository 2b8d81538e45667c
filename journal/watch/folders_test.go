package watch_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
)

// TestFolderRename renames a folder with a thousand messages: one entry.
func TestFolderRename(t *testing.T) {
	f := newFixture(t)
	for i := range 1000 {
		f.write(fmt.Sprintf("u1/.A/cur/%d.host:2,S", i), fmt.Sprint("message ", i))
	}
	f.start()
	f.settled()
	f.rename("u1/.A", "u1/.B")
	f.expect("mvdir u1/.A > u1/.B")
	f.rename("u1/.B/cur/7.host:2,S", "u1/.B/cur/7.host:2,FS") // seen by the watch that followed
	f.expect("move u1/.B/cur/7.host:2,S > u1/.B/cur/7.host:2,FS")
	f.mailbox("../made") // in the store, what is made last may be hinted before the rest is listed
	f.rename("u1/.B", "u2/.B")
	f.rename("../made", "u1/.B")
	f.expect("mvdir u1/.B > u2/.B", "mkdir u1/.B", "mkdir u1/.B/cur", "mkdir u1/.B/new", "mkdir u1/.B/tmp")
	f.remove("u2/.B")
	f.wait("removal", func() bool { return len(f.differences()) == 0 })
	f.settled()
	for _, e := range f.rest() {
		if e.Kind != journal.KindRemove && e.Kind != journal.KindRemoveDir {
			t.Errorf("%s after a removal of a folder", show(e))
		}
	}
}

// TestTreeMovedIn brings a directory with content into the store, at once and
// by a program that makes it piece by piece.
func TestTreeMovedIn(t *testing.T) {
	f := started(t)
	outside := filepath.Join(filepath.Dir(f.store), "outside")
	for u := range 3 {
		for _, d := range []string{"cur", "new", "tmp", ".Sent/cur", ".Sent/new"} {
			f.must(os.MkdirAll(filepath.Join(outside, fmt.Sprint("user", u), d), 0o700))
		}
		for i := range 100 {
			f.must(os.WriteFile(filepath.Join(outside, fmt.Sprint("user", u), ".Sent/cur", fmt.Sprintf("%d.h:2,S", i)), []byte{byte(i)}, 0o600))
		}
	}
	f.must(os.Rename(outside, f.path("domain")))
	f.settled()
	if puts := count(f.rest(), journal.KindPut); puts != 300 {
		t.Errorf("%d messages were put, not 300", puts)
	}
	for u := range 20 {
		f.mailbox(fmt.Sprintf("domain/fast%d", u))
		f.deliver(fmt.Sprintf("domain/fast%d/new/1.h", u), "x")
	}
	f.settled()
	if puts := count(f.rest(), journal.KindPut); puts != 20 {
		t.Errorf("%d messages were put, not 20", puts)
	}
}

// TestFolderReplaced deletes a folder and makes another of that name.
func TestFolderReplaced(t *testing.T) {
	f := newFixture(t)
	f.write("u1/.A/cur/1.h:2,S", "one")
	f.start()
	f.settled()
	f.remove("u1/.A")
	f.mailbox("u1/.A")
	f.deliver("u1/.A/cur/2.h:2,S", "two")
	f.settled()
	if n := f.watcher.Status().Doubtful; len(n) > 0 {
		t.Errorf("doubts about %q", n)
	}
}

// TestTypeChanges replaces files by directories and the other way round.
func TestTypeChanges(t *testing.T) {
	f := newFixture(t)
	f.write("u1/thing", "a file")
	f.start()
	f.settled()
	f.remove("u1/thing")
	f.must(os.Mkdir(f.path("u1/thing"), 0o700))
	f.write("u1/thing/inside", "x")
	f.settled()
	f.remove("u1/thing")
	f.must(os.Symlink("elsewhere", f.path("u1/thing")))
	f.settled()
	f.remove("u1/thing")
	f.write("u1/thing", "a file again")
	f.settled()
}

// TestNames delivers under every kind of name.
func TestNames(t *testing.T) {
	f := started(t)
	for _, name := range []string{"a\nb", "\xff\xfe", "a...", " ", "-rf", "a\\b", "ü", string(make255())} {
		f.deliver("u1/new/"+name, "content of "+name)
		f.expect("put u1/new/" + name)
		f.must(os.MkdirAll(f.path("u1/"+name+"/cur"), 0o700))
		f.settled()
		f.rest()
		f.write("u1/"+name+"/cur/"+name, "x")
		f.expect("put u1/" + name + "/cur/" + name)
	}
	f.must(os.Symlink("/", f.path("u1/escape")))
	f.expect("symlink u1/escape")
}

func make255() []byte {
	b := make([]byte, 255)
	for i := range b {
		b[i] = 'n'
	}
	return b
}

func count(entries []journal.Entry, k journal.Kind) (n int) {
	for _, e := range entries {
		if e.Kind == k {
			n++
		}
	}
	return n
}
