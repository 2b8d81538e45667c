package engine_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/mailtwin/mailtwin/replicator/status"
)

// restore puts a copy of a directory in the place of another.
func restore(t testing.TB, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	err := os.CopyFS(to, os.DirFS(from))
	if err == nil {
		err = filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
			return errors.Join(err, os.Chmod(path, 0o700)) // which it does not keep: keys are nobody else's
		})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestMirrorStateRestored: the state directory of a mirror is an older one than its
// store, as a backup has it. What came to the store since is not known to the catalog,
// and was expunged or renamed on the primary, beyond where its journal reaches back:
// it must not stay behind, where a failover would bring it back.
func TestMirrorStateRestored(t *testing.T) {
	p := newTrimmedPair(t)
	name := func(i int) string { return fmt.Sprintf("d/u/Maildir/cur/%d.M1P1.host:2,", i) }
	deliver := func(from, to int) {
		for i := range to - from {
			p.write(name(from+i), fmt.Sprintf("Subject: %d\n\nbody\n", from+i))
		}
	}
	deliver(0, 10)
	p.startMirror()
	p.inSync()
	p.stopMirror()
	backup := t.TempDir()
	restore(t, p.mirror.StateDir, backup)
	p.startMirror()
	deliver(10, 30)
	before := p.inSync()
	p.equal()
	p.stopMirror()
	for i := range 10 {
		gone, renamed := filepath.Join(p.primary.Store.Path, name(10+i)), filepath.Join(p.primary.Store.Path, name(20+i))
		if err := os.Remove(gone); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(renamed, renamed+"S"); err != nil {
			t.Fatal(err)
		}
	}
	deliver(1000, 1300)
	p.until(p.primary, "trimmed", func(d status.Document) bool {
		return d.Journal.Start > before.Mirrors[0].AckedSequence && d.Store.State == "watching" && len(d.Mirrors) == 1 && !d.Mirrors[0].Connected
	})
	restore(t, backup, p.mirror.StateDir)
	p.startMirror()
	p.inSync()
	p.equal()
	if !p.log.has("the state directory is of an earlier time than the store") {
		t.Error("the mirror does not say what it has noticed")
	}
}
