package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestWriteReplacesAndCreateDoesNot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	check := func(want string) {
		t.Helper()
		data, err := os.ReadFile(path)
		if err != nil || string(data) != want {
			t.Fatalf("the file holds %q (%v), want %q", data, err, want)
		}
		names, err := os.ReadDir(filepath.Dir(path))
		if err != nil || len(names) != 1 {
			t.Fatalf("the directory holds %v (%v), want the file alone", names, err)
		}
	}
	if err := Create(path, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	check("one")
	if err := Create(path, []byte("two"), 0o600); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("Create over a file: %v, want fs.ErrExist", err)
	}
	check("one")
	if err := Write(path, []byte("three"), 0o640); err != nil {
		t.Fatal(err)
	}
	check("three")
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o640 {
		t.Fatalf("mode %v (%v), want 0640", info.Mode(), err)
	}
}

func TestARestOfACrashIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path+".new", []byte("half of a longer one"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Create(path, []byte("whole"), 0o600); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "whole" {
		t.Fatalf("the file holds %q (%v)", data, err)
	}
}

// A loser of two creators finds the name taken only when it claims it.
func TestAClaimedNameIsNotReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("winner"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := write(path, []byte("loser"), 0o600, claim); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("write: %v, want fs.ErrExist", err)
	}
	if data, _ := os.ReadFile(path); string(data) != "winner" {
		t.Fatalf("the file holds %q", data)
	}
	if _, err := os.Lstat(path + ".new"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("the rest is still there: %v", err)
	}
}

func TestAFailureLeavesTheFileAsItWas(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := os.MkdirAll(filepath.Join(path, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, []byte("x"), 0o600); err == nil {
		t.Fatal("a directory was replaced by a file")
	}
	if _, err := os.Stat(filepath.Join(path, "sub")); err != nil {
		t.Fatal(err)
	}
}
