package integration

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/integration/dovecot"
	"github.com/mailtwin/mailtwin/integration/pair"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// TestOlderCopyIsNotAskedOfTheArray begins with a mirror that has 95 of 100
// messages from an older copy, some of them under other flags, some with another
// time, and one with other bytes of the same size. Of the array no more than 6 %
// is read for the first sync; what is assumed is told, and no failover takes it
// for proven. When proofs are allowed, the wrong one is found and mended.
func TestOlderCopyIsNotAskedOfTheArray(t *testing.T) {
	store, array := faulty(t)
	mirror := filepath.Join(dovecot.StoreDir(t), "mirror")
	const users, messages = 4, 150
	for _, user := range []string{"ann", "bob", "carol", "dave"} {
		deliverTo(t, store, "example.org/"+user, messages, 6_000)
	}
	if out, err := exec.Command("cp", "-a", store, mirror).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	total, corrupt, right := int64(0), "", []byte(nil)
	assumed, n := uint64(0), 0
	must(t, filepath.WalkDir(store, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		must(t, err)
		total += info.Size()
		copied := filepath.Join(mirror, strings.TrimPrefix(path, store))
		switch n++; {
		case n%20 == 0:
			return os.Remove(copied)
		case n%20 == 1: // read since
			must(t, os.Rename(path, filepath.Join(filepath.Dir(path), "../cur", d.Name()+":2,S")))
		case n%20 == 2: // a copy that did not keep the times
			must(t, os.Chtimes(copied, time.Now(), time.Now()))
		case corrupt == "":
			corrupt = copied
			right, err = os.ReadFile(copied)
			must(t, errors.Join(err, os.WriteFile(copied, bytes.ToUpper(right), 0o600), os.Chtimes(copied, info.ModTime(), info.ModTime())))
		}
		assumed++
		return nil
	}))
	if n != users*messages {
		t.Fatalf("%d messages", n)
	}
	before := array.Bytes()
	p := pair.New(t, pair.Options{Binary: binary(t), PrimaryStore: store, MirrorStore: mirror, Profile: "normal", Prove: "never"})
	var d status.Document
	eventually(t, 2*time.Minute, "all is compared and copied", func() bool {
		d, _ = document(t, p.Primary)
		return len(d.Mirrors) == 1 && d.Mirrors[0].State == status.Behind && d.Mirrors[0].Assumed == assumed &&
			d.Mirrors[0].Files == uint64(n) && d.Mirrors[0].FilesLeft == 0
	})
	read := array.Bytes() - before
	t.Logf("%d of %d bytes were read of the array, %.1f %%", read, total, 100*float64(read)/float64(total))
	if float64(read) > 0.06*float64(total) {
		t.Error("that is more than 6 %")
	}
	if !strings.Contains(d.Loss.Words, "assumed equal") || d.Loss.Assumed != assumed || d.Mirrors[0].Proven {
		t.Errorf("%+v, %+v", d.Loss, d.Mirrors[0])
	}
	if d, code := document(t, p.Mirror); code != 1 || d.Store.Assumed != assumed || d.Primary.Proven {
		t.Errorf("code %d, %+v, %+v", code, d.Store, d.Primary)
	}
	if out, err := p.Mirror.Run(t.Context(), "failover", "--dry-run"); err == nil || !bytes.Contains(out, []byte("assumed equal")) {
		t.Errorf("a switchover would go on: %v\n%s", err, out)
	}

	must(t, errors.Join(p.Primary.Stop(), p.Primary.Set("prove", "always"), p.Primary.Start()))
	must(t, p.Primary.WaitUntilAnswers(t.Context()))
	p.MustBeEqual(t, 3*time.Minute)
	if got, err := os.ReadFile(corrupt); err != nil || !bytes.Equal(got, right) {
		t.Errorf("the corrupt copy is still there: %v", err)
	}
	if d, _ := document(t, p.Mirror); d.Store.Assumed != 0 || !d.Primary.Proven {
		t.Errorf("%+v, %+v", d.Store, d.Primary)
	}
}
