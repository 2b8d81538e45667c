package mirror

import (
	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// mark says what a group did to a name.
type mark uint8

const (
	fresh   mark = iota + 1 // a file was made of a staged content
	again                   // the same, more than once
	lent                    // a file was made of a staged content, and got a further name
	brought                 // a file that the group has made was moved or linked to here
	made                    // a directory was made, if there was none
	other                   // a file ought to be here whose content has not come: nothing is changed
	removed                 // whatever was there was removed
	linked                  // an older file, that got a further name
	pinned                  // an older thing was moved from or to here, or linked to
	vacated                 // a file that the group has made was moved from here
)

// Limits on what a group does that is noted before: the moves of files that it makes
// itself, and the contents in place of others that it makes.
const (
	maxMoves = 256
	maxAgain = 512
)

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
//
// Nor may a group that is repeated show a content that is older than what it had come to
// (see reached); what the group has made and removed may be there again until it has come
// to the removal once more. One name may get a content after the other, for of those it is known
// which is there. But all else that would be made twice under one name, one of them
// after the other, begins a new group: whatever comes to where something was removed,
// a directory in place of a file or the other way round, and what replaces a file that
// was moved or linked, or is moved or linked in place of one. So does who removes a name
// that got one content after the other, for nothing tells then that it had them.
type trail struct {
	marks   map[journal.Path]mark
	beneath map[journal.Path]int              // names with a mark beneath
	pinned  map[journal.Path]int              // names beneath that are pinned, linked or vacated
	puts    map[journal.Path]int              // names beneath that got a content in place of another
	moves   []ownMove                         // of files that the group has made
	again   int                               // contents in place of others that the group has made
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
		switch t.marks[c.From] {
		case fresh, lent, brought:
			return t.addOwn(c)
		default:
			return t.addOlder(c)
		}
	case journal.KindMoveDir:
		return t.addOlder(c)
	case journal.KindRemove, journal.KindRemoveDir:
		return t.addRemoval(c)
	case journal.KindMakeDir:
		return t.addDir(c)
	default:
		return t.addFile(c)
	}
}

// addOwn notes that a file which the group has made is moved or linked.
func (t *trail) addOwn(c *change) bool {
	if len(t.moves) >= maxMoves || t.marks[c.Path] != 0 || t.beneath[c.Path] > 0 || !t.free(c.Path, false) || !t.undisturbed(c.Path) {
		return false
	}
	made := c.sequence
	if c.Kind == journal.KindMove {
		made = t.made[c.From]
		t.moves = append(t.moves, ownMove{made, []byte(c.From), []byte(c.Path)})
		t.set(c.From, vacated)
	} else if t.marks[c.From] == fresh {
		t.set(c.From, lent)
	}
	t.set(c.Path, brought)
	t.made[c.Path] = made
	return true
}

// addRemoval notes that something is removed, which can be done again if nothing comes
// to its place. One that was linked from has to stay empty anyway.
func (t *trail) addRemoval(c *change) bool {
	if t.marks[c.Path] == again || t.puts[c.Path] > 0 || !t.free(c.Path, true) {
		return false
	}
	if t.marks[c.Path] != linked {
		t.set(c.Path, removed)
	}
	return true
}

func (t *trail) addDir(c *change) bool {
	if was := t.marks[c.Path]; was != 0 && was != made || !t.free(c.Path, false) || !t.undisturbed(c.Path) {
		return false
	}
	t.set(c.Path, made)
	return true
}

// addFile notes that a file or a symbolic link is made, if its content is here.
func (t *trail) addFile(c *change) bool {
	if t.beneath[c.Path] > 0 || !t.free(c.Path, false) || !t.undisturbed(c.Path) {
		return false
	}
	comes := c.Kind == journal.KindSymlink || c.Outcome == wire.OK
	switch t.marks[c.Path] {
	case 0, other:
		if !comes {
			t.set(c.Path, other)
			return true
		}
		t.set(c.Path, fresh)
	case fresh, again:
		if comes && t.again >= maxAgain {
			return false
		}
		if comes {
			t.again++
		}
		t.set(c.Path, again)
	default:
		return false
	}
	t.made[c.Path] = c.sequence
	return true
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
		t.puts = make(map[journal.Path]int)
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
		if m == again && was != again { // which no name ceases to be
			t.puts[up]++
		}
	}
}

func holds(m mark) bool { return m == pinned || m == linked || m == vacated }
