package salvage

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// betweenWords say why it is not known what became of a message.
const betweenWords = "another node was primary in between"

// unreadableWords say why a message is kept though there is one of its name.
const unreadableWords = "what is there under its name cannot be read; this one is kept in the history"

// flush asks for the batch, hands over what the new primary needs of it, and
// tells what became of it.
func (s *salvager) flush() error {
	batch := s.batch
	s.batch = nil
	if len(batch) == 0 {
		return nil
	}
	s.summary.Messages += uint64(len(batch))
	offers := make([]wire.Offer, len(batch))
	for i, c := range batch {
		offers[i] = c.offer
	}
	answers, err := s.link.ask(offers)
	if err != nil {
		return err
	}
	for i, c := range batch {
		if err := s.decide(c, &answers[i]); err != nil {
			return err
		}
	}
	if !s.cfg.LookOnly {
		if err := s.handOver(batch); err != nil {
			return err
		}
	}
	return s.report(batch)
}

// decide finds what is to be done about an answer.
func (s *salvager) decide(c *candidate, a *wire.Answer) error {
	switch a.Verdict {
	case wire.VerdictHave:
		s.decideHave(c, a)
	case wire.VerdictExpunged:
		if c.path != "" { // else it is gone on both sides
			c.line.Outcome, c.keep = OutcomeExpunged, true
		}
	case wire.VerdictDoubt:
		c.line.Outcome, c.keep = OutcomeDoubt, true
	case wire.VerdictTaken:
		c.line.Outcome, c.keep, c.line.Detail = OutcomeKept, true, "another message has its name there"
		if a.Unreadable {
			c.line.Detail = unreadableWords
		}
	case wire.VerdictDelivered:
		c.line.Outcome = OutcomeThere
	case wire.VerdictElsewhere:
		return s.decideElsewhere(c, a)
	case wire.VerdictSameContent:
		same, err := s.match(c, a)
		if err != nil {
			return err
		}
		if same {
			c.line.Outcome, c.line.Detail = OutcomeThere, "the same content has another name there"
			return nil
		}
		s.deliver(c, a)
	default:
		s.deliver(c, a)
	}
	return nil
}

// deliver plans the delivery of a message.
func (s *salvager) deliver(c *candidate, a *wire.Answer) {
	if c.path == "" {
		return
	}
	if c.old {
		c.line.Outcome, c.keep = OutcomeDoubt, true
		c.line.Detail = "the store is older here than what was known of it: it was removed since, or never seen"
		return
	}
	if s.between && c.offer.Origin != wire.OriginNew {
		c.line.Outcome, c.keep = OutcomeDoubt, true
		c.line.Detail = betweenWords + ", and it may have been removed in that time"
		return
	}
	c.line.Outcome, c.action = OutcomeWanted, wire.ActionDeliver
	if a.ContentHere {
		c.action = wire.ActionDeliverFromHere
	}
}

// decideHave compares the flags of a message that both have.
func (s *salvager) decideHave(c *candidate, a *wire.Answer) {
	o := &c.offer
	asBefore := !a.Touched && (o.Origin == wire.OriginKnown && a.Flags.Equal(o.Was) || o.Origin == wire.OriginUnknown)
	switch {
	case o.Origin == wire.OriginRemoved:
		c.line.Outcome = OutcomeStays
	case o.Origin == wire.OriginNew:
		c.line.Outcome = OutcomeThere
	case a.Flags.Equal(o.Flags) && (a.Flags.Unseen == o.Flags.Unseen || o.Flags.Unseen):
		// Nothing to tell, unless it was moved.
	case asBefore && !c.old && !s.between:
		c.line.Outcome, c.action = OutcomeToSet, wire.ActionFlags
	case asBefore && s.between:
		c.line.Outcome = OutcomeConflict
		c.line.Detail = betweenWords + ", and its flags may have been changed in that time"
	default:
		c.line.Outcome = OutcomeConflict
	}
	if c.change == ChangeMoved && a.OtherMailbox != "" {
		c.line.Detail = fmt.Sprintf("moved here; there it stays in %q", string(a.OtherMailbox))
		if c.line.Outcome == "" {
			c.line.Outcome = OutcomeMoved
		}
	}
	why := ""
	switch {
	case a.Unreadable:
		why = unreadableWords
	case a.OtherContent && o.Origin == wire.OriginUnknown:
		why = "its content is another one there; this one is kept in the history"
	}
	if why != "" && c.path != "" {
		c.keep, c.line.Detail = true, why
		if c.line.Outcome == "" || a.Unreadable && o.Origin == wire.OriginNew {
			c.line.Outcome = OutcomeKept
		}
	}
}

// decideElsewhere takes a message that the new primary has in another mailbox.
// If this node has it there too, this one is a copy.
func (s *salvager) decideElsewhere(c *candidate, a *wire.Answer) error {
	if c.offer.Origin == wire.OriginUnknown {
		both, err := s.holds(a.OtherMailbox, c.offer.Base)
		if err != nil {
			return err
		}
		if both {
			s.deliver(c, a)
			return nil
		}
	}
	if c.path == "" {
		return nil
	}
	c.line.Outcome = OutcomeThere
	c.line.Detail = fmt.Sprintf("it is in %q there", string(a.OtherMailbox))
	return nil
}

// match reports whether one of the messages that have the same content in the
// same mailbox is this one under another name: if this node does not have that
// one, and has not taken it for another one of its own. Two deliveries of one
// content here stay two there.
func (s *salvager) match(c *candidate, a *wire.Answer) (bool, error) {
	for _, base := range a.OtherBases {
		key := string(c.offer.Mailbox) + "\x00" + base
		if s.matched[key] || len(s.matched) >= maxMatched {
			continue
		}
		both, err := s.holds(c.offer.Mailbox, base)
		if err != nil {
			return false, err
		}
		if !both {
			s.matched[key] = true
			return true, nil
		}
	}
	return false, nil
}

// errFound ends a listing.
var errFound = errors.New("found")

// holds reports whether this node has a message in a mailbox, which is named
// as on the new primary.
func (s *salvager) holds(mailbox journal.Path, base string) (bool, error) {
	here := s.past.now(mailbox)
	if here == "" {
		return false, nil
	}
	known, err := findMessage(s.cfg.Catalog, s.cfg.Rules, here, base)
	if err != nil {
		return false, err
	}
	if known != nil {
		if _, err := s.cfg.Root.Stat(known.path); err == nil {
			return true, nil
		}
	}
	for _, sub := range mailstore.MailboxDirs()[:2] {
		found, err := s.listed(here.Join(sub), base)
		if found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// listed reports whether a message is in a directory.
func (s *salvager) listed(p journal.Path, base string) (bool, error) {
	dir, err := s.cfg.Root.Dir(p)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = dir.Close() }()
	err = dir.Each(func(names []beneath.Name) error {
		for _, n := range names {
			if s.cfg.Rules.Base(n.Name) == base {
				return errFound
			}
		}
		return nil
	})
	if errors.Is(err, errFound) {
		return true, nil
	}
	return false, err
}
