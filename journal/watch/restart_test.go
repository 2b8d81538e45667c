package watch_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/zeebo/blake3"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/journal/watch"
)

// TestBaseline puts what is there into the catalog, and nothing into the
// journal.
func TestBaseline(t *testing.T) {
	f := newFixture(t)
	for i := range 2000 {
		f.write(fmt.Sprintf("u1/cur/%d.h:2,S", i), fmt.Sprint(i))
	}
	f.write("u1/dovecot-uidlist", header)
	f.must(os.Link(f.path("u1/cur/1.h:2,S"), f.path("u2/cur/1.h:2,S")))
	f.start()
	f.settled()
	f.noMore()
	if s := f.watcher.Status(); s.FilesOpened != 0 || !s.Complete {
		t.Errorf("status %+v", s)
	}
	f.must(f.catalog.View(func(tx *catalog.Tx) error {
		if at := tx.Position(); at != f.log.Head() {
			t.Errorf("the catalog is at %v, the journal, which has no entry, at %v", at, f.log.Head())
		}
		return nil
	}))
	items := f.items()
	if it := items["u1/cur/1.h:2,S"]; it.Facts.Content.Known() || it.Link == 0 || it.Link != items["u2/cur/1.h:2,S"].Link {
		t.Errorf("item %+v", it)
	}
	f.rename("u1/cur/7.h:2,S", "u1/cur/7.h:2,FS")
	f.expect("move u1/cur/7.h:2,S > u1/cur/7.h:2,FS")
	f.appendTo("u1/dovecot-uidlist", "1 :7.h\n")
	f.expect(`put u1/dovecot-uidlist +0 "3 V1 N1 G1\n1 :7.h\n"`)
}

// TestRestartUnchanged lists no directory and opens no file.
func TestRestartUnchanged(t *testing.T) {
	f := newFixture(t)
	for i := range 100 {
		f.write(fmt.Sprintf("u1/cur/%d.h:2,S", i), fmt.Sprint(i))
	}
	f.start()
	f.settled()
	f.deliver("u1/new/1.h", "one")
	f.write("u1/subscriptions", "A\n")
	f.mailbox("u1/.New")
	f.settled()
	f.restart()
	f.settled()
	f.noMore()
	if s := f.watcher.Status(); s.DirectoriesListed != 0 || s.FilesOpened != 0 || s.Watches == 0 {
		t.Errorf("%d directories listed, %d files opened, %d watches", s.DirectoriesListed, s.FilesOpened, s.Watches)
	}
}

// TestRestartFindsWhatWasRestored: whoever brings a message back while nobody looks
// gives its directory the time that it had.
func TestRestartFindsWhatWasRestored(t *testing.T) {
	f := started(t)
	f.deliver("u1/new/1.h", "one")
	f.settled()
	f.close()
	dir, err := os.Stat(f.path("u1/new"))
	f.must(err)
	f.deliver("u1/new/2.h", "two")
	f.must(os.Chtimes(f.path("u1/new"), dir.ModTime(), dir.ModTime()))
	f.start()
	f.expect("put u1/new/2.h")
	f.restart()
	f.settled()
	if n := f.watcher.Status().DirectoriesListed; n != 0 {
		t.Errorf("%d directories were listed that have not changed since", n)
	}
}

// TestRestartFindsWhatWasRestoredUnseen: it is found as well if the directory itself
// was observed since, and nothing in it was hinted.
func TestRestartFindsWhatWasRestoredUnseen(t *testing.T) {
	f := newFixture(t)
	f.cfg.Hints = filtered(f.store, func(h watch.Hint) bool { return h.Path == "u1/new" })
	f.deliver("u1/new/1.h", "one")
	f.start()
	f.settled()
	dir, err := os.Stat(f.path("u1/new"))
	f.must(err)
	f.deliver("u1/new/2.h", "two")
	f.must(os.Chtimes(f.path("u1/new"), dir.ModTime(), dir.ModTime()))
	now, err := f.root.Stat("u1/new")
	f.must(err)
	f.wait("the directory is observed", func() bool { return f.items()["u1/new"].Stamp.Change == now.Stamp.Change })
	f.cfg.Hints = nil
	f.restart()
	f.expect("put u1/new/2.h")
}

// TestRestartChanged finds exactly what was done meanwhile.
func TestRestartChanged(t *testing.T) {
	f := newFixture(t)
	for i := range 10 {
		f.write(fmt.Sprintf("u1/cur/%d.h:2,S", i), fmt.Sprint(i))
	}
	f.write("u1/.A/cur/a.h:2,", "in A")
	f.mailbox("u2/.Z")
	f.start()
	f.settled()
	f.write("u1/subscriptions", "A\n")
	f.expect(`put u1/subscriptions +0 "A\n"`)
	f.close()

	f.rename("u1/cur/1.h:2,S", "u1/cur/1.h:2,FS")     // a flag
	f.rename("u1/cur/2.h:2,S", "u2/cur/2.h:2,S")      // to a mailbox that is scanned later
	f.rename("u1/.A", "u2/.B")                        // a folder
	f.rename("u2/.B/cur/a.h:2,", "u2/.B/cur/a.h:2,S") // in it
	f.remove("u1/cur/3.h:2,S")
	f.deliver("u1/new/new.h", "new")
	f.appendTo("u1/subscriptions", "B\n")
	f.remove("u2/.Z")
	f.start()
	f.settled()
	var got []string
	for _, e := range f.rest() {
		got = append(got, show(e))
	}
	slices.Sort(got)
	want := []string{
		"move u1/cur/1.h:2,S > u1/cur/1.h:2,FS",
		"move u1/cur/2.h:2,S > u2/cur/2.h:2,S",
		"move u2/.B/cur/a.h:2, > u2/.B/cur/a.h:2,S",
		"mvdir u1/.A > u2/.B",
		"put u1/new/new.h",
		`put u1/subscriptions +2 "B\n"`,
		"remove u1/cur/3.h:2,S",
		"rmdir u2/.Z",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

// TestRolledBack takes back a rename and a removal that were journaled already,
// as a power cut does: the directories have the time again that they had when
// they were listed last.
func TestRolledBack(t *testing.T) {
	f := newFixture(t)
	f.write("u1/new/1.h", "one")
	f.write("u1/cur/2.h:2,S", "two")
	f.start()
	f.settled()
	f.restart() // from here on all directories are known
	f.settled()
	before := make(map[string]time.Time)
	for _, d := range []string{"u1/new", "u1/cur"} {
		info, err := os.Stat(f.path(d))
		f.must(err)
		before[d] = info.ModTime()
	}
	aside := filepath.Join(t.TempDir(), "2.h")
	f.close()
	settle := f.cfg.Timing.Settle
	f.cfg.Timing.Settle = time.Hour
	f.start()
	f.wait("watching", f.idle)
	f.rename("u1/new/1.h", "u1/cur/1.h:2,")
	f.must(os.Rename(f.path("u1/cur/2.h:2,S"), aside))
	f.wait("journaled", func() bool { return len(f.differences()) == 0 })
	f.close()

	f.rename("u1/cur/1.h:2,", "u1/new/1.h")
	f.must(os.Rename(aside, f.path("u1/cur/2.h:2,S")))
	for d, at := range before {
		f.must(os.Chtimes(f.path(d), at, at))
	}
	f.cfg.Timing.Settle = settle
	f.start()
	f.settled()
	var got []string
	for _, e := range f.rest() {
		got = append(got, show(e))
	}
	slices.Sort(got)
	if want := []string{"move u1/cur/1.h:2, > u1/new/1.h", "put u1/cur/2.h:2,S"}; !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

// TestPowerCut takes back the bytes of control files and not their times, as a
// power cut does where they were overwritten in place. It is found at the first
// start after the boot, even if the observer is killed before the scan is over.
func TestPowerCut(t *testing.T) {
	f := started(t)
	f.write("u1/subscriptions", "B\n")
	f.expect(`put u1/subscriptions +0 "B\n"`)
	f.settled()
	f.takeBack("u1/subscriptions", "A\n")
	f.restart()
	f.wait("watching", f.idle)
	f.noMore() // the machine has not gone down, and the stamp is the same

	f.close()
	f.cfg.Boot = "second"
	g := &gate{}
	f.cfg.Pace = g
	f.start()
	f.wait("the scan asks for leave", func() bool { return g.asked.Load() > 0 })
	f.close()
	f.cfg.Pace = nil
	f.start()
	f.expect(`put u1/subscriptions +0 "B\n"`)
	f.settled()
	f.noMore()
	f.restart()
	f.settled()
	if s := f.watcher.Status(); s.FilesOpened != 0 {
		t.Errorf("%d files were opened again", s.FilesOpened)
	}
}

// takeBack makes the catalog believe that a file has other bytes.
func (f *fixture) takeBack(name, bytes string) {
	f.t.Helper()
	f.must(f.catalog.Update(func(tx *catalog.Tx) error {
		it, err := tx.Lookup(journal.Path(name))
		if err != nil {
			return err
		}
		it.Facts.Content = blake3.Sum256([]byte(bytes))
		return tx.Put(journal.Path(name), it)
	}))
}

// TestReplay gives the observer a catalog that missed the end of the journal.
func TestReplay(t *testing.T) {
	f := started(t)
	f.close()
	old := filepath.Join(t.TempDir(), "catalog")
	f.must(os.CopyFS(old, os.DirFS(filepath.Join(f.state, "catalog"))))
	f.start()
	f.settled()
	f.deliver("u1/new/1.h", "one")
	f.deliver("u1/new/2.h", "two")
	f.rename("u1/.A", "u1/.B")
	f.settled()
	f.rename("u1/new/1.h", "u1/cur/1.h:2,S")
	f.remove("u1/new/2.h")
	f.settled()
	f.close()
	f.must(os.RemoveAll(filepath.Join(f.state, "catalog")))
	f.must(os.Rename(old, filepath.Join(f.state, "catalog")))
	f.start()
	f.settled()
	f.noMore()
}

// TestInterruptedBaseline stops it in the middle; it goes on where it was.
func TestInterruptedBaseline(t *testing.T) {
	f := newFixture(t)
	for u := range 20 {
		f.mailbox(fmt.Sprintf("domain/u%02d", u))
		f.write(fmt.Sprintf("domain/u%02d/cur/1.h:2,S", u), fmt.Sprint(u))
	}
	f.cfg.Timing.Racy = 1
	h := filtered(f.store, nil)
	f.cfg.Hints = stopping{testHints: h, at: "domain/u10/cur", stop: func() { f.stop() }}
	f.start()
	<-f.ctx.Done()
	f.close()
	f.cfg.Hints = nil
	f.start()
	f.settled()
	f.noMore()
	s := f.watcher.Status()
	if s.DirectoriesListed >= 60 || s.DirectoriesListed < 20 {
		t.Errorf("%d directories were listed", s.DirectoriesListed)
	}
	if !s.Complete || s.Phase != watch.PhaseWatching {
		t.Errorf("status %+v", s)
	}
}

// stopping calls stop when a directory is added.
type stopping struct {
	*testHints
	at   journal.Path
	stop func()
}

func (s stopping) Add(dir journal.Path) error {
	if dir == s.at {
		s.stop()
	}
	return s.testHints.Add(dir)
}

// TestRestartFindsAnInodeUsedAgain: a message that came meanwhile is another one than
// that whose inode it was given, under whatever name.
func TestRestartFindsAnInodeUsedAgain(t *testing.T) {
	f := started(t)
	f.deliver("u1/new/1.h", "one")
	f.deliver("u1/new/2.h", "two")
	f.settled()
	was := f.items()
	f.close()
	f.remove("u1/new/1.h")
	f.deliver("u1/new/3.h", "3rd")
	mtime := time.Unix(0, was["u1/new/1.h"].Facts.Attr.MTime)
	f.must(os.Chtimes(f.path("u1/new/3.h"), mtime, mtime))
	// Not every file system uses the number of an inode again at once.
	cat, err := catalog.Open(filepath.Join(f.state, "catalog"), catalog.Options{})
	f.must(err)
	info, err := os.Stat(f.path("u1/new/3.h"))
	f.must(err)
	f.must(cat.UpdateDurably(func(tx *catalog.Tx) error {
		it := was["u1/new/1.h"]
		it.Stamp.Inode = info.Sys().(*syscall.Stat_t).Ino
		return tx.Put("u1/new/1.h", it)
	}))
	f.must(cat.Close())
	f.start()
	f.expect("put u1/new/3.h", "remove u1/new/1.h")
	if got := f.items()["u1/new/3.h"].Facts.Content; got != blake3.Sum256([]byte("3rd")) {
		t.Errorf("the new message is taken for %v", got)
	}
}
