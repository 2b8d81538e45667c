package salvage

import (
	"bufio"
	"io"
	"mime"
	"net/textproto"
	"strings"
	"time"
	"unicode"

	"github.com/mailtwin/mailtwin/journal"
)

// Change says what happened on the former primary.
type Change string

// The changes.
const (
	ChangeNew     Change = "new"     // a message came
	ChangeFlags   Change = "flags"   // its flags were changed
	ChangeMoved   Change = "moved"   // it was moved to another mailbox
	ChangeRemoved Change = "removed" // it was removed
	ChangePresent Change = "present" // it is there; what happened to it is not known
	ChangeControl Change = "control" // a file that is no message was changed
)

// Outcome says what became of it.
type Outcome string

// The outcomes. Those of a look come first in each pair.
const (
	OutcomeWanted    Outcome = "wanted"    // it would be delivered to the new primary
	OutcomeDelivered Outcome = "delivered" // it was
	OutcomeToSet     Outcome = "to-set"    // the flags would be set there
	OutcomeSet       Outcome = "set"       // they were
	OutcomeThere     Outcome = "there"     // the new primary has it already
	OutcomeMoved     Outcome = "not-moved" // it stays in the mailbox in which it is there
	OutcomeStays     Outcome = "stays"     // it was removed here; there it stays
	OutcomeConflict  Outcome = "conflict"  // the flags were changed there too, and stay as they are
	OutcomeExpunged  Outcome = "expunged"  // it was removed there; kept in the history here
	OutcomeDoubt     Outcome = "doubt"     // whether it was removed there cannot be said; kept in the history here
	OutcomeKept      Outcome = "kept"      // it could not be delivered, or is another one there, see the detail; kept in the history here
)

// Line is what became of one message.
type Line struct {
	Change  Change
	Outcome Outcome
	Mailbox journal.Path // "" for what is no message
	Path    journal.Path // here
	Size    int64
	Date    time.Time // INTERNALDATE
	// Kept says that it is in the history here, or with a look would be, and may be nowhere
	// else, whatever became of its flags; what was expunged is not wanted.
	Kept bool
	// Detail says more, in words; "" if there is nothing to say.
	Detail string
	// To is the mailbox it was delivered to, if that is another one.
	To journal.Path
	// Dropped are keywords that are not known there.
	Dropped []string
	// Subject is there if it was asked for.
	Subject string
}

// Summary says what a salvage came to.
type Summary struct {
	Primary string // its name
	// Uncertain says why it is not known for each message whether it was
	// replicated, so that all were compared; "" if it is known.
	Uncertain string
	LookOnly  bool
	Messages  uint64 // asked for
	Outcomes  map[Outcome]uint64
	Delivered int64  // bytes of messages
	Sent      int64  // bytes of them that travelled
	History   string // where copies are kept; "" if there are none
}

// maxHeader bounds what is read of a message for its subject.
const maxHeader = 64 << 10

// subject returns the subject of a message in one printable line, or "".
func subject(r io.Reader) string {
	header, _ := textproto.NewReader(bufio.NewReader(io.LimitReader(r, maxHeader))).ReadMIMEHeader()
	text := header.Get("Subject")
	if decoded, err := new(mime.WordDecoder).DecodeHeader(text); err == nil {
		text = decoded
	}
	text = strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return ' '
	}, strings.ToValidUTF8(text, "?"))
	if runes := []rune(text); len(runes) > maxSubject {
		text = string(runes[:maxSubject]) + "…"
	}
	return text
}

const maxSubject = 200 // characters
