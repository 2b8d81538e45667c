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
