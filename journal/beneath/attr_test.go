package beneath

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mailtwin/mailtwin/journal"
)

// owner returns an owner and a group to give files to: others than the tests'
// own if they run as root.
func owner() (uid, gid uint32) {
	if os.Geteuid() == 0 {
		return 1234, 2345
	}
	return uint32(os.Getuid()), uint32(os.Getgid())
}

// asUser calls f on a thread that has the rights of another user on files, and
// those only: other threads keep theirs. Who is not root has no more rights as
// it is.
func asUser(uid, gid uint32, f func()) {
	if os.Geteuid() != 0 {
		f()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		_, _, _ = unix.RawSyscall(unix.SYS_SETFSGID, uintptr(gid), 0, 0)
		_, _, _ = unix.RawSyscall(unix.SYS_SETFSUID, uintptr(uid), 0, 0)
		f()
	}()
	<-done
}

func TestSetAttributes(t *testing.T) {
	root, dir := tree(t, "file", "dir/", "link -> file")
	d := openDir(t, root, ".")
	uid, gid := owner()
	const mtime = 1_700_000_000_123_456_789
	want := journal.Attributes{Mode: 0o4751, UID: uid, GID: gid, MTime: mtime, Xattrs: []journal.Xattr{{Name: "user.a", Value: []byte("1")}, {Name: "user.b", Value: []byte{}}}}
	must(t, d.SetAttributes("file", journal.TypeFile, want))
	checkAttributes(t, d, "file", want)

	want.Mode, want.MTime = 0o440, -1 // before 1970, and no longer writable
	want.Xattrs = want.Xattrs[1:]
	want.Xattrs[0].Value = bytes.Repeat([]byte{0}, 300)
	must(t, d.SetAttributes("file", journal.TypeFile, want))
	checkAttributes(t, d, "file", want)

	f, err := d.Create("staged")
	must(t, err)
	defer f.Close()
	must(t, SetFileAttributes(f, want))
	checkAttributes(t, d, "staged", want)

	before, err := d.Stat("dir")
	must(t, err)
	directory := journal.Attributes{Mode: 0o2770, UID: uid, GID: gid, MTime: mtime, Xattrs: []journal.Xattr{{Name: "user.x", Value: []byte("y")}}}
	must(t, d.SetAttributes("dir", journal.TypeDirectory, directory))
	directory.MTime = 0
	checkAttributes(t, d, "dir", directory)
	after, err := d.Stat("dir")
	must(t, err)
	if after.DirMTime != before.DirMTime {
		t.Error("the mtime of a directory was set")
	}
	sub := openDir(t, root, "dir")
	directory.Xattrs, directory.Mode = nil, 0o700
	must(t, sub.SetOwnAttributes(directory))
	checkAttributes(t, d, "dir", directory)

	must(t, d.SetAttributes("link", journal.TypeSymlink, journal.Attributes{Mode: 0o777, UID: uid, GID: gid, MTime: mtime}))
	checkAttributes(t, d, "link", journal.Attributes{Mode: 0o777, UID: uid, GID: gid, MTime: mtime})
	checkAttributes(t, d, "file", want)

	must(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	for name, typ := range map[string]journal.Type{"link": journal.TypeFile, "dir": journal.TypeFile, "pipe": journal.TypeFile} {
		wantErr(t, name, d.SetAttributes(name, typ, want), ErrNotRegular)
	}
	wantErr(t, "link", d.SetAttributes("link", journal.TypeDirectory, want), ErrNotDirectory)
	wantErr(t, "file", d.SetAttributes("file", journal.TypeDirectory, want), ErrNotDirectory)
	wantErr(t, "file", d.SetAttributes("file", journal.TypeSymlink, want), ErrNotSymlink)
}

func checkAttributes(t *testing.T, d *Dir, name string, want journal.Attributes) {
	t.Helper()
	info, err := d.Stat(name)
	must(t, err)
	got := info.Facts.Attr
	got.Xattrs, err = d.Xattrs(name)
	must(t, err)
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("%s: %+v; want %+v", name, got, want)
	}
}

func TestOnlyWhatDiffersIsChanged(t *testing.T) {
	root, _ := tree(t, "file")
	d := openDir(t, root, ".")
	before, err := d.Stat("file")
	must(t, err)
	must(t, d.SetAttributes("file", journal.TypeFile, before.Facts.Attr))
	after, err := d.Stat("file")
	must(t, err)
	if after.Stamp != before.Stamp {
		t.Errorf("%+v; it was %+v", after.Stamp, before.Stamp)
	}
}

func TestOwnerNotPermitted(t *testing.T) {
	root, dir := tree(t, "file", "dir/")
	uid, gid := owner()
	for _, name := range []string{"", "file", "dir"} {
		must(t, os.Chown(filepath.Join(dir, name), int(uid), int(gid)))
	}
	d := openDir(t, root, ".")
	want := journal.Attributes{Mode: 0o6755, UID: 0, GID: 0, MTime: 5, Xattrs: []journal.Xattr{{Name: "user.a", Value: []byte("1")}}}
	asUser(uid, gid, func() {
		wantErr(t, "file", d.SetAttributes("file", journal.TypeFile, want), ErrOwner, syscall.EPERM)
		wantErr(t, "directory", d.SetAttributes("dir", journal.TypeDirectory, want), ErrOwner)
	})
	want.UID, want.GID = uid, gid
	want.Mode = 0o755 // a set-uid file of the wrong owner is another thing
	checkAttributes(t, d, "file", want)
	want.Mode, want.MTime = 0o6755, 0
	checkAttributes(t, d, "dir", want)
}

// Only the owner of a file may ask that its atime be left alone.
func TestOpenOfAnothersFile(t *testing.T) {
	root, err := Open("/etc")
	must(t, err)
	defer root.Close()
	d := openDir(t, root, ".")
	uid, gid := owner()
	asUser(uid, gid, func() {
		f, err := d.Open("passwd")
		if err != nil {
			t.Error(err)
			return
		}
		_ = f.Close()
	})
}

func TestXattrs(t *testing.T) {
	root, dir := tree(t, "file", "dir/", "link -> file")
	must(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	d := openDir(t, root, ".")
	for _, name := range []string{"file", "dir", "link", "pipe"} {
		if got, err := d.Xattrs(name); got != nil || err != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	path := filepath.Join(dir, "file")
	must(t, unix.Setxattr(path, "user.z", []byte("last"), 0))
	must(t, unix.Setxattr(path, "user.a", bytes.Repeat([]byte("x"), 1000), 0))
	if os.Geteuid() == 0 {
		must(t, unix.Setxattr(path, "trusted.other", []byte("not replicated"), 0))
	}
	// version 2; owner rw, user 1 r, group r, mask r, others nothing
	acl := []byte{2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 1, 0, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255, 16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255}
	must(t, unix.Setxattr(path, "system.posix_acl_access", acl, 0))
	got, err := d.Xattrs("file")
	must(t, err)
	var names []string
	for _, x := range got {
		names = append(names, x.Name)
	}
	if strings.Join(names, " ") != "system.posix_acl_access user.a user.z" || len(got[1].Value) != 1000 || !bytes.Equal(got[0].Value, acl) {
		t.Errorf("%q", got)
	}

	// What was read can be written, and carries the mode with it.
	info, err := d.Stat("file")
	must(t, err)
	want := info.Facts.Attr
	want.Xattrs = got
	copied, err := d.Create("copy")
	must(t, err)
	defer copied.Close()
	must(t, SetFileAttributes(copied, want))
	checkAttributes(t, d, "copy", want)
	own, err := FileXattrs(copied)
	must(t, err)
	if len(own) != 3 {
		t.Errorf("of the open file: %q", own)
	}
	want.Xattrs = nil
	must(t, SetFileAttributes(copied, want))
	checkAttributes(t, d, "copy", want)
}

func TestXattrsThatDoNotFit(t *testing.T) {
	root, dir := tree(t, "many", "large", "other")
	d := openDir(t, root, ".")
	for i := range journal.MaxXattrs + 1 {
		must(t, unix.Setxattr(filepath.Join(dir, "many"), fmt.Sprintf("user.%03d", i), nil, 0))
	}
	got, err := d.Xattrs("many")
	wantErr(t, "more than an entry holds", err, ErrXattrs)
	if len(got) != journal.MaxXattrs || got[0].Name != "user.000" {
		t.Errorf("%d attributes", len(got))
	}

	huge := journal.Xattr{Name: "user.huge", Value: make([]byte, 100<<10)}
	after := journal.Xattr{Name: "user.small", Value: []byte("x")}
	err = d.SetAttributes("large", journal.TypeFile, journal.Attributes{Mode: 0o640, MTime: 9, Xattrs: []journal.Xattr{huge, after}})
	wantErr(t, "a value that is too large", err, ErrXattrs)
	checkAttributes(t, d, "large", journal.Attributes{Mode: 0o640, MTime: 9, Xattrs: []journal.Xattr{after}})

	other := journal.Xattr{Name: "security.capability", Value: []byte("x")}
	err = d.SetAttributes("other", journal.TypeFile, journal.Attributes{Mode: 0o640, MTime: 9, Xattrs: []journal.Xattr{other}})
	wantErr(t, "an attribute that is not replicated", err, ErrXattrs)
	checkAttributes(t, d, "other", journal.Attributes{Mode: 0o640, MTime: 9})
}

func TestBeingWritten(t *testing.T) {
	root, dir := tree(t, "file")
	path := filepath.Join(dir, "file")
	d := openDir(t, root, ".")
	f, err := d.Open("file")
	must(t, err)
	defer f.Close()
	expect := func(what string, want bool) {
		t.Helper()
		got, err := BeingWritten(f)
		if err != nil || got != want {
			t.Errorf("%s: %v, %v", what, got, err)
		}
	}
	expect("nobody has it open", false)
	reader, err := os.Open(path)
	must(t, err)
	defer reader.Close()
	expect("another reader", false)
	for _, flag := range []int{os.O_WRONLY, os.O_RDWR | os.O_APPEND} {
		writer, err := os.OpenFile(path, flag, 0)
		must(t, err)
		expect("a writer", true)
		must(t, writer.Close())
		expect("the writer is gone", false)
	}
	// The lease is given back: a writer that does not wait gets in.
	writer, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	must(t, err)
	must(t, writer.Close())
	must(t, f.Close())
	if _, err := BeingWritten(f); err == nil {
		t.Error("a closed file is not being written")
	}
}

// Writers come while leases are taken: none fails, and the signal that breaks
// a lease does not end the process.
func TestBeingWrittenUnderWriters(t *testing.T) {
	root, dir := tree(t, "file")
	d := openDir(t, root, ".")
	f, err := d.Open("file")
	must(t, err)
	defer f.Close()
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			w, err := os.OpenFile(filepath.Join(dir, "file"), os.O_WRONLY, 0)
			if err != nil {
				done <- err
				return
			}
			_ = w.Close()
		}
	}()
	for range 5000 {
		if _, err := BeingWritten(f); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			t.Fatal(err)
		}
	}
	close(stop)
	must(t, <-done)
}
