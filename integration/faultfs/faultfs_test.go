package faultfs

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestFaults(t *testing.T) {
	backing, dir := t.TempDir(), t.TempDir()
	f, err := Mount(backing, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Unmount(); err != nil {
			t.Error(err)
		}
	}()
	file := filepath.Join(dir, "a", "m")
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "a"), 0o755), os.WriteFile(file, []byte("text"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(backing, "a", "m")); err != nil || !bytes.Equal(got, []byte("text")) {
		t.Fatalf("%q, %v", got, err)
	}
	fails := func(what Fault, path string, do func() error) {
		t.Helper()
		if err := do(); err != nil {
			t.Errorf("before: %v", err)
		}
		f.Fail(what, path)
		if err := do(); !errors.Is(err, syscall.EIO) {
			t.Errorf("not failed but %v", err)
		}
		f.Heal()
		if err := do(); err != nil {
			t.Errorf("after: %v", err)
		}
	}
	fails(Read, "a/m", func() error { _, err := os.ReadFile(file); return err })
	fails(Look, "a/m", func() error { _, err := os.Lstat(file); return err })
	fails(List, "a", func() error { _, err := os.ReadDir(filepath.Join(dir, "a")); return err })
	if f.Bytes() < 4 || f.Failures() < 3 {
		t.Errorf("%d bytes, %d failures", f.Bytes(), f.Failures())
	}
}
