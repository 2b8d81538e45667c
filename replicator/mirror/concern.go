package mirror

import (
	"slices"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/watch"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// concern is what an entry may have to do with: what concerns the same must not be
// committed before what was sent before it.
type concern struct {
	path, from journal.Path
	// messages are the directories with the messages that a control file may name: it
	// must not be there before them.
	messages []journal.Path
	// uidlist says that it is one, which must not be there before the other control
	// files of its mailbox: keywords come before it.
	uidlist bool
	// single says that the entry changes files, and those of its names only: of the
	// contents of other names none concerns it.
	single bool
}

func concernOf(e *wire.Entry, rules Rules) concern {
	c := concern{path: e.Path, from: e.From}
	switch e.Kind {
	case journal.KindPut, journal.KindMove, journal.KindLink:
		class := rules.Classify(e.Path, journal.TypeFile)
		if class != watch.ClassMessage {
			c.messages = rules.MessageDirs(e.Path)
		}
		c.uidlist = class == watch.ClassUIDList
		c.single = c.messages == nil
	case journal.KindMakeDir, journal.KindSetAttributes:
		c.single = true
	default:
	}
	return c
}

// with reports whether a content of path p concerns the entry.
func (c *concern) with(p journal.Path) bool {
	return c.withListing(p) || c.uidlist && p.Dir() == c.path.Dir()
}

// withListing reports whether the listing of a directory concerns the entry. That of
// a folder does not concern the uidlist of the mailbox that it is in, though both are in
// one directory: no control file of that mailbox is found by it.
func (c *concern) withListing(dir journal.Path) bool {
	return related(dir, c.path) || related(dir, c.from) || slices.ContainsFunc(c.messages, dir.Within)
}

// related reports whether one of two paths, if both are set, is the other one or
// above it.
func related(p, q journal.Path) bool {
	return p != "" && q != "" && (p.Within(q) || q.Within(p))
}

// lacksContent reports whether the content of an entry has not come with it: it
// may be that of an answer.
func lacksContent(e *wire.Entry) bool {
	return e.Kind == journal.KindPut && e.Held == nil && e.Transfer == 0 && e.Outcome == wire.OK && e.Facts.Size > 0
}
