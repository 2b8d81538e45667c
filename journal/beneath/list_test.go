package beneath

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mailtwin/mailtwin/journal"
)

// dirent makes one record as the kernel does, padded to 8 bytes.
func dirent(inode uint64, kind byte, name string) []byte {
	length := (19 + len(name) + 1 + 7) &^ 7
	record := make([]byte, length)
	binary.NativeEndian.PutUint64(record, inode)
	binary.NativeEndian.PutUint16(record[16:], uint16(length))
	record[18] = kind
	copy(record[19:], name)
	return record
}

func TestParseDirents(t *testing.T) {
	var buf []byte
	for _, r := range [][]byte{
		dirent(1, unix.DT_DIR, "."), dirent(2, unix.DT_DIR, ".."), dirent(3, unix.DT_REG, "file"), dirent(0, unix.DT_REG, "removed"),
		dirent(4, unix.DT_DIR, "..."), dirent(5, unix.DT_LNK, "\n"), dirent(6, unix.DT_FIFO, "pipe"), dirent(7, unix.DT_UNKNOWN, strings.Repeat("n", 255)),
	} {
		buf = append(buf, r...)
	}
	want := []Name{
		{"file", journal.TypeFile, 3}, {"...", journal.TypeDirectory, 4}, {"\n", journal.TypeSymlink, 5}, {"pipe", 0, 6}, {strings.Repeat("n", 255), typeUnknown, 7},
	}
	got, err := parseDirents(nil, buf)
	must(t, err)
	if len(got) != len(want) {
		t.Fatalf("%v; want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%v; want %v", got[i], want[i])
		}
	}

	short, long, empty := dirent(1, unix.DT_REG, "x"), dirent(1, unix.DT_REG, "x"), dirent(1, unix.DT_REG, "")
	binary.NativeEndian.PutUint16(short[16:], 19)
	binary.NativeEndian.PutUint16(long[16:], 100)
	unended := dirent(1, unix.DT_REG, "1234")
	for what, buf := range map[string][]byte{
		"a record of no length": short, "a record beyond the end": long, "no name": empty,
		"a name without end": unended[:len(unended)-1], "half a header": short[:10], "a slash": dirent(1, unix.DT_REG, "a/b"),
	} {
		if _, err := parseDirents(nil, buf); !errors.Is(err, unix.EIO) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func FuzzParseDirents(f *testing.F) {
	f.Add(append(dirent(1, unix.DT_REG, "file"), dirent(2, unix.DT_DIR, "..")...))
	f.Add(dirent(3, unix.DT_UNKNOWN, "x")[:20])
	f.Fuzz(func(t *testing.T, buf []byte) {
		names, _ := parseDirents(nil, buf)
		size := 0
		for _, n := range names {
			if n.Name == "" || n.Name == "." || n.Name == ".." || strings.ContainsAny(n.Name, "/\x00") || n.Inode == 0 {
				t.Fatalf("%+v", n)
			}
			size += 20 + len(n.Name)
		}
		if size > len(buf) {
			t.Fatalf("%d names of %d bytes out of %d", len(names), size, len(buf))
		}
	})
}

// benchTree makes a store with a directory of 1,000 files at a usual depth.
func benchTree(b *testing.B) *Root {
	b.Helper()
	dir := b.TempDir()
	cur := filepath.Join(dir, "a/b/c/d/e/cur")
	if err := os.MkdirAll(cur, 0o700); err != nil {
		b.Fatal(err)
	}
	for i := range 1000 {
		if err := os.WriteFile(filepath.Join(cur, strconv.Itoa(i)), nil, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	root, err := Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = root.Close() })
	return root
}

func BenchmarkStat(b *testing.B) {
	root := benchTree(b)
	d, err := root.Dir("a/b/c/d/e/cur")
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	for b.Loop() {
		if _, err := d.Stat("0"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDir(b *testing.B) {
	root := benchTree(b)
	for b.Loop() {
		d, err := root.Dir("a/b/c/d/e/cur")
		if err != nil {
			b.Fatal(err)
		}
		_ = d.Close()
	}
}

func BenchmarkOpen(b *testing.B) {
	root := benchTree(b)
	d, err := root.Dir("a/b/c/d/e/cur")
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	for b.Loop() {
		f, err := d.Open("0")
		if err != nil {
			b.Fatal(err)
		}
		_ = f.Close()
	}
}

func BenchmarkEach1000(b *testing.B) {
	root := benchTree(b)
	d, err := root.Dir("a/b/c/d/e/cur")
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	b.ReportAllocs()
	for b.Loop() {
		if err := d.Each(func([]Name) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
