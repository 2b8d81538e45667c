package beneath

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mailtwin/mailtwin/journal"
)

// swapping exchanges two names for as long as the test goes on.
func swapping(t *testing.T, a, b string) {
	t.Helper()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
			}
		}
	})
	t.Cleanup(func() { close(stop); wg.Wait() })
}

// outside makes a directory beside the store, with a secret in it.
func outside(t *testing.T, dir string) string {
	t.Helper()
	out := filepath.Join(filepath.Dir(dir), "outside")
	must(t, os.MkdirAll(filepath.Join(out, "b"), 0o755))
	must(t, os.WriteFile(filepath.Join(out, "b/file"), []byte("secret"), 0o644))
	must(t, os.WriteFile(filepath.Join(out, "file"), []byte("secret"), 0o644))
	return out
}

func TestLinkPlantedInThePath(t *testing.T) {
	root, dir := tree(t, "a/b/file")
	out := outside(t, dir)
	must(t, os.Symlink(out, filepath.Join(dir, "planted")))
	swapping(t, filepath.Join(dir, "a"), filepath.Join(dir, "planted"))
	opened := 0
	for range 4000 {
		d, err := root.Dir("a/b")
		if err != nil {
			wantErr(t, "open", err, ErrEscapes)
			continue
		}
		opened++
		f, err := d.Open("file")
		must(t, err)
		content, err := io.ReadAll(f)
		must(t, err)
		if string(content) != "a/b/file" {
			t.Fatalf("read %q", content)
		}
		must(t, f.Close())
		must(t, d.Close())
	}
	if opened == 0 || opened == 4000 {
		t.Logf("there was no race: %d of 4000 opened", opened)
	}
}

func TestLinkPlantedAtTheName(t *testing.T) {
	root, dir := tree(t, "mailbox/file", "mailbox/x")
	out := outside(t, dir)
	secret := filepath.Join(out, "file")
	must(t, os.Symlink(secret, filepath.Join(dir, "mailbox/planted")))
	before, err := os.Stat(secret)
	must(t, err)
	d := openDir(t, root, "mailbox")
	swapping(t, filepath.Join(dir, "mailbox/file"), filepath.Join(dir, "mailbox/planted"))
	for range 1000 {
		if f, err := d.Open("file"); err == nil {
			content, err := io.ReadAll(f)
			must(t, err)
			if string(content) != "mailbox/file" {
				t.Fatalf("read %q", content)
			}
			must(t, f.Close())
		}
		for _, typ := range []journal.Type{journal.TypeFile, journal.TypeSymlink} {
			_ = d.SetAttributes("file", typ, journal.Attributes{Mode: 0o606, MTime: 5, Xattrs: []journal.Xattr{{Name: "user.x", Value: []byte("y")}}})
		}
		if _, err := d.Xattrs("file"); err != nil {
			t.Fatal(err)
		}
	}
	after, err := os.Stat(secret)
	must(t, err)
	if after.Mode() != before.Mode() || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("a file outside was changed: %v", after)
	}
	if n, _ := unix.Listxattr(secret, nil); n != 0 {
		t.Error("a file outside got attributes")
	}
}

func TestRemoveTree(t *testing.T) {
	root, dir := tree(t, "gone/a/b/file", "gone/a/out -> ../../../outside", "gone/file", "gone/empty/", "kept/file", "file", "link -> kept")
	out := outside(t, dir)
	must(t, os.Symlink(out, filepath.Join(dir, "gone/absolute")))
	must(t, syscall.Mkfifo(filepath.Join(dir, "gone/pipe"), 0o600))
	for i := range 600 {
		must(t, os.WriteFile(filepath.Join(dir, "gone/a", strconv.Itoa(i)), nil, 0o400))
	}
	d := openDir(t, root, ".")
	for _, name := range []string{"gone", "file", "link"} {
		must(t, d.RemoveTree(name))
		wantErr(t, "the second time", d.RemoveTree(name), fs.ErrNotExist)
	}
	names, err := d.List()
	must(t, err)
	if len(names) != 1 || names[0].Name != "kept" {
		t.Errorf("left: %v", names)
	}
	if _, err := os.Stat(filepath.Join(out, "b/file")); err != nil {
		t.Error(err)
	}
}

func TestRemoveDeepTree(t *testing.T) {
	root, dir := tree(t, "deep/")
	const depth = 1000
	fd, err := unix.Open(filepath.Join(dir, "deep"), openDirectory, 0)
	must(t, err)
	for i := range depth {
		name := "directory"
		if i%7 == 0 {
			name = ".removing-" + strconv.Itoa(i%5+1) // what the removal itself uses
		}
		must(t, unix.Mkdirat(fd, name, 0o700))
		must(t, unix.Symlinkat("..", fd, "up"))
		next, err := unix.Openat(fd, name, openDirectory, 0)
		must(t, err)
		must(t, unix.Close(fd))
		fd = next
	}
	must(t, unix.Close(fd))

	var limit unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	defer func() { must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)) }()
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 2*maxHandles + 50, Max: limit.Max}))
	d := openDir(t, root, ".")
	must(t, d.RemoveTree("deep"))
	_, err = d.Stat("deep")
	wantErr(t, "the tree", err, fs.ErrNotExist)
}

func TestRemoveTreeWhileLinksArePlanted(t *testing.T) {
	root, dir := tree(t)
	out := outside(t, dir)
	d := openDir(t, root, ".")
	for range 10 {
		for i := range 20 {
			must(t, os.MkdirAll(filepath.Join(dir, "gone", strconv.Itoa(i), "b"), 0o700))
		}
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				name := filepath.Join(dir, "gone", strconv.Itoa(i%20))
				if os.Remove(filepath.Join(name, "b")) == nil && os.Remove(name) == nil {
					_ = os.Symlink(out, name)
				}
			}
		}()
		err := d.RemoveTree("gone")
		close(stop)
		<-stopped
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"file", "b/file"} {
		if _, err := os.Stat(filepath.Join(out, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// mounted calls f on a thread with mounts of its own, which nobody else sees.
func mounted(t *testing.T, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS)
		if err == nil {
			err = unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatalf("this test mounts, so it must run as root: %v", err)
	}
}

func try(t *testing.T, what string, err error) bool {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
	return err == nil
}

func TestRemoveTreeStopsAtMounts(t *testing.T) {
	dir := t.TempDir()
	mounted(t, func() {
		inner := filepath.Join(dir, "user/mounted")
		if !try(t, "make", os.MkdirAll(inner, 0o700)) || !try(t, "mount", unix.Mount("t", inner, "tmpfs", 0, "size=1m")) {
			return
		}
		_ = os.WriteFile(filepath.Join(inner, "file"), nil, 0o600)
		root, err := Open(dir)
		if !try(t, "open", err) {
			return
		}
		defer root.Close()
		d, err := root.Dir(journal.Root)
		if !try(t, "open", err) {
			return
		}
		defer d.Close()
		wantErr(t, "a tree with a mount", d.RemoveTree("user"), unix.EXDEV)
		if _, err := root.Stat("user/mounted/file"); err != nil {
			t.Errorf("what is mounted: %v", err)
		}
	})
}

func TestFullAndReadOnly(t *testing.T) {
	dir := t.TempDir()
	mounted(t, func() {
		if !try(t, "mount", unix.Mount("t", dir, "tmpfs", 0, "size=64k,nr_inodes=8")) {
			return
		}
		root, err := Open(dir)
		if !try(t, "open", err) {
			return
		}
		defer root.Close()
		d, err := root.Dir(journal.Root)
		if !try(t, "open", err) {
			return
		}
		defer d.Close()
		f, err := d.Create("file")
		if !try(t, "create", err) {
			return
		}
		_, err = f.Write(make([]byte, 128<<10))
		wantErr(t, "write", err, syscall.ENOSPC)
		_ = f.Close()
		for i := 0; err == nil || i < 20; i++ {
			if err = d.Mkdir(strconv.Itoa(i), 0o700); err != nil {
				wantErr(t, "make a directory", err, syscall.ENOSPC)
			}
		}
		if !try(t, "remount", unix.Mount("t", dir, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, "")) {
			return
		}
		_, err = d.Create("other")
		wantErr(t, "create", err, syscall.EROFS)
		wantErr(t, "rename", d.Rename("file", d, "other"), syscall.EROFS)
		wantErr(t, "remove", d.RemoveTree("file"), syscall.EROFS)
		wantErr(t, "attributes", d.SetAttributes("file", journal.TypeFile, journal.Attributes{Mode: 0o777}), syscall.EROFS)
	})
}

func TestIdentity(t *testing.T) {
	root, dir := tree(t, "file")
	first, err := root.Identity()
	must(t, err)
	opened, err := root.Opened()
	must(t, err)
	if !first.Same(opened) || first != opened || first.Inode == 0 {
		t.Errorf("%v at the path, %v is open", first, opened)
	}
	moved := first
	moved.Device++
	if moved.Birth != 0 && !moved.Same(first) {
		t.Error("it is the same on another device number")
	}

	must(t, os.Rename(dir, dir+".away"))
	_, err = root.Identity()
	wantErr(t, "a missing store", err, fs.ErrNotExist)
	wantErr(t, "a missing store", root.Reopen(), fs.ErrNotExist)
	must(t, os.WriteFile(dir, nil, 0o600))
	_, err = root.Identity()
	wantErr(t, "a file in place of the store", err, ErrNotDirectory)
	must(t, os.Remove(dir))
	must(t, os.Mkdir(dir, 0o700))
	second, err := root.Identity()
	must(t, err)
	if second.Same(first) {
		t.Errorf("%v is taken for %v", second, first)
	}
	if _, err := root.Stat("file"); err != nil {
		t.Errorf("the store that is held open: %v", err)
	}
	must(t, root.Reopen())
	_, err = root.Stat("file")
	wantErr(t, "the store that is there now", err, fs.ErrNotExist)
}

func TestIdentityOfUnmounted(t *testing.T) {
	dir := t.TempDir()
	mounted(t, func() {
		if !try(t, "mount", unix.Mount("t", dir, "tmpfs", 0, "size=64k")) {
			return
		}
		root, err := Open(dir)
		if !try(t, "open", err) {
			return
		}
		defer root.Close()
		first, err := root.Identity()
		try(t, "identity", err)
		wantErr(t, "unmount of what is open", unix.Unmount(dir, 0), syscall.EBUSY)
		try(t, "lazy unmount", unix.Unmount(dir, unix.MNT_DETACH))
		second, err := root.Identity()
		try(t, "identity", err)
		if second.Same(first) {
			t.Errorf("%v is taken for %v", second, first)
		}
	})
}

func TestReopenAndCloseWhileInUse(t *testing.T) {
	root, _ := tree(t, "a/b/file")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 500 {
				if _, err := root.Stat("a/b/file"); err != nil && !errors.Is(err, syscall.EBADF) {
					t.Error(err)
				}
			}
		})
	}
	for range 200 {
		must(t, root.Reopen())
		must(t, root.Close())
	}
	wg.Wait()
	must(t, root.Close())
	_, err := root.Dir("a")
	wantErr(t, "a closed root", err, syscall.EBADF)
	must(t, root.Reopen())
}

func TestLongPath(t *testing.T) {
	root, _ := tree(t)
	d, err := root.Dir(journal.Root)
	must(t, err)
	name := strings.Repeat("d", 200)
	path := journal.Root
	for len(path)+201 < journal.MaxPath {
		must(t, d.Mkdir(name, 0o700))
		sub, err := d.Dir(name)
		must(t, err)
		must(t, d.Close())
		d, path = sub, path.Join(name)
	}
	must(t, d.Close())
	d, err = root.Dir(path)
	must(t, err)
	if d.Path() != path {
		t.Errorf("%d bytes of path became %d", len(path), len(d.Path()))
	}
	must(t, d.Close())
}
