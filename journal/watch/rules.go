package watch

import "github.com/mailtwin/mailtwin/journal"

// Class says what a name means for the mail server, as far as observing it
// needs to know. Beyond ClassIgnored, the numbers are the order in which the
// changes of one observation are journaled: what gives messages their meaning
// comes after the messages.
type Class uint8

// The classes.
const (
	// ClassIgnored is what is never journaled. A directory of this class is
	// not listed and not watched either.
	ClassIgnored Class = iota
	// ClassMessage is one immutable mail file, or a symbolic link in the place
	// of one. It changes its name, never its bytes, and Rules.Base tells which
	// message a name stands for.
	ClassMessage
	// ClassKeywords is a control file that gives names to keyword letters.
	ClassKeywords
	// ClassUIDList is a control file that names messages. It is journaled only
	// after every message that Rules.Named finds in it.
	ClassUIDList
	// ClassControl is everything else that is replicated, directories and
	// symbolic links among it.
	ClassControl
	// ClassDerived is a file that tells less than what is beside it, or the same
	// later: what it says of messages must never be newer than they are. Files
	// of this class are journaled as Snapshots say, and not if there are none.
	ClassDerived
)

// String returns the class's name.
func (c Class) String() string {
	switch c {
	case ClassIgnored:
		return "ignored"
	case ClassMessage:
		return "message"
	case ClassKeywords:
		return "keywords"
	case ClassUIDList:
		return "uidlist"
	case ClassControl:
		return "control"
	case ClassDerived:
		return "derived"
	}
	return "unknown"
}

// Rules say what the names and bytes of a store mean. They look at nothing but
// their arguments: no method touches the file system, none keeps or changes
// what it is given, and all may be called concurrently.
type Rules interface {
	// Classify returns the class of the thing of type t at p. It never depends
	// on what is beside p, so that the answer for a path is the same for ever.
	// Whether a directory above p is ignored does not matter to it: who asks
	// for something beneath an ignored directory has taken a wrong turn before.
	// A type of 0 is ignored. A symbolic link among messages is ClassMessage.
	Classify(p journal.Path, t journal.Type) Class

	// Complete returns the part of data, the bytes of the control file p as
	// they were just read, that may be journaled: a prefix of data, sharing its
	// memory, that ends where the program that writes p has finished writing.
	// nil says "not now": the file is at a moment (empty, half a header) at
	// which no copy of it may be taken, and is to be looked at again. A result
	// that is empty but not nil is a whole file of no bytes.
	Complete(p journal.Path, data []byte) []byte

	// Named returns the base names of the messages that the control file p
	// speaks of in data, in the order of data. data begins at the beginning of
	// a line and is a whole file or its tail; an incomplete last line names
	// nothing. A name that occurs twice is returned twice. For any class but
	// ClassUIDList it returns nil.
	Named(p journal.Path, data []byte) []string

	// Base returns the identity within its mailbox of the message that is
	// called name: what stays the same when its flags change.
	Base(name string) string

	// MessageDirs returns the directories in which the messages live that the
	// control file at p names, in the order in which a message moves through
	// them. They need not exist.
	MessageDirs(control journal.Path) []journal.Path
}

// Snapshots say which files of ClassDerived belong together. As for Rules, no
// method touches the file system or keeps what it is given, and all may be
// called concurrently.
type Snapshots interface {
	// Members returns the paths that the files of one snapshot in the directory
	// dir may have, in the order in which they are read: what refers to another
	// one comes first. They are journaled and put in place in the reverse order.
	// What is journaled before them is the directory dir and those that
	// Rules.MessageDirs says of the members.
	Members(dir journal.Path) []journal.Path

	// Before returns the control files that the control file p refers into: p is
	// journaled only behind what is in them once p was read, so that it is never
	// ahead of them. They need not exist.
	Before(p journal.Path) []journal.Path

	// Locks returns paths of files that are there while someone has written
	// into a member what he has yet to write elsewhere in the mailbox.
	Locks(dir journal.Path) []journal.Path

	// Whole takes the bytes of the members as they were read one after the
	// other, nil for those that are not there, and returns what may be journaled
	// of each: a prefix that shares its memory, nil where there is no file. It
	// returns false if they do not belong together and have to be read again.
	Whole(members [][]byte) ([][]byte, bool)
}
