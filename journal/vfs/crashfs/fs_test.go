package crashfs

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/mailtwin/mailtwin/journal/vfs"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func create(f *FS, name, data string) vfs.File {
	file := must(f.Open(name, os.O_RDWR|os.O_CREATE))
	must(file.WriteAt([]byte(data), 0))
	return file
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestCrashKeepsWhatWasSynced(t *testing.T) {
	f := New()
	file := create(f, "d/a", "one")
	ok(t, file.Sync())
	create(f, "d/b", "name without content")
	ok(t, f.SyncDir("d"))
	must(file.WriteAt([]byte("two"), 3))
	synced := create(f, "d/c", "content without name")
	ok(t, synced.Sync())
	ok(t, f.Rename("d/b", "d/e"))

	rng := rand.New(rand.NewPCG(1, 2))
	lost := f.Crash(LoseAll, rng)
	if names := must(lost.List("d")); !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("names after the crash: %q", names)
	}
	if got := string(lost.Bytes("d/a")) + "|" + string(lost.Bytes("d/b")); got != "one|" {
		t.Errorf("content after the crash: %q", got)
	}
	kept := f.Crash(LoseNone, rng)
	if names := must(kept.List("d")); !slices.Equal(names, []string{"a", "c", "e"}) {
		t.Errorf("names after the kill: %q", names)
	}
	if got := string(kept.Bytes("d/a")); got != "onetwo" {
		t.Errorf("content after the kill: %q", got)
	}
}

func TestCrashTearsWrites(t *testing.T) {
	f := New()
	file := create(f, "d/a", "")
	ok(t, file.Sync())
	ok(t, f.SyncDir("d"))
	data := make([]byte, 4*sector)
	for i := range data {
		data[i] = 1
	}
	must(file.WriteAt(data, 0))
	prefixes, holes := map[int]bool{}, 0
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 0))
		b := f.Crash(LoseEnd, rng).Bytes("d/a")
		if slices.Contains(b, 0) {
			t.Fatal("LoseEnd left a hole")
		}
		prefixes[len(b)] = true
		if slices.Contains(f.Crash(LoseSome, rng).Bytes("d/a"), 0) {
			holes++
		}
	}
	if len(prefixes) < 20 || holes < 20 {
		t.Errorf("%d different ends, %d with holes", len(prefixes), holes)
	}
}

func TestFailedSyncLosesForGood(t *testing.T) {
	f := New()
	file := create(f, "d/a", "lost")
	ok(t, f.SyncDir("d"))
	boom := errors.New("boom")
	f.Before(func(op Op) error {
		if op.Kind == OpSync {
			return boom
		}
		return nil
	})
	if err := file.Sync(); !errors.Is(err, boom) {
		t.Fatal(err)
	}
	f.Before(nil)
	ok(t, file.Sync())
	if got := string(f.Bytes("d/a")); got != "lost" {
		t.Errorf("live: %q", got)
	}
	if got := f.Crash(LoseNone, rand.New(rand.NewPCG(0, 0))).Bytes("d/a"); len(got) != 0 {
		t.Errorf("after the crash: %q", got)
	}
}

func TestFailuresAndCrashPoint(t *testing.T) {
	f := New()
	file := create(f, "d/a", "")
	boom := errors.New("boom")
	f.Before(func(op Op) error {
		if op.Kind == OpWrite {
			return boom
		}
		return nil
	})
	if _, err := file.WriteAt([]byte("abcd"), 0); !errors.Is(err, boom) {
		t.Fatal(err)
	}
	if got := string(f.Bytes("d/a")); got != "ab" {
		t.Errorf("after a failed write: %q", got)
	}
	f.Before(func(Op) error { return ErrCrashed })
	if err := f.Remove("d/a"); !errors.Is(err, ErrCrashed) {
		t.Fatal(err)
	}
	if err := file.Close(); !errors.Is(err, ErrCrashed) {
		t.Fatal(err)
	}
	if _, err := f.Open("d/a", os.O_RDONLY); !errors.Is(err, ErrCrashed) {
		t.Fatal(err)
	}
	after := f.Crash(LoseNone, rand.New(rand.NewPCG(0, 0)))
	if _, err := after.Open("d/a", os.O_RDONLY); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the removal that crashed: %v", err)
	}
}
