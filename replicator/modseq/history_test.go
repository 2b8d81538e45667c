package modseq

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
)

// begun begins the history in a directory with some files, and returns what is
// in it then.
func begun(t *testing.T, dir string, again bool, files ...string) map[string]string {
	t.Helper()
	for _, name := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("as it was"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	root, err := beneath.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	had, err := beginHistory(root, journal.Root, 77, time.Unix(1_800_000_000, 5))
	if err != nil {
		t.Fatal(err)
	}
	if want := slices.ContainsFunc(files, func(name string) bool { return name != historyTemp && name != "dovecot.index.cache" }); had != want && !again {
		t.Errorf("beside %q there was an index: %v", files, had)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		found[e.Name()] = string(data)
	}
	return found
}

func TestAHistoryBeginsWhereThereIsNone(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	log := string(mailstore.EmptyIndexLog(time.Unix(1_800_000_000, 5), 77))
	for i := range 2 { // what a crash has left does not matter, nor does a second time
		got := begun(t, dir, i > 0, historyTemp, "dovecot.index.cache")
		if len(got) != 2 || got[mailstore.IndexLog] != log {
			t.Fatalf("%q", got)
		}
	}
	info, err := os.Stat(filepath.Join(dir, mailstore.IndexLog))
	if err != nil || info.Mode().Perm() != 0o640 || info.ModTime().UnixNano() != 1_800_000_000_000_000_005 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestAHistoryThatIsThereIsLeft(t *testing.T) {
	for _, files := range [][]string{
		{"dovecot.index"}, {"dovecot.index.log"}, {"dovecot.index.log.2"}, {"dovecot.index", "dovecot.index.log"},
	} {
		got := begun(t, t.TempDir(), false, files...)
		for _, name := range files {
			if got[name] != "as it was" {
				t.Errorf("%s is %q now", name, got[name])
			}
			delete(got, name)
		}
		if len(got) != 0 {
			t.Errorf("beside %q there are %q", slices.Clone(files), got)
		}
	}
}

func TestNoHistoryBeginsInAMailboxThatIsGone(t *testing.T) {
	root, err := beneath.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if had, err := beginHistory(root, "ann/Maildir", 77, time.Now()); err != nil || had {
		t.Error(had, err)
	}
}
