package engine_test

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// accessed returns when a file was last read.
func accessed(t *testing.T, path string) time.Time {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return time.Unix(info.Sys().(*syscall.Stat_t).Atim.Unix())
}

// TestFirstSyncLeavesAccessTimes: the array is not written to because it is read.
func TestFirstSyncLeavesAccessTimes(t *testing.T) {
	p := newPair(t)
	long := time.Unix(1_600_000_000, 0)
	name := func(i int) string { return fmt.Sprintf("d/u/Maildir/cur/%d.M1P1.host:2,S", i) }
	full := func(i int) string { return filepath.Join(p.primary.Store.Path, name(i)) }
	for i := range 10 {
		p.write(name(i), fmt.Sprintf("Subject: %d\n\nbody\n", i))
		if err := os.Chtimes(full(i), long, time.Unix(1_700_000_000, 0)); err != nil {
			t.Fatal(err)
		}
	}
	p.startMirror()
	p.inSync()
	for i := range 10 {
		if at := accessed(t, full(i)); !at.Equal(long) {
			t.Errorf("%s: read at %s", name(i), at)
		}
	}
	if _, err := os.ReadFile(full(0)); err != nil {
		t.Fatal(err)
	}
	if accessed(t, full(0)).Equal(long) {
		t.Skip("this file system keeps no access times: nothing is shown")
	}
}
