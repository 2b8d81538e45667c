package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/integration/faultfs"
	"github.com/mailtwin/mailtwin/replicator/config"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// failing puts a file system that fails on demand beneath a node's store. What the
// store has is in the directory that is returned, too.
func (p *testPair) failing(cfg *config.Config) (f *faultfs.FS, backing string) {
	p.t.Helper()
	backing = cfg.Store.Path + "-array"
	if err := os.Mkdir(backing, 0o700); err != nil {
		p.t.Fatal(err)
	}
	f, err := faultfs.Mount(backing, cfg.Store.Path)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		f.Heal()
		if out, err := exec.Command("umount", "-l", cfg.Store.Path).CombinedOutput(); err != nil {
			p.t.Errorf("umount: %v: %s", err, out)
		}
	})
	return f, backing
}

// synced delivers messages to a mailbox, and returns their names when the mirror has
// them.
func (p *testPair) synced(messages int) (name func(i int) string) {
	p.t.Helper()
	name = func(i int) string { return fmt.Sprintf("d/u/Maildir/cur/%d.M1P1.host:2,", i) }
	for i := range messages {
		p.write(name(i), fmt.Sprintf("Subject: %d\n\nbody\n", i))
	}
	p.startMirror()
	p.inSync()
	return name
}

// TestMirrorWithBadSectors: a mirror whose store has to be looked at as a whole, and of
// which two names cannot be read, follows its primary all the same. A message whose
// bytes are lost comes again; of one that cannot even be looked at nothing is done, but
// it counts as lost until it can.
func TestMirrorWithBadSectors(t *testing.T) {
	p := newPair(t)
	array, backing := p.failing(&p.mirror)
	p.mirror.Store.RetryInterval = config.Duration(50 * time.Millisecond)
	name := func(i int) string { return fmt.Sprintf("d/u/Maildir/cur/%d.M1P1.host:2,", i) }
	deliver := func(from, to int) {
		for i := from; i < to; i++ {
			p.write(name(i), fmt.Sprintf("Subject: %d\n\nbody\n", i))
		}
	}
	deliver(0, 10)
	p.startMirror()
	p.inSync()
	p.stopMirror()
	backup := t.TempDir()
	restore(t, p.mirror.StateDir, backup)
	p.startMirror()
	deliver(10, 20)
	p.inSync()
	p.stopMirror()
	restore(t, backup, p.mirror.StateDir)

	const unseen = 3
	before, err := os.ReadFile(filepath.Join(backing, name(unseen)))
	if err != nil {
		t.Fatal(err)
	}
	unread := filepath.Join(backing, name(12))
	if err := os.WriteFile(unread, []byte("what the disk makes of it"), 0o600); err != nil {
		t.Fatal(err)
	}
	array.Fail(faultfs.Look, name(unseen)) // the catalog has it
	array.Fail(faultfs.Read, name(12))     // and of this one it knows nothing
	p.startMirror()
	p.write("d/u/Maildir/new/live.M1P1.host", "Subject: live\n\nlive\n")
	d := p.until(p.mirror, "following", func(d status.Document) bool {
		_, err := os.Stat(filepath.Join(backing, "d/u/Maildir/new/live.M1P1.host"))
		s := d.Store
		return err == nil && d.State == status.Attention && s.Missing == 1 && len(s.DamagedFiles) == 1 && d.Primary.Connected
	})
	if f := d.Store.DamagedFiles[0]; f.Path != name(unseen) || f.Error == "" || f.Since.IsZero() || d.Loss.Files != 1 {
		t.Errorf("damaged: %+v; lost now: %+v", f, d.Loss)
	}
	got, err := os.ReadFile(unread)
	if want := "Subject: 12\n\nbody\n"; err != nil || string(got) != want {
		t.Errorf("what could not be read is %q, %v", got, err)
	}
	if after, err := os.ReadFile(filepath.Join(backing, name(unseen))); err != nil || !bytes.Equal(before, after) {
		t.Errorf("what could not be looked at is %q, %v", after, err)
	}
	array.Heal()
	p.inSync()
	p.equal()
	p.until(p.mirror, "whole", func(d status.Document) bool { return d.Store.Missing == 0 && len(d.Store.DamagedFiles) == 0 })
}

// TestNamesThatCannotBeLookedAt: a mirror that knows nothing of such a name but that
// something is there learns what it ought to be, so that its digest is the primary's.
func TestNamesThatCannotBeLookedAt(t *testing.T) {
	p := newPair(t)
	array, backing := p.failing(&p.mirror)
	p.mirror.Store.RetryInterval = config.Duration(50 * time.Millisecond)
	name := p.synced(10)
	p.stopMirror()
	if err := os.RemoveAll(filepath.Join(p.mirror.StateDir, "catalog")); err != nil {
		t.Fatal(err)
	}
	array.Fail(faultfs.Look, name(3))
	p.startMirror()
	p.until(p.mirror, "the same, but for what cannot be looked at", func(d status.Document) bool {
		return d.Store.Missing == 1 && d.Primary.Connected && d.Primary.ProvenSequence > 0 && d.Primary.ProvenSequence == d.Primary.Sequence
	})
	if _, err := os.Stat(filepath.Join(backing, name(3))); err != nil {
		t.Error(err)
	}
	array.Heal()
	p.inSync()
	p.equal()
}

// TestChangesOfNamesThatCannotBeLookedAt: what the owner does to mail of which the
// mirror's disk does not even tell what it is holds up nothing, and is done when it can be.
func TestChangesOfNamesThatCannotBeLookedAt(t *testing.T) {
	p := newPair(t)
	array, backing := p.failing(&p.mirror)
	p.mirror.Store.RetryInterval = config.Duration(50 * time.Millisecond)
	name := p.synced(10)
	const flagged, expunged, changed = 3, 4, 5
	at := func(i int) string { return filepath.Join(p.primary.Store.Path, name(i)) }
	for _, i := range []int{flagged, expunged, changed} {
		array.Fail(faultfs.Look, name(i))
	}
	err := errors.Join(os.Rename(at(flagged), at(flagged)+"S"), os.Remove(at(expunged)), os.Chmod(at(changed), 0o640))
	if err != nil {
		t.Fatal(err)
	}
	p.write("d/u/Maildir/new/live.M1P1.host", "Subject: live\n\nlive\n")
	told := func(d status.Document) bool {
		return d.State == status.Attention && strings.Contains(d.Primary.Detail, name(flagged)) && strings.Contains(d.Primary.Detail, "(2 such names)") &&
			d.Store.Missing == 1
	}
	p.until(p.mirror, "following", func(d status.Document) bool {
		_, err := os.Stat(filepath.Join(backing, "d/u/Maildir/new/live.M1P1.host"))
		got, rerr := os.ReadFile(filepath.Join(backing, name(flagged)+"S"))
		return err == nil && rerr == nil && string(got) == "Subject: 3\n\nbody\n" && told(d)
	})
	p.stopMirror()
	p.startMirror()
	p.until(p.mirror, "told after a restart", told)
	array.Heal()
	p.inSync()
	p.equal()
	for _, i := range []int{flagged, expunged} {
		if _, err := os.Stat(filepath.Join(backing, name(i))); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is there: %v", name(i), err)
		}
	}
}

// TestMirrorWithADirectoryThatCannotBeListed follows nobody, and says which it is and
// what to do.
func TestMirrorWithADirectoryThatCannotBeListed(t *testing.T) {
	p := newPair(t)
	array, backing := p.failing(&p.mirror)
	p.write("d/u/Maildir/cur/1.M1P1.host:2,", "Subject: 1\n\nbody\n")
	p.startMirror()
	p.inSync()
	p.stopMirror()
	if err := os.Remove(filepath.Join(backing, "..mailtwin/footprint")); err != nil {
		t.Fatal(err)
	}
	array.Fail(faultfs.List, "d/u/Maildir/cur")
	p.startMirror()
	p.until(p.mirror, "told", func(d status.Document) bool {
		return d.State == status.Attention && strings.Contains(d.Detail, `what is in the directory "d/u/Maildir/cur" cannot be told`)
	})
	from, to := filepath.Join(backing, "d/u/Maildir/cur"), filepath.Join(backing, "..", "broken")
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
	array.Heal()
	p.inSync()
	p.equal()
}

// TestListingBreaksOff: a large directory of the primary gives an error in the middle
// of its listing. What is behind it is not taken for removed, neither on the primary
// nor on the mirror, and all that changed is found when it can be listed again.
func TestListingBreaksOff(t *testing.T) {
	var array *faultfs.FS
	var backing string
	p := newPairAfter(t, func(p *testPair) {
		array, backing = p.failing(&p.primary)
		p.primary.Store.RetryInterval = config.Duration(50 * time.Millisecond)
	})
	name := func(i int) string { return fmt.Sprintf("d/u/Maildir/cur/%d.M1P1.host:2,", i) }
	deliver := func(from, to int) {
		for i := from; i < to; i++ {
			p.write(name(i), fmt.Sprintf("Subject: %d\n\nbody\n", i))
		}
	}
	deliver(0, 4*faultfs.FirstNames)
	p.startMirror()
	p.inSync()
	p.stopPrimary()
	const kept = 2 * faultfs.FirstNames
	for i := range kept { // as many as leave some on both sides of the error
		if i%2 == 0 {
			if err := os.Remove(filepath.Join(backing, name(i))); err != nil {
				t.Fatal(err)
			}
		}
	}
	deliver(10000, 10010)
	array.Fail(faultfs.Rest, "d/u/Maildir/cur")
	p.start()
	p.until(p.primary, "what cannot be listed is told", func(d status.Document) bool {
		files := d.Store.UnreadableFiles
		return d.State == status.Attention && len(files) == 1 && files[0].Path == "d/u/Maildir/cur"
	})
	p.write("d/v/Maildir/new/live.M1P1.host", "Subject: live\n\nlive\n")
	p.until(p.mirror, "live mail goes on", func(status.Document) bool {
		_, err := os.Stat(filepath.Join(p.mirror.Store.Path, "d/v/Maildir/new/live.M1P1.host"))
		return err == nil
	})
	for i := range 4 * faultfs.FirstNames {
		if _, err := os.Stat(filepath.Join(p.mirror.Store.Path, name(i))); err != nil {
			t.Fatalf("the mirror lacks %s, of a directory that nobody has seen as a whole: %v", name(i), err)
		}
	}
	array.Heal()
	p.inSync()
	p.equal()
}
