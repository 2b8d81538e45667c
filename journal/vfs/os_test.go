package vfs_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/mailtwin/mailtwin/journal/vfs"
	"github.com/mailtwin/mailtwin/journal/vfs/crashfs"
)

// TestContract holds for the operating system and for its stand-in.
func TestContract(t *testing.T) {
	for name, fsys := range map[string]vfs.FS{"os": vfs.OS(), "crashfs": crashfs.New()} {
		t.Run(name, func(t *testing.T) { testContract(t, fsys, t.TempDir()) })
	}
}

func testContract(t *testing.T, fsys vfs.FS, dir string) {
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	if _, err := fsys.Open(one, os.O_RDWR); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opening nothing: %v", err)
	}
	if err := fsys.Remove(one); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removing nothing: %v", err)
	}
	if err := fsys.Rename(one, two); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("renaming nothing: %v", err)
	}
	f, err := fsys.Open(one, os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	n, err := f.WriteAt([]byte("world"), 6)
	n2, err2 := f.WriteAt([]byte("hello"), 0)
	if n != 5 || n2 != 5 || err != nil || err2 != nil {
		t.Fatal(n, n2, err, err2)
	}
	if err := errors.Join(f.Truncate(9), f.Sync(), fsys.Rename(one, two), fsys.SyncDir(dir)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 20)
	if n, err := f.ReadAt(b, 1); string(b[:n]) != "ello\x00wor" || err != io.EOF {
		t.Errorf("read %q, %v", b[:n], err)
	}
	if n, err := f.ReadAt(b, 100); n != 0 || err != io.EOF {
		t.Errorf("read behind the end: %d, %v", n, err)
	}
	if n, err := f.ReadAt(b[:4], 5); n != 4 || err != nil && err != io.EOF {
		t.Errorf("read up to the end: %d, %v", n, err)
	}
	if names, err := fsys.List(dir); !slices.Equal(names, []string{"two"}) || err != nil {
		t.Errorf("listed %q, %v", names, err)
	}
	if err := errors.Join(f.Close(), fsys.Remove(two)); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err == nil {
		t.Error("synced a closed file")
	}
	if names, err := fsys.List(dir); len(names) != 0 || err != nil {
		t.Errorf("listed %q, %v", names, err)
	}
}
