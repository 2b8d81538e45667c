package client

import (
	"fmt"
	"slices"

	"github.com/emersion/go-imap/v2"
)

// Diff returns in words how b differs from a, at most limit lines; nothing
// when a client could not tell them apart.
func Diff(a, b Snapshot, limit int) []string {
	d := diff{limit: limit}
	if !slices.Equal(a.Subscriptions, b.Subscriptions) {
		d.say("the subscriptions are %q, then %q", a.Subscriptions, b.Subscriptions)
	}
	boxes := map[string]Mailbox{}
	for _, box := range b.Mailboxes {
		boxes[box.Name] = box
	}
	for _, box := range a.Mailboxes {
		other, ok := boxes[box.Name]
		if !ok {
			d.say("the mailbox %q is missing", box.Name)
			continue
		}
		delete(boxes, box.Name)
		d.mailbox(box, other)
	}
	for name := range boxes {
		d.say("there is a mailbox %q more", name)
	}
	return d.lines
}

type diff struct {
	limit int
	lines []string
}

func (d *diff) say(format string, args ...any) {
	if len(d.lines) < d.limit {
		d.lines = append(d.lines, fmt.Sprintf(format, args...))
	}
}

func (d *diff) mailbox(a, b Mailbox) {
	if a.UIDValidity != b.UIDValidity {
		d.say("%q: UIDVALIDITY %d, then %d", a.Name, a.UIDValidity, b.UIDValidity)
	}
	if a.UIDNext != b.UIDNext {
		d.say("%q: UIDNEXT %d, then %d", a.Name, a.UIDNext, b.UIDNext)
	}
	if !slices.Equal(a.Attributes, b.Attributes) {
		d.say("%q: attributes %v, then %v", a.Name, a.Attributes, b.Attributes)
	}
	others := map[imap.UID]Message{}
	for _, m := range b.Messages {
		if _, twice := others[m.UID]; twice {
			d.say("%q: message %d is there twice", a.Name, m.UID)
		}
		others[m.UID] = m
	}
	for _, m := range a.Messages {
		other, ok := others[m.UID]
		if !ok {
			d.say("%q: message %d is missing", a.Name, m.UID)
			continue
		}
		delete(others, m.UID)
		d.message(a.Name, m, other)
	}
	for uid := range others {
		d.say("%q: there is a message %d more", a.Name, uid)
	}
}

func (d *diff) message(box string, a, b Message) {
	if !slices.Equal(a.Flags, b.Flags) {
		d.say("%q: message %d has the flags %v, then %v", box, a.UID, a.Flags, b.Flags)
	}
	if !a.Received.Equal(b.Received) {
		d.say("%q: message %d has INTERNALDATE %v, then %v", box, a.UID, a.Received, b.Received)
	}
	if a.Size != b.Size {
		d.say("%q: message %d has %d bytes, then %d", box, a.UID, a.Size, b.Size)
	}
	if a.Hash != b.Hash {
		d.say("%q: message %d has another text", box, a.UID)
	}
	if a.GUID != b.GUID {
		d.say("%q: message %d has the GUID %q, then %q", box, a.UID, a.GUID, b.GUID)
	}
}
