package salvage

import (
	"os"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/vfs/crashfs"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// promoteAgain has the new primary be replaced by a node that has all that it had, and
// knows, or does not know, where it began. What it journaled is on no node any more.
func (w *world) promoteAgain(known bool) {
	w.t.Helper()
	before, head := w.reign, w.b.journal.Head()
	w.b.must(w.b.journal.Close())
	log, err := journal.Create(crashfs.New(), "journal", head, options(3))
	w.b.must(err)
	w.b.journal = log
	w.reign = Reign{Epoch: 3, Start: head, Whole: true}
	w.reigns = nil
	if known {
		w.reigns = []wire.Reign{{Epoch: 2, Start: before.Start, Whole: before.Whole}, {Epoch: 3, Start: head, Whole: true}}
	}
	w.restart()
}

// TestAnotherReignBetween: what was removed, and what flags were changed, while another
// node was primary is not known to the new one. It does not come back.
func TestAnotherReignBetween(t *testing.T) {
	for _, known := range []bool{true, false} {
		w := newWorld(t, shared)
		w.b.remove("u/cur/gone:2,")
		w.b.remove("u/cur/away:2,")
		w.b.move("u/cur/flags:2,", "u/cur/flags:2,F")
		w.b.move("u/cur/back:2,", "u/cur/back:2,S")
		w.b.move("u/cur/back:2,S", "u/cur/back:2,")
		w.b.put("u/new/between", "between")
		w.promoteAgain(known)
		w.b.put("u/new/after", "after")
		w.a.put("u/new/only", "only here")
		w.a.move("u/cur/gone:2,", "u/cur/gone:2,F")
		w.a.move("u/cur/back:2,", "u/cur/back:2,F")
		there := w.b.mail()
		s := w.salvage()
		if known {
			w.told("new delivered u/new/only", "flags doubt u/cur/gone:2,F", "flags conflict u/cur/back:2,F")
			there = append(there, "u/new/only = only here")
		} else {
			w.told("present doubt u/new/only", "present doubt u/cur/gone:2,F", "present doubt u/cur/away:2,",
				"present conflict u/cur/back:2,F", "present conflict u/cur/flags:2,")
		}
		same(t, "the new primary", w.b.mail(), there)
		if uncertain := s.Uncertain != ""; uncertain == known {
			t.Errorf("uncertain: %q", s.Uncertain)
		}
		if data, err := os.ReadFile(w.a.full("..mailtwin/history/1/u/cur/gone:2,F")); string(data) != "gone" {
			t.Errorf("what is in doubt is not kept: %q, %v", data, err)
		}
	}
}

// TestReignBetweenThatLacked: a node in between that did not have everything may have
// lost what the new primary does not have.
func TestReignBetweenThatLacked(t *testing.T) {
	w := newWorld(t, shared)
	w.b.remove("u/cur/gone:2,") // it never came there
	w.reign.Whole = false
	w.promoteAgain(true)
	if s := w.salvage(); s.Uncertain == "" {
		t.Error("it is taken for one that had everything")
	}
	w.told("present doubt u/cur/gone:2,")
}

// TestGuessedReign: a primary of which nothing is written down, and whose journal
// begins somewhere, does not know what was removed.
func TestGuessedReign(t *testing.T) {
	w := newWorld(t, shared)
	w.b.remove("u/cur/gone:2,")
	w.reign = Reign{Epoch: 2, Start: w.b.journal.Start(), Guess: true}
	w.b.must(w.b.journal.Close())
	var err error
	w.b.journal, err = journal.Create(crashfs.New(), "journal", w.b.journal.Head(), options(2))
	w.b.must(err)
	w.restart()
	w.salvage()
	w.told("present doubt u/cur/gone:2,")
}
