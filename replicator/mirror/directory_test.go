package mirror

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mailtwin/mailtwin/journal"
)

// A directory has its owner and its mode from the first moment that it is seen:
// whoever opens the mirror after a crash finds none that is root's.
func TestDirectoriesComeWhole(t *testing.T) {
	f := newFixture(t)
	owner := os.Getuid()
	if owner == 0 {
		owner = 8
		if err := os.Chown(f.store, owner, owner); err != nil {
			t.Fatal(err)
		}
	}
	p := f.whole()
	made := madeInPlace(t, f.store)
	readOnly := does(journal.KindMakeDir, "u", file{dir: true})
	readOnly.Facts.Attr.Mode = 0o550
	p.journal(readOnly, put("v/new/a", text("comes before its directory")), named(journal.KindMoveDir, "nowhere", "w"))
	p.untilAcked(3)
	if names := made(); len(names) > 0 {
		t.Errorf("made in place: %q", names)
	}
	for _, want := range []struct {
		name  string
		mode  os.FileMode
		owner int
	}{
		{"u", 0o550, os.Getuid()}, {"v", 0o700, owner}, {"v/new", 0o700, owner}, {"w", 0o700, owner},
	} {
		info, err := os.Stat(filepath.Join(f.store, want.name))
		if err != nil {
			t.Error(err)
			continue
		}
		stat, _ := info.Sys().(*syscall.Stat_t)
		if info.Mode().Perm() != want.mode || int(stat.Uid) != want.owner {
			t.Errorf("%s has mode %o and owner %d; want %o, %d", want.name, info.Mode().Perm(), stat.Uid, want.mode, want.owner)
		}
	}
}

// madeInPlace watches a directory. What it returns tells which names were made
// in it, and not renamed into it.
func madeInPlace(t *testing.T, dir string) func() []string {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err == nil {
		_, err = unix.InotifyAddWatch(fd, dir, unix.IN_CREATE)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return func() (names []string) {
		buf := make([]byte, 1<<16)
		n, err := unix.Read(fd, buf)
		if err != nil && !errors.Is(err, unix.EAGAIN) {
			t.Fatal(err)
		}
		for rest := buf[:max(n, 0)]; len(rest) >= unix.SizeofInotifyEvent; {
			end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(rest[12:])) // of the name, padded
			names = append(names, strings.TrimRight(string(rest[unix.SizeofInotifyEvent:end]), "\x00"))
			rest = rest[end:]
		}
		return names
	}
}
