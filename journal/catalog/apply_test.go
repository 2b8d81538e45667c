package catalog

import (
	"errors"
	"fmt"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
)

func TestApplyRefusesWhatCannotBeMeant(t *testing.T) {
	c := openTest(t, t.TempDir())
	update(t, c, func(tx *Tx) {
		check(t, tx.Put("d/x", file(1)))
		for _, e := range []journal.Entry{
			{Kind: journal.KindPut, Path: journal.Root, Facts: file(1).Facts},
			{Kind: journal.KindPut, Path: "x"},
			{Kind: journal.KindSymlink, Path: "x", Facts: file(1).Facts},
			{Kind: journal.KindRemoveDir, Path: journal.Root},
			{Kind: journal.KindMove, From: journal.Root, Path: "x", Facts: file(1).Facts},
			{Kind: journal.KindMoveDir, From: "d", Path: "d/e"},
			{Kind: journal.KindMoveDir, From: journal.Root, Path: "e"},
			{Kind: journal.KindSetAttributes, Path: "d/x"},
			{Kind: 0, Path: "x"},
			{Kind: 99, Path: "x"},
		} {
			if err := tx.Apply(&e); !errors.Is(err, ErrInvalid) {
				t.Errorf("%+v: %v", e, err)
			}
		}
		if err := tx.Put("x", Item{}); !errors.Is(err, ErrInvalid) {
			t.Error(err)
		}
		if err := tx.Remove(journal.Root); !errors.Is(err, ErrInvalid) {
			t.Error(err)
		}
		equal(t, "root", names(t, tx, journal.Root), []string{"d"})
	})
}

// TestApplyKeepsWhatTheEntryDoesNotKnow: a message that was never read, or
// whose content never came, stays so under another name.
func TestApplyKeepsWhatTheEntryDoesNotKnow(t *testing.T) {
	c := openTest(t, t.TempDir())
	update(t, c, func(tx *Tx) {
		missing := file(1)
		missing.Missing = true
		check(t, tx.Put("d/missing", missing))
		check(t, tx.Put("d/known", file(2)))
		unread := file(2).Facts
		unread.Content = journal.ContentID{}
		for _, e := range []journal.Entry{
			{Kind: journal.KindMove, From: "d/missing", Path: "e/missing", Facts: missing.Facts},
			{Kind: journal.KindMove, From: "d/known", Path: "e/known", Facts: unread},
			{Kind: journal.KindSetAttributes, Path: "e/known", Facts: unread},
			{Kind: journal.KindLink, From: "e/known", Path: "e/link"}, // no facts: those of From
			{Kind: journal.KindMove, From: "nowhere", Path: "e/no"},
			{Kind: journal.KindLink, From: "nowhere", Path: "e/no"},
		} {
			check(t, tx.Apply(&e))
		}
		it, err := tx.Lookup("e/missing")
		check(t, err)
		equal(t, "missing", it, missing)
		linked := file(2)
		linked.Link = 2
		for _, p := range []journal.Path{"e/known", "e/link"} {
			it, err := tx.Lookup(p)
			check(t, err)
			equal(t, string(p), it, linked)
		}
		equal(t, "names", names(t, tx, "e"), []string{"known", "link", "missing"})
		equal(t, "d", names(t, tx, "d"), []string(nil))
	})
}

func TestMoveDirTakesOverItsParentsName(t *testing.T) {
	c := openTest(t, t.TempDir())
	update(t, c, func(tx *Tx) {
		check(t, tx.Put("a/b/x", file(1)))
		check(t, tx.Put("a/y", file(2)))
		check(t, tx.Put("f", file(3)))
		check(t, tx.Apply(&journal.Entry{Kind: journal.KindMoveDir, From: "a/b", Path: "a"}))
		equal(t, "a", names(t, tx, "a"), []string{"x"})
		check(t, tx.Apply(&journal.Entry{Kind: journal.KindMoveDir, From: "a", Path: "f/g"})) // f is in the way
		equal(t, "f/g", names(t, tx, "f/g"), []string{"x"})
		equal(t, "totals", tx.Totals(), Totals{Files: 1, Directories: 2, Bytes: 1})
	})
}

// TestListWhileChanging: f may change what is listed.
func TestListWhileChanging(t *testing.T) {
	c := openTest(t, t.TempDir())
	update(t, c, func(tx *Tx) {
		for i := range 500 {
			check(t, tx.Put(journal.Path(fmt.Sprintf("d/%03d", i)), file(uint64(i+1))))
		}
		seen := 0
		check(t, tx.List("d", "", func(name string, it Item) error {
			seen++
			check(t, tx.Put(journal.Path("d/"+name+"+"), it))
			return tx.Remove(journal.Path("d/" + name))
		}))
		equal(t, "seen", seen, 500)
		equal(t, "files", tx.Totals().Files, uint64(500))
	})
}
