package mirror

import (
	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// mark says what a group did to a name.
type mark uint8

const (
	fresh   mark = iota + 1 // a file was made of a staged content, or one such moved here
	made                    // a directory was made, if there was none
	other                   // whatever was there was removed or replaced
	linked                  // an older file, that got a further name
	pinned                  // an older thing was moved from or to here, or linked to
	vacated                 // a file that the group has made was moved from here
)

// maxMoves bounds the moves of files that a group makes itself.
const maxMoves = 256

// trail remembers which names a group has to do with, so that a group can be
// applied a second time after a crash in its midst.
//
// What a group makes of staged contents it makes again, and what it has moved of that
// is taken back before (see takeBack), so the place it was moved from has to stay
// empty. But an older thing is there only once: if the group is repeated after it was
// moved, then the place it came from has to be empty still, or something else would
// be taken for it; and at the place where it is nothing may have been before, or that
// would be put in its place. So who moves or links an older thing begins a new group
// if its names were touched, and so does who touches the names of such a thing
// afterwards. What is said of a name goes for those beneath it as well.
type trail struct {
	marks   map[journal.Path]mark
	beneath map[journal.Path]int              // names with a mark beneath
	pinned  map[journal.Path]int              // names beneath that are pinned, linked or vacated
	moves   []ownMove                         // of files that the group has made
	made    map[journal.Path]journal.Sequence // of the entries that made the fresh ones
}

// add takes note of a change, or reports false: then the change belongs into
// another group.
func (t *trail) add(c *change) bool {
	if c.settle || c.answers != nil && c.Outcome != wire.OK {
		return true // nothing in the store changes but attributes
	}
	switch c.Kind {
	case journal.KindSetAttributes:
		return true // can be done at any time, and finds nothing or the right thing
	case journal.KindMove, journal.KindLink:
		if t.marks[c.From] != fresh {
			return t.addOlder(c)
		}
		if len(t.moves) >= maxMoves || !t.free(c.Path, false) {
			return false
		}
		made := c.sequence
		if c.Kind == journal.KindMove {
			made = t.made[c.From]
			t.moves = append(t.moves, ownMove{made, []byte(c.From), []byte(c.Path)})
			t.set(c.From, vacated)
		}
		t.set(c.Path, fresh)
		t.made[c.Path] = made
		return true
	case journal.KindMoveDir:
		return t.addOlder(c)
	default:
	}
	removal := c.Kind == journal.KindRemove || c.Kind == journal.KindRemoveDir
	if !t.free(c.Path, removal) {
		return false
	}
	m := markOf(c)
	if was := t.marks[c.Path]; was == linked || was == other && m == made {
		// A place that was linked from has to stay empty, and a directory that
		// was removed is removed again, though another is made then.
		return true
	}
	t.set(c.Path, m)
	if m == fresh {
		t.made[c.Path] = c.sequence
	}
	return true
}

func markOf(c *change) mark {
	switch {
	case c.Kind == journal.KindMakeDir:
		return made
	case c.Kind == journal.KindSymlink, c.Kind == journal.KindPut && c.Outcome == wire.OK:
		return fresh
	}
	return other
}

// addOlder notes that an older thing is moved or linked.
func (t *trail) addOlder(c *change) bool {
	from := t.marks[c.From]
	if from == linked && c.Kind != journal.KindMoveDir {
		from = 0 // one file may get many names at one time
	}
	if from != 0 || t.marks[c.Path] != 0 || t.beneath[c.From]+t.beneath[c.Path] > 0 || !t.undisturbed(c.From) || !t.undisturbed(c.Path) {
		return false
	}
	if c.Kind == journal.KindLink {
		t.set(c.From, linked)
	} else {
		t.set(c.From, pinned)
	}
	t.set(c.Path, pinned)
	return true
}

// undisturbed reports whether nothing above p was changed but made.
func (t *trail) undisturbed(p journal.Path) bool {
	for p != journal.Root {
		p = p.Dir()
		if m := t.marks[p]; m != 0 && m != made {
			return false
		}
	}
	return true
}

// free reports whether p has nothing to do with older things that the group
// moves. What was linked can be removed.
func (t *trail) free(p journal.Path, removal bool) bool {
	m := t.marks[p]
	if m == pinned || m == vacated || m == linked && !removal || t.pinned[p] > 0 {
		return false
	}
	for p != journal.Root {
		p = p.Dir()
		if m := t.marks[p]; m == pinned || m == linked {
			return false
		}
	}
	return true
}

func (t *trail) set(p journal.Path, m mark) {
	if t.marks == nil {
		t.marks = make(map[journal.Path]mark)
		t.beneath = make(map[journal.Path]int)
		t.pinned = make(map[journal.Path]int)
		t.made = make(map[journal.Path]journal.Sequence)
	}
	was := t.marks[p]
	t.marks[p] = m
	for up := p; up != journal.Root; {
		up = up.Dir()
		if was == 0 {
			t.beneath[up]++
		}
		if holds(m) && !holds(was) {
			t.pinned[up]++
		}
		if holds(was) && !holds(m) {
			t.pinned[up]--
		}
	}
}

func holds(m mark) bool { return m == pinned || m == linked || m == vacated }
