package faultfs

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
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
	many := filepath.Join(dir, "many")
	for i := range 2 * FirstNames {
		if err := os.MkdirAll(filepath.Join(many, strconv.Itoa(i)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	fails(Rest, "many", func() error {
		names, err := os.ReadDir(many)
		if err != nil && (len(names) == 0 || len(names) > FirstNames) {
			t.Errorf("%d names were had", len(names))
		}
		return err
	})
	if f.Bytes() < 4 || f.Failures() < 3 {
		t.Errorf("%d bytes, %d failures", f.Bytes(), f.Failures())
	}
}

// TestHang: who reads while it hangs gets an answer when it does not any more.
func TestHang(t *testing.T) {
	backing, dir := t.TempDir(), t.TempDir()
	f, err := Mount(backing, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		f.Heal()
		if err := f.Unmount(); err != nil {
			t.Error(err)
		}
	}()
	file := filepath.Join(dir, "m")
	if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.Hang()
	f.Hang()
	if _, err := os.Lstat(file); err != nil {
		t.Errorf("what it is can be had still: %v", err)
	}
	read := make(chan error, 1)
	go func() {
		_, err := os.ReadFile(file)
		read <- err
	}()
	select {
	case err := <-read:
		t.Errorf("read while it hangs: %v", err)
	default:
	}
	f.Heal()
	if err := <-read; err != nil {
		t.Error(err)
	}
}
