package salvage

import (
	"os"
	"strings"
	"testing"
)

// uncertainWorld is one in which every message is offered: nobody knows which the
// new primary had.
func uncertainWorld(t *testing.T, setup func(a *store)) *world {
	w := newWorld(t, func(a *store) { shared(a); setup(a) })
	w.reign.Whole = false
	w.restart()
	return w
}

// renameUnseen moves a message of the former primary, and nobody is told.
func (w *world) renameUnseen(from, to string) {
	w.t.Helper()
	w.a.must(os.Rename(w.a.full(from), w.a.full(to)))
}

// isGone makes sure that the new primary has no such message.
func (w *world) isGone(base string) {
	w.t.Helper()
	for _, m := range w.b.mail() {
		if strings.Contains(m, "/"+base) {
			w.t.Errorf("%q is back", m)
		}
	}
}

// TestMovedThereAndBackUnseen: what was moved since the new primary began, and back
// again when nobody saw it, is looked for where it was at first too.
func TestMovedThereAndBackUnseen(t *testing.T) {
	w := uncertainWorld(t, func(a *store) { a.put("u/cur/roam:2,", "roam") })
	w.a.move("u/cur/roam:2,", "u/.Work/cur/roam:2,")
	w.renameUnseen("u/.Work/cur/roam:2,", "u/cur/roam:2,S")
	w.b.remove("u/cur/roam:2,")
	w.salvage()
	w.isGone("roam")
	w.told("moved expunged u/cur/roam:2,S")
}

// TestMovedUnseenBetweenSalvages: what an earlier salvage has delivered is known
// again after it was moved to another mailbox.
func TestMovedUnseenBetweenSalvages(t *testing.T) {
	w := uncertainWorld(t, func(*store) {})
	w.a.put("u/new/late", "late")
	w.salvage()
	w.told("present delivered u/new/late")
	w.renameUnseen("u/new/late", "u/.Work/cur/late:2,S")
	w.b.remove("u/new/late")
	w.restart()
	w.salvage()
	w.isGone("late")
}

// TestMoveOfUnknownOriginIsTold as what it is, with its flags and without.
func TestMoveOfUnknownOriginIsTold(t *testing.T) {
	w := uncertainWorld(t, func(*store) {})
	w.renameUnseen("u/cur/moved:2,", "u/.Work/cur/moved:2,")
	w.renameUnseen("u/cur/away:2,", "u/.Work/cur/away:2,S")
	w.salvage()
	w.told("moved not-moved u/.Work/cur/moved:2,", "moved set u/.Work/cur/away:2,S")
	for _, l := range w.lines {
		if l.Detail != `moved here; there it stays in "u"` {
			t.Errorf("%s: %q", l.Path, l.Detail)
		}
	}
}

// TestMovedAlike: what both sides have moved to the same mailbox has not stayed
// anywhere, and that folder may be called otherwise there.
func TestMovedAlike(t *testing.T) {
	w := newWorld(t, shared)
	for _, s := range []*store{w.a, w.b} {
		s.move("u/cur/moved:2,", "u/.Work/cur/moved:2,")
		s.move("u/cur/away:2,", "u/.Work/cur/away:2,")
	}
	w.b.moveDir("u/.Work", "u/.Job")
	w.a.move("u/.Work/cur/away:2,", "u/.Work/cur/away:2,S")
	w.salvage()
	w.told("moved set u/.Work/cur/away:2,S")
	if got := w.lines[0].Detail; got != "" {
		t.Errorf("detail %q", got)
	}
}
