package kindread

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// cold makes a file of which nothing is in memory.
func cold(t *testing.T, data []byte) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM); err != nil {
		t.Fatal(err)
	}
	if got := pages(t, f); slicesCount(got, true) > 0 {
		t.Skip("this file system keeps what it is told to forget")
	}
	return f
}

// pages says which pages of a file are in memory.
func pages(t *testing.T, f *os.File) []bool {
	t.Helper()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	page := int64(os.Getpagesize())
	got, ok := mincore(int(f.Fd()), 0, int((info.Size()+page-1)/page))
	if !ok {
		t.Skip("mincore is not to be had")
	}
	return got
}

func slicesCount(all []bool, value bool) (n int) {
	for _, v := range all {
		if v == value {
			n++
		}
	}
	return n
}

// TestWhatWasThereStays: after a file was read as a whole, exactly those of
// its pages are in memory that were there before.
func TestWhatWasThereStays(t *testing.T) {
	data := make([]byte, 300_001)
	for i := range data {
		data[i] = byte(rand.N(256))
	}
	for _, way := range []string{"RWF_DONTCACHE", "advice"} {
		for _, touched := range [][]int64{nil, {0}, {0, 4096 * 3, 4096 * 40}, {290_000}} {
			f := cold(t, data)
			for _, at := range touched { // by the mail server
				if _, err := f.ReadAt(make([]byte, 10), at); err != nil {
					t.Fatal(err)
				}
			}
			before := pages(t, f)
			if slicesCount(before, true) != len(touched) {
				t.Fatalf("%d pages are in memory, not %d", slicesCount(before, true), len(touched))
			}
			m := &Manner{}
			r, err := m.Reader(f)
			if err != nil {
				t.Fatal(err)
			}
			r.direct = way == "RWF_DONTCACHE"
			got, err := io.ReadAll(io.LimitReader(r, int64(len(data))+10))
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("%s: read %d bytes, %v", way, len(got), err)
			}
			if way == "RWF_DONTCACHE" && !r.direct {
				t.Logf("RWF_DONTCACHE is not known here")
			}
			after := pages(t, f)
			for i := range after {
				if after[i] != before[i] {
					t.Errorf("%s, %v touched: page %d was in memory: %v, is: %v", way, touched, i, before[i], after[i])
				}
			}
		}
	}
}

func TestCached(t *testing.T) {
	f := cold(t, make([]byte, 20_000))
	m := &Manner{}
	m.SetIdle(true)
	r, err := m.Reader(f)
	if err != nil {
		t.Fatal(err)
	}
	if r.Cached(4096) {
		t.Error("a cold file is in memory")
	}
	if _, err := f.ReadAt(make([]byte, 20_000), 0); err != nil {
		t.Fatal(err)
	}
	if !r.Cached(4096) || !r.Cached(100_000) {
		t.Error("a file that was read is not in memory")
	}
	b := make([]byte, 30_000)
	if n, err := io.ReadFull(r, b); n != 20_000 || err != io.ErrUnexpectedEOF {
		t.Errorf("read %d, %v", n, err)
	}
	if !r.Cached(0) {
		t.Error("nothing is not in memory")
	}
}

func TestErrorsName(t *testing.T) {
	f := cold(t, []byte("x"))
	r, err := (&Manner{}).Reader(f)
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	if _, err := r.Read(make([]byte, 1)); err == nil {
		t.Error("a closed file was read")
	}
	if r.Cached(1) {
		t.Error("a closed file is in memory")
	}
}

// BenchmarkSmall reads a small file again and again, as a sync of a store that
// is in memory does.
func BenchmarkSmall(b *testing.B) {
	path := filepath.Join(b.TempDir(), "f")
	if err := os.WriteFile(path, make([]byte, 14_000), 0o600); err != nil {
		b.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	m := &Manner{}
	buf := make([]byte, 32<<10)
	b.ReportAllocs()
	for b.Loop() {
		r, err := m.Reader(f)
		if err != nil {
			b.Fatal(err)
		}
		r.Cached(14_000)
		if _, err := r.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
}
