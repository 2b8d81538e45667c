package engine_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pageAt are pages of a file that the mail server has read, of those that it has
// read any of.
func pageAt() []int64 { return []int64{0, 7, 40} }

// coldFile writes a file of which nothing is in memory.
func coldFile(path string, size int) error {
	data := make([]byte, size)
	_, _ = rand.Read(data) // never fails
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
	return errors.Join(err, f.Close())
}

// inMemory says which pages of a file are in memory.
func inMemory(path string) ([]bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	m, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Munmap(m) }()
	page := os.Getpagesize()
	is := make([]byte, (len(m)+page-1)/page)
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), uintptr(unsafe.Pointer(&is[0]))); errno != 0 {
		return nil, errno
	}
	out := make([]bool, len(is))
	for i := range is {
		out[i] = is[i]&1 != 0
	}
	return out, nil
}

// TestFirstSyncLeavesThePageCacheAlone: what the mail server has in memory is
// there after the first sync of a pair, and what it has not was not left there.
func TestFirstSyncLeavesThePageCacheAlone(t *testing.T) {
	p := newPair(t)
	p.stopPrimary()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// It begins anew with a store that has mail: what comes later is live mail.
	must(errors.Join(os.RemoveAll(filepath.Join(p.primary.StateDir, "catalog")), os.RemoveAll(filepath.Join(p.primary.StateDir, "journal"))))
	page := int64(os.Getpagesize())
	var paths []string
	before := make(map[string][]bool)
	for i := range 60 {
		path := filepath.Join(p.primary.Store.Path, fmt.Sprintf("d/u%d/Maildir/cur/%d.M1P1.host:2,S", i%5, i))
		paths = append(paths, path)
		must(coldFile(path, 300_001+i))
		f, err := os.Open(path)
		must(err)
		must(unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM))
		if i%3 == 0 {
			for _, at := range pageAt() {
				_, err := f.ReadAt(make([]byte, 10), at*page)
				must(err)
			}
		}
		must(f.Close())
	}
	warm := 0
	for i, path := range paths {
		is, err := inMemory(path)
		must(err)
		before[path] = is
		n := 0
		for _, b := range is {
			if b {
				n++
			}
		}
		want := 0
		if i%3 == 0 {
			want = len(pageAt())
		}
		if n != want {
			t.Skipf("this file system keeps %d pages of a file in memory of which %d were read", n, want)
		}
		warm += n
	}
	p.start()
	p.startMirror()
	d := p.inSync()
	if d.Store.Unread > 0 {
		t.Errorf("%d files were not read", d.Store.Unread)
	}
	lost, left, cold := 0, 0, -warm
	for _, path := range paths {
		after, err := inMemory(path)
		must(err)
		cold += len(after)
		for i := range after {
			switch {
			case before[path][i] && !after[i]:
				lost++
			case !before[path][i] && after[i]:
				left++
			}
		}
	}
	// A machine that is short of memory takes pages from anybody, and a page that
	// another processor holds at that moment is not given back.
	few := func(of int) int { return 1 + of/100 }
	if lost > few(warm) || left > few(cold) {
		t.Errorf("of %d pages that were in memory %d are not any more, and of %d others %d were left there", warm, lost, cold, left)
	}
	p.equal()
}
