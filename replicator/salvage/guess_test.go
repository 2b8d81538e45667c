package salvage

import (
	"os"
	"testing"

	"github.com/zeebo/blake3"
	"golang.org/x/sys/unix"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// assume makes a store have a message as one that a mirror was made from: with this
// content, which nobody has compared. known says that it was read here.
func (s *store) assume(p, data string, known bool) {
	s.t.Helper()
	s.must(os.WriteFile(s.full(p), []byte(data), 0o640))
	s.must(os.Chtimes(s.full(p), born, born))
	s.must(s.catalog.Update(func(tx *catalog.Tx) error {
		it, err := tx.Lookup(journal.Path(p))
		if err != nil {
			return err
		}
		it.Facts.Content = journal.ContentID{}
		if known {
			it.Guess = blake3.Sum256([]byte(data))
		}
		return tx.Put(journal.Path(p), it)
	}))
}

// TestGuessIsNotHad: a message of which the new primary has a damaged copy, which it
// took for the message by name and size, is not lost when the node becomes a mirror.
func TestGuessIsNotHad(t *testing.T) {
	for _, known := range []bool{true, false} {
		w := newWorld(t, shared)
		w.b.assume("u/cur/keep:2,", "k!!p", known)
		w.b.assume("u/cur/both:2,", "both", known)
		w.b.assume("u/cur/flags:2,", "f!ags", known)
		w.renameUnseen("u/cur/flags:2,", "u/cur/flags:2,S")
		if !known { // as after the promotion, when the new primary goes by what it has
			w.reign.Whole = false
			w.restart()
		}
		s := w.salvage()
		if s.Uncertain == "" {
			t.Error("a primary that only guessed is taken for one that had everything")
		}
		w.told("present kept u/cur/keep:2,", "present set u/cur/flags:2,S")
		for _, l := range w.lines {
			if !l.Kept {
				t.Errorf("nobody hears that it is in the history alone: %+v", l)
			}
		}
		for p, want := range map[string]string{"keep:2,": "keep", "flags:2,S": "flags"} {
			if data, err := os.ReadFile(w.a.full("..mailtwin/history/1/u/cur/" + p)); string(data) != want {
				t.Errorf("kept of %s: %q, %v", p, data, err)
			}
		}
	}
}

// TestNameIsNoProof: a new message is not taken to be there because an unread one has
// its name.
func TestNameIsNoProof(t *testing.T) {
	w := newWorld(t, shared)
	for _, s := range []*store{w.a, w.b} {
		s.put("u/new/same", "the same")
		s.put("u/new/other", "on "+s.dir)
	}
	w.b.assume("u/new/same", "the same", false)
	w.b.assume("u/new/other", "another", false)
	w.salvage()
	w.told("new there u/new/same", "new kept u/new/other")
	if w.pace.bytes.Load() == 0 || w.pace.out.Load() != 0 {
		t.Errorf("read %d bytes with leave, %d are still being read", w.pace.bytes.Load(), w.pace.out.Load())
	}
}

// TestWhatCannotBeReadThere is neither the same nor another one: a message of its name
// is not delivered, and is kept here.
func TestWhatCannotBeReadThere(t *testing.T) {
	w := newWorld(t, shared)
	for _, s := range []*store{w.a, w.b} {
		s.put("u/new/sick", "sick")
	}
	w.b.assume("u/cur/keep:2,", "keep", false)
	w.b.assume("u/new/sick", "sick", false)
	for _, p := range []string{"u/new/sick", "u/cur/keep:2,"} {
		w.b.cannotBeRead(p)
	}
	w.reign.Whole = false
	w.restart()
	s := w.salvage()
	w.told("present kept u/cur/keep:2,", "present kept u/new/sick")
	if s.Outcomes[OutcomeDelivered] != 0 {
		t.Errorf("summary %+v", s)
	}
	for _, p := range []string{"cur/keep:2,", "new/sick"} {
		if _, err := os.Stat(w.a.full("..mailtwin/history/1/u/" + p)); err != nil {
			t.Error(err)
		}
	}
	w.reign.Whole = true
	w.restart()
	w.salvage()
	w.told("new kept u/new/sick")
}

// cannotBeRead has reads of a file fail with EIO, by putting something over it that does.
func (s *store) cannotBeRead(p string) {
	s.t.Helper()
	if err := unix.Mount("/proc/self/mem", s.full(p), "", unix.MS_BIND, ""); err != nil {
		if os.Getuid() != 0 {
			s.t.Skipf("only root can mount: %v", err)
		}
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = unix.Unmount(s.full(p), unix.MNT_DETACH) })
}
