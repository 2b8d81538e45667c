package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/integration/dovecot"
	"github.com/mailtwin/mailtwin/integration/faultfs"
	"github.com/mailtwin/mailtwin/integration/pair"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// faulty returns a store on a file system that fails on demand.
func faulty(t *testing.T) (store string, f *faultfs.FS) {
	t.Helper()
	dir := dovecot.StoreDir(t)
	backing, store := filepath.Join(dir, "array"), filepath.Join(dir, "primary")
	must(t, errors.Join(os.Mkdir(backing, 0o755), os.Mkdir(store, 0o755)))
	f, err := faultfs.Mount(backing, store)
	must(t, err)
	t.Cleanup(func() {
		f.Heal()
		// A daemon may still be ending.
		if out, err := exec.Command("umount", "-l", store).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return store, f
}

// document returns the status of a node, and the code that the command ends with.
func document(t *testing.T, n *pair.Node, args ...string) (d status.Document, code int) {
	t.Helper()
	out, err := n.Run(t.Context(), append([]string{"status", "--json"}, args...)...)
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		must(t, err)
	}
	must(t, json.Unmarshal(out, &d))
	return d, code
}

// TestUnreadableMail begins with a store of which some contents, one name and
// one directory cannot be read, and a mirror that has an older copy of them:
// the sync goes on, both nodes say that a person is needed and the primary
// which files they are, and what the mirror has stays as it is. When the array
// can be read again, all of it comes.
func TestUnreadableMail(t *testing.T) {
	store, array := faulty(t)
	mirror := filepath.Join(dovecot.StoreDir(t), "mirror")
	const ann, bob = "example.org/ann/Maildir", "example.org/bob/Maildir"
	deliverTo(t, store, "example.org/ann", 40, 3_000)
	deliverTo(t, store, "example.org/bob", 40, 3_000)
	must(t, os.Rename(filepath.Join(store, ann, "new/1700000000.M1P1.mx1"), filepath.Join(store, ann, "cur/1700000000.M1P1.mx1:2,S")))
	must(t, os.WriteFile(filepath.Join(store, bob, "subscriptions"), []byte("A\n"), 0o600))

	// What an old backup has brought to the mirror, and must not go for want of
	// the primary's word.
	kept := map[string][]byte{
		ann + "/cur/1700000000.M1P1.mx1:2,S": []byte("old copy in a directory that cannot be listed"),
		ann + "/new/1700000003.M1P1.mx1":     []byte("old copy of a name that cannot be looked at"),
		bob + "/new/1700000005.M1P1.mx1":     []byte("old copy of a message that cannot be read"),
		bob + "/subscriptions":               []byte("old copy of a control file\n"),
	}
	for name, data := range kept {
		path := filepath.Join(mirror, name)
		must(t, errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, data, 0o600)))
	}
	stale := filepath.Join(mirror, bob, "new", "1600000000.M1P1.mx1")
	must(t, os.WriteFile(stale, []byte("expunged long ago"), 0o600))

	array.Fail(faultfs.List, ann+"/cur")
	array.Fail(faultfs.Look, ann+"/new/1700000003.M1P1.mx1")
	unreadable := []string{bob + "/new/1700000005.M1P1.mx1", bob + "/new/1700000006.M1P1.mx1", bob + "/subscriptions"}
	for _, path := range unreadable {
		array.Fail(faultfs.Read, path)
	}
	array.Delay(2 * time.Millisecond)

	p := pair.New(t, pair.Options{Binary: binary(t), PrimaryStore: store, MirrorStore: mirror, Profile: "normal"})
	want := append([]string{ann + "/cur", ann + "/new/1700000003.M1P1.mx1"}, unreadable...)
	slices.Sort(want)
	var files []status.Unreadable
	eventually(t, time.Minute, "the primary lists what it cannot read", func() bool {
		d, code := document(t, p.Primary)
		files = d.Store.UnreadableFiles
		return code == 2 && d.State == status.Attention && d.Store.Unreadable == len(want)
	})
	var got []string
	for _, f := range files {
		got = append(got, f.Path)
		if f.Error == "" || f.Since.IsZero() {
			t.Errorf("%+v", f)
		}
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("listed: %q; wanted: %q", got, want)
	}
	eventually(t, time.Minute, "the mirror has the rest, and says that a person is needed", func() bool {
		d, code := document(t, p.Mirror)
		entries, _ := os.ReadDir(filepath.Join(mirror, bob, "new"))
		_, err := os.Stat(stale)
		return code == 2 && d.State == status.Attention && len(entries) == 40-1 && errors.Is(err, os.ErrNotExist)
	})
	deliverTo(t, store, "example.org/carol", 3, 1_000) // live mail goes on
	must(t, p.WaitForChange(t.Context()))
	restart := func() {
		t.Helper()
		for _, n := range []*pair.Node{p.Primary, p.Mirror} {
			must(t, errors.Join(n.Stop(), n.Start(), n.WaitUntilAnswers(t.Context())))
		}
	}
	for _, n := range []*pair.Node{p.Primary, p.Mirror} {
		must(t, n.Set("retry_interval", "1s")) // and no less often than after half a minute
	}
	restart()
	eventually(t, time.Minute, "the primary finds all of it once more", func() bool {
		d, _ := document(t, p.Primary)
		return d.Store.Unreadable == len(want)
	})
	must(t, p.WaitForChange(t.Context()))
	for name, data := range kept {
		if got, err := os.ReadFile(filepath.Join(mirror, name)); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s is %q now, %v", name, got, err)
		}
	}

	array.Heal() // and nobody does anything
	p.MustBeEqual(t, 2*time.Minute)
	if d, code := document(t, p.Primary); code != 0 || d.Store.Unreadable != 0 {
		t.Errorf("code %d, %+v", code, d.Store)
	}
}
