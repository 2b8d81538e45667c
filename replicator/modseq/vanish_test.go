package modseq

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
)

// behindIn makes a mailbox with a log and perhaps a uidlist, and returns its
// directory and what it is behind with.
func behindIn(t *testing.T, uids string) (f folders, log string, b behind) {
	t.Helper()
	f = folders{store: t.TempDir(), clock: &clock{now: time.Unix(1_800_000_000, 0)}}
	log = filepath.Join(f.store, mailstore.IndexLog)
	if err := os.WriteFile(log, mailstore.EmptyIndexLog(time.Unix(1_800_000_000, 0), 77), 0o640); err != nil {
		t.Fatal(err)
	}
	if uids != "" {
		if err := os.WriteFile(filepath.Join(f.store, uidlist), []byte(uids), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	root, err := beneath.Open(f.store)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	b = behind{index: journal.Root, control: journal.Root}
	if b.next, err = nextUID(root, journal.Root); err != nil || b.next != 1 {
		t.Fatalf("without dovecot.index the next UID is %d, %v", b.next, err)
	}
	return f, log, b
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestWhatTheIndexNeverKnewIsToldToBeGone(t *testing.T) {
	f, log, b := behindIn(t, "3 V1 N9 Gabc\n1 :a\n6 :b\n")
	before := read(t, log)
	b.next = 4
	// Half a transaction is at its end, as after a crash.
	if err := os.WriteFile(log, append(slices.Clone(before), 0, 0, 0, 0, 9, 9, 9, 9), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := f.vanish(b); err != nil {
		t.Fatal(err)
	}
	_, record, ok := mailstore.Expunged(before, []mailstore.UIDs{{First: 4, Last: 5}, {First: 7, Last: 8}})
	if got := read(t, log); !ok || !slices.Equal(got, append(before, record...)) {
		t.Errorf("%x, want %x and %x", got, before, record)
	}
}

// Dovecot leaves the line of a message that was expunged in the uidlist for a while.
func TestALineOfTheUIDListIsNoMessage(t *testing.T) {
	f, log, b := behindIn(t, "3 V1 N9 Gabc\n1 :a\n4 :b\n5 :c,S=7\n6 :d\n7 :e\n8 :f\n")
	before := read(t, log)
	b.next = 4
	for _, name := range []string{"cur/a:2,S", "new/c,S=7", "cur/d:2,", "cur/f"} {
		path := filepath.Join(f.store, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.vanish(b); err != nil {
		t.Fatal(err)
	}
	_, record, ok := mailstore.Expunged(before, []mailstore.UIDs{{First: 4, Last: 4}, {First: 7, Last: 7}})
	if got := read(t, log); !ok || !slices.Equal(got, append(before, record...)) {
		t.Errorf("%x, want %x and %x", got, before, record)
	}
}

func TestNothingIsToldWithoutNeed(t *testing.T) {
	for what, uids := range map[string]string{
		"no uidlist": "", "none that is understood": "1 5 9\n", "all are there": "3 V1 N3\n1 :a\n2 :b\n",
	} {
		f, log, b := behindIn(t, uids)
		before := read(t, log)
		if err := f.vanish(b); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if got := read(t, log); !slices.Equal(got, before) {
			t.Errorf("%s: %x, and it was %x", what, got, before)
		}
	}
	f, log, b := behindIn(t, "3 V1 N9\n")
	before := read(t, log)
	if err := errors.Join(f.vanish(behind{}), f.vanish(behind{index: b.index, next: 1})); err != nil || !slices.Equal(read(t, log), before) {
		t.Errorf("a mailbox that is not in the store: %v", err)
	}
	if err := os.WriteFile(log, []byte("no log"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := f.vanish(b); err != nil || string(read(t, log)) != "no log" {
		t.Errorf("%q, %v", read(t, log), err)
	}
	if err := errors.Join(os.Remove(log), f.vanish(b)); err != nil {
		t.Error(err)
	}
}

func TestDovecotsLockOfTheLogIsRespected(t *testing.T) {
	f, path, b := behindIn(t, "3 V1 N9\n")
	before := read(t, path)
	log, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(log.Fd(), unix.F_OFD_SETLK, &lock); err != nil {
		t.Fatal(err)
	}
	if err := f.vanish(b); !errors.Is(err, errLogInUse) || !slices.Equal(read(t, path), before) {
		t.Errorf("while it is locked: %v", err)
	}
	if err := errors.Join(log.Close(), f.vanish(b)); err != nil || slices.Equal(read(t, path), before) {
		t.Errorf("afterwards: %v", err)
	}
}
