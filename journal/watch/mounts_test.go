package watch_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/journal/watch"
)

// domain is a directory below the store that has a disk of its own.
type domain struct {
	*fixture
	disk string
}

// onDisk makes a fixture with a domain of three users on a disk of its own: another
// file system (tmpfs), or another part of the same one (bind).
func onDisk(t *testing.T, kind string) domain {
	t.Helper()
	d := domain{newFixture(t), filepath.Join(t.TempDir(), "disk")}
	d.must(os.Mkdir(d.disk, 0o700))
	if kind == "tmpfs" {
		mount(t, "tmpfs", d.disk, "tmpfs", 0)
	}
	d.must(os.Mkdir(d.path("domain"), 0o700))
	mount(t, d.disk, d.path("domain"), "", unix.MS_BIND)
	for _, u := range []string{"ann", "bob", "carl"} {
		d.mailbox("domain/" + u)
		d.write("domain/"+u+"/cur/1.h:2,S", "an old message of "+u)
	}
	d.start()
	d.settled()
	return d
}

func (d domain) mount() {
	d.t.Helper()
	d.must(unix.Mount(d.disk, d.path("domain"), "", unix.MS_BIND, ""))
}

func (d domain) unmount() {
	d.t.Helper()
	d.must(unix.Unmount(d.path("domain"), unix.MNT_DETACH))
}

// doubtful waits until the domain, and nothing else, is in doubt, with these words.
func (d domain) doubtful(words string) {
	d.t.Helper()
	d.wait("doubts", func() bool {
		all := d.watcher.Status().Doubtful
		return d.scannedOnce() && len(all) == 1 && all[0].Path == "domain" && strings.Contains(all[0].Reason, words)
	})
}

func (f *fixture) scannedOnce() bool {
	s := f.watcher.Status()
	return s.Suspended == "" && !s.LastScanEnded.IsZero()
}

// used does what a mail server does where it finds nothing.
func (d domain) used() {
	d.t.Helper()
	for _, u := range []string{"ann", "bob"} {
		d.mailbox("domain/" + u)
		d.deliver("domain/"+u+"/new/9.h", "a new message of "+u)
	}
}

func kinds(t *testing.T, f func(*testing.T, domain)) {
	for _, kind := range []string{"tmpfs", "bind"} {
		t.Run(kind, func(t *testing.T) { f(t, onDisk(t, kind)) })
	}
}

// TestUnmountedDirectory unmounts a disk below the store.
func TestUnmountedDirectory(t *testing.T) {
	kinds(t, func(_ *testing.T, d domain) {
		d.unmount()
		d.doubtful("mounted")
		d.deliver("u1/new/1.h", "the rest goes on")
		if got := show(d.next()); got != "put u1/new/1.h" {
			d.t.Errorf("got %s", got)
		}
		d.noMore()
		d.restart()
		d.doubtful("mounted")
		d.noMore()
		d.back()
	})
}

// back mounts the disk again, and makes sure that all goes on as if nothing had
// happened.
func (d domain) back() {
	d.t.Helper()
	d.mount()
	d.settled()
	d.noMore()
	d.deliver("domain/ann/new/2.h", "two")
	d.expect("put domain/ann/new/2.h")
	d.remove("domain/carl")
	d.settled()
	if n := count(d.rest(), journal.KindRemoveDir); n < 1 || n > 4 {
		d.t.Errorf("a home that was removed led to %d removals of directories", n)
	}
	if len(d.watcher.Status().Doubtful) > 0 {
		d.t.Error("still in doubt")
	}
}

// TestUsedMountPoint unmounts a disk below the store, and a mail server makes homes
// and delivers where it was: nothing of the disk is removed.
func TestUsedMountPoint(t *testing.T) {
	kinds(t, func(_ *testing.T, d domain) {
		d.unmount()
		d.used()
		d.doubtful("mounted")
		d.watcher.Rescan()
		d.deliver("u1/new/1.h", "the rest goes on")
		if got := show(d.next()); got != "put u1/new/1.h" {
			d.t.Errorf("got %s", got)
		}
		d.restart()
		d.doubtful("mounted")
		d.noMore()
		d.back()
	})
}

// TestMountMissingAtStart starts where a disk below the store was not mounted, and
// its mount point is used.
func TestMountMissingAtStart(t *testing.T) {
	kinds(t, func(_ *testing.T, d domain) {
		d.close()
		d.unmount()
		d.used()
		d.start()
		d.doubtful("mounted")
		d.noMore()
		d.back()
	})
}

// TestOldCopyBeneathMount unmounts a disk to which all mail was once copied from
// where it is mounted: what is left there has all the names, and is old.
func TestOldCopyBeneathMount(t *testing.T) {
	kinds(t, func(_ *testing.T, d domain) {
		d.deliver("domain/ann/new/2.h", "that came after the copy")
		d.expect("put domain/ann/new/2.h")
		d.close()
		d.unmount()
		d.must(copyTree(d.path("domain"), d.disk))
		d.remove("domain/ann/new/2.h")
		d.start()
		d.doubtful("mounted")
		d.noMore()
		d.mount()
		d.settled()
		d.noMore()
	})
}

// TestMountPointGone unmounts a disk, and its mount point goes with it.
func TestMountPointGone(t *testing.T) {
	kinds(t, func(_ *testing.T, d domain) {
		d.unmount()
		d.must(os.Remove(d.path("domain")))
		d.doubtful("gone")
		d.watcher.Rescan()
		d.restart()
		d.doubtful("gone")
		d.noMore()
		d.used() // a directory that is younger than anything on the disk
		d.doubtful("something else")
		d.noMore()
		d.remove("domain")
		d.must(os.Mkdir(d.path("domain"), 0o700))
		d.back()
	})
}

// TestMountPointGoneWithItsParent unmounts a disk one level down, and the directory
// that its mount point is in goes too: nothing of the disk is removed, whether that is
// seen or found at the next start.
func TestMountPointGoneWithItsParent(t *testing.T) {
	for _, kind := range []string{"tmpfs", "bind"} {
		t.Run(kind, func(t *testing.T) {
			f := newFixture(t)
			disk := filepath.Join(t.TempDir(), "disk")
			f.must(os.Mkdir(disk, 0o700))
			if kind == "tmpfs" {
				mount(t, "tmpfs", disk, "tmpfs", 0)
			}
			f.must(os.MkdirAll(f.path("region/domain"), 0o700))
			mount(t, disk, f.path("region/domain"), "", unix.MS_BIND)
			f.mailbox("region/domain/ann")
			f.write("region/domain/ann/cur/1.h:2,S", "an old message")
			f.start()
			f.settled()
			gone := func() {
				f.must(unix.Unmount(f.path("region/domain"), unix.MNT_DETACH))
				f.remove("region")
			}
			doubtful := func() {
				t.Helper()
				f.wait("doubt", func() bool {
					return f.scannedOnce() && slices.ContainsFunc(f.watcher.Status().Doubtful, func(d watch.Doubt) bool {
						return d.Path == "region" && strings.Contains(d.Reason, "gone")
					})
				})
				f.deliver("u1/new/1.h", "the rest goes on")
				if got := show(f.next()); got != "put u1/new/1.h" {
					t.Errorf("got %s", got)
				}
				f.remove("u1/new/1.h")
				if got := show(f.next()); got != "remove u1/new/1.h" {
					t.Errorf("got %s", got)
				}
				f.noMore()
			}
			gone()
			doubtful()
			f.restart()
			doubtful()
			f.must(f.watcher.Accept())
			f.settled()
			if got := show(f.rest()[0]); got != "rmdir region" {
				t.Errorf("accepted: got %s", got)
			}
			f.mailbox("region/domain/ann")
			f.settled()
			f.rest()
			f.remove("region") // it is no mount any more
			f.settled()
		})
	}
}

// TestParentOfMountRenamed gives the directory in which something is mounted another
// name: that is no doubt.
func TestParentOfMountRenamed(t *testing.T) {
	f := newFixture(t)
	f.must(os.MkdirAll(f.path("region/domain"), 0o700))
	mount(t, "tmpfs", f.path("region/domain"), "tmpfs", 0)
	t.Cleanup(func() { _ = unix.Unmount(f.path("other/domain"), unix.MNT_DETACH) })
	f.mailbox("region/domain/ann")
	f.write("region/domain/ann/cur/1.h:2,S", "an old message")
	f.start()
	f.settled()
	f.rename("region", "other")
	f.settled()
	if got := show(f.rest()[0]); got != "mvdir region > other" {
		t.Errorf("got %s", got)
	}
	f.wait("no doubt", func() bool { return len(f.watcher.Status().Doubtful) == 0 })
}

// TestMountEnds ends mounts that have hidden nothing: of a directory on itself, and of
// something that the catalog does not know. They are forgotten, so that the directory
// can be removed as any other.
func TestMountEnds(t *testing.T) {
	for _, running := range []bool{true, false} {
		f := newFixture(t)
		f.mailbox("domain/ann")
		f.write("domain/ann/cur/1.h:2,S", "an old message")
		f.must(os.Mkdir(f.path("u1/tmp/snapshot"), 0o700))
		mount(t, f.path("domain"), f.path("domain"), "", unix.MS_BIND)
		mount(t, "tmpfs", f.path("u1/tmp/snapshot"), "tmpfs", 0)
		f.start()
		f.settled()
		scanned := f.watcher.Status().LastScanEnded
		if !running {
			f.close()
		}
		f.must(unix.Unmount(f.path("domain"), unix.MNT_DETACH))
		f.must(unix.Unmount(f.path("u1/tmp/snapshot"), unix.MNT_DETACH))
		if !running {
			f.start()
		}
		f.wait("mounts forgotten", func() bool {
			left := 0
			f.must(f.catalog.View(func(tx *catalog.Tx) error {
				return tx.EachMeta("watch.mount:", func(string) error { left++; return nil })
			}))
			return left == 0 && f.watcher.Status().LastScanEnded.After(scanned)
		})
		f.remove("domain")
		f.settled()
		if all := f.rest(); len(all) == 0 {
			t.Error("the removal was not journaled")
		}
	}
}

// TestMountIsAccepted: a person says that what is in the place of a mount is right.
func TestMountIsAccepted(t *testing.T) {
	kinds(t, func(_ *testing.T, d domain) {
		d.unmount()
		d.used()
		d.doubtful("mounted")
		d.must(d.watcher.Accept())
		d.settled()
		removed := false
		for _, e := range d.rest() {
			removed = removed || e.Kind == journal.KindRemoveDir && e.Path == "domain/carl"
		}
		if !removed {
			d.t.Error("what is gone was not removed")
		}
		d.restart()
		d.settled()
		d.noMore()
		d.remove("domain/bob") // it is no mount any more
		d.remove("domain")
		d.must(os.Mkdir(d.path("domain"), 0o700))
		d.settled()
	})
}

// TestVanishedMountIsAccepted: a domain with a disk of its own was given up.
func TestVanishedMountIsAccepted(t *testing.T) {
	kinds(t, func(_ *testing.T, d domain) {
		d.unmount()
		d.must(os.Remove(d.path("domain")))
		d.doubtful("gone")
		d.must(d.watcher.Accept())
		d.settled()
		if got := show(d.rest()[0]); got != "rmdir domain" {
			d.t.Errorf("got %s", got)
		}
	})
}

// TestNewDisk moves a directory's mail to a disk of its own: a person says so, and
// nothing is removed.
func TestNewDisk(t *testing.T) {
	f := newFixture(t)
	f.mailbox("domain/u")
	for i := range 10 {
		f.write(fmt.Sprintf("domain/u/cur/%d.h:2,S", i), "x")
	}
	f.start()
	f.settled()
	f.close()
	disk := filepath.Join(t.TempDir(), "disk")
	f.must(copyTree(disk, f.path("domain")))
	target := f.path("domain")
	mount(t, "tmpfs", target, "tmpfs", 0)
	f.must(copyTree(target, disk))
	f.start()
	d := domain{f, disk}
	d.doubtful("something else")
	f.must(f.watcher.Accept())
	f.settled()
	for _, e := range f.rest() {
		if e.Kind == journal.KindRemove || e.Kind == journal.KindRemoveDir {
			t.Errorf("unexpected: %s", show(e))
		}
	}
}

// renumber has the catalog know the file system of the domain by another number.
func (d domain) renumber() {
	d.t.Helper()
	c, err := catalog.Open(filepath.Join(d.state, "catalog"), catalog.Options{})
	d.must(err)
	d.catalog = c
	items := d.items()
	d.must(c.UpdateDurably(func(tx *catalog.Tx) error {
		for p, it := range items {
			if p.Within("domain") {
				it.Stamp.Device += 1 << 40
				if err := tx.Put(p, it); err != nil {
					return err
				}
			}
		}
		return nil
	}))
	d.must(c.Close())
}

// TestRenumberedDisk starts where the file system of a domain has another number, as
// it may after a reboot; mail has come and gone meanwhile.
func TestRenumberedDisk(t *testing.T) {
	d := onDisk(t, "tmpfs")
	d.close()
	d.renumber()
	d.rename("domain/ann/cur/1.h:2,S", "domain/ann/cur/1.h:2,FS")
	d.remove("domain/bob")
	d.start()
	d.settled()
	if doubts := d.watcher.Status().Doubtful; len(doubts) > 0 {
		t.Errorf("in doubt: %v", doubts)
	}
	for _, e := range d.rest() {
		if (e.Kind == journal.KindRemove || e.Kind == journal.KindRemoveDir) && !e.Path.Within("domain/bob") {
			t.Errorf("unexpected: %s", show(e))
		}
	}
}

// TestManyRenumbered is TestRenumberedDisk with more directories than may wait to be
// walked: folders that were removed meanwhile are no doubt, and a later doubt can be
// accepted.
func TestManyRenumbered(t *testing.T) {
	d := onDisk(t, "tmpfs")
	d.cfg.Limits.Directories = 10
	d.restart()
	for i := range 60 {
		d.must(os.MkdirAll(d.path(fmt.Sprintf("domain/u%d/cur", i)), 0o700))
	}
	d.settled()
	d.close()
	d.renumber()
	for i := range 15 {
		d.remove(fmt.Sprintf("domain/u%d", 4*i))
	}
	d.start()
	d.settled()
	if doubts := d.watcher.Status().Doubtful; len(doubts) > 0 {
		t.Errorf("in doubt: %v", doubts)
	}
	removed := 0
	for _, e := range d.rest() {
		if e.Kind == journal.KindRemoveDir && e.Path.Dir() == "domain" {
			removed++
		}
	}
	if removed != 15 {
		t.Errorf("%d users were removed, not 15", removed)
	}
	d.unmount()
	d.used()
	d.doubtful("mounted")
	d.must(d.watcher.Accept())
	d.wait("no doubt", func() bool { return d.scannedOnce() && len(d.watcher.Status().Doubtful) == 0 })
	d.settled()
}

// TestAcceptedTooLate accepts a doubt that is over by then: the next one there is
// doubted all the same.
func TestAcceptedTooLate(t *testing.T) {
	kinds(t, func(_ *testing.T, d domain) {
		d.unmount()
		d.used()
		d.doubtful("mounted")
		d.mount()
		d.must(d.watcher.Accept())
		d.settled()
		d.noMore()
		d.unmount()
		d.doubtful("mounted")
		d.noMore()
	})
}

// TestRestoredMailbox makes a mailbox again while nobody looks, from a copy of it:
// what is not in the copy is removed.
func TestRestoredMailbox(t *testing.T) {
	f := newFixture(t)
	f.write("u1/cur/1.h:2,S", "one")
	f.write("u1/cur/2.h:2,S", "two")
	f.start()
	f.settled()
	f.close()
	away := filepath.Join(t.TempDir(), "u1")
	f.must(copyTree(away, f.path("u1")))
	f.remove("u1")
	f.must(copyTree(f.path("u1"), away))
	f.remove("u1/cur/2.h:2,S")
	f.start()
	f.settled()
	var removed []string
	for _, e := range f.rest() {
		if e.Kind == journal.KindRemove || e.Kind == journal.KindRemoveDir {
			removed = append(removed, show(e))
		}
	}
	if len(removed) != 1 || removed[0] != "remove u1/cur/2.h:2,S" {
		t.Errorf("removed: %v", removed)
	}
}
