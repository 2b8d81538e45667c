package ledger

import (
	"fmt"
	"slices"
	"time"
)

// Verdict is what a check has found.
type Verdict struct {
	// Wrong are the promises that were not kept, in words.
	Wrong []string
	// Lost are the loose messages that are not there: those that a loss report
	// must account for.
	Lost []Lost
}

// Lost is a message that was acknowledged and that a failover has lost.
type Lost struct {
	Token        Token
	User         string
	Acknowledged time.Time
}

// finding is a message where the check has found it.
type finding struct {
	box   string
	valid uint32
	entry Entry
	user  string
}

// Check holds all mailboxes of all users against the ledger. With salvaged,
// loose messages must be there too, for a salvage has brought them.
func (l *Ledger) Check(boxes []Box, salvaged bool) Verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	var v Verdict
	found := map[Token][]finding{}
	for _, b := range boxes {
		for _, e := range b.Entries {
			if l.messages[e.Token] == nil {
				v.say("%s: the message of UID %d in %s was never sent: its token is %q", b.User, e.UID, b.Name, e.Token)
				continue
			}
			found[e.Token] = append(found[e.Token], finding{box: b.Name, valid: b.Validity, entry: e, user: b.User})
		}
	}
	for _, token := range l.order {
		m, before := l.messages[token], len(v.Wrong)
		m.check(&v, token, found[token], salvaged)
		if len(v.Wrong) > before {
			v.Wrong[len(v.Wrong)-1] += m.history()
		}
	}
	l.checkSights(&v, boxes, found)
	return v
}

func (v *Verdict) say(format string, args ...any) {
	v.Wrong = append(v.Wrong, fmt.Sprintf(format, args...))
}

// check is about one message.
func (m *message) check(v *Verdict, token Token, all []finding, salvaged bool) {
	found, copies := m.apart(all)
	m.checkCopy(v, token, copies)
	if len(copies) > 0 && !m.copied.binds() && len(found) == 0 {
		return // of a copy that is loose, a salvage need not know that it is one
	}
	switch {
	case len(found) > 1 && !m.perhapsInBoth(found):
		v.say("%s: message %s is there %d times: %s", m.user, token, len(found), places(found))
	case len(found) == 1 && m.expunged() && !m.perhapsMoved():
		v.say("%s: message %s was expunged and is back: %s", m.user, token, places(found))
	case len(found) == 1 && m.moved != nil && m.moved.binds() && found[0].box != m.moved.to:
		v.say("%s: message %s was moved to %s, and is back: %s", m.user, token, m.moved.to, places(found))
	case len(found) == 1 && found[0].user != m.user:
		v.say("%s: message %s is in the mail of %s", m.user, token, found[0].user)
	case len(found) == 0 && m.delivery.answer == done && !m.perhapsExpunged():
		switch {
		case !m.delivery.loose:
			v.say("%s: message %s was acknowledged and is lost", m.user, token)
		case salvaged:
			v.say("%s: message %s was acknowledged, lost by a failover, and was not salvaged", m.user, token)
		default:
			v.Lost = append(v.Lost, Lost{token, m.user, m.delivery.at})
		}
	}
	if len(found) == 1 {
		m.checkFlags(v, token, found[0].entry)
	}
}

// apart tells a message from its copy.
func (m *message) apart(all []finding) (found, copies []finding) {
	for _, f := range all {
		if m.copied != nil && m.copied.to == f.box {
			copies = append(copies, f)
		} else {
			found = append(found, f)
		}
	}
	return found, copies
}

// checkCopy is about the copy of a message.
func (m *message) checkCopy(v *Verdict, token Token, copies []finding) {
	switch {
	case len(copies) > 1:
		v.say("%s: the copy of message %s is there %d times: %s", m.user, token, len(copies), places(copies))
	case len(copies) == 0 && m.copied != nil && m.copied.binds():
		v.say("%s: message %s was copied to %s, and the copy is lost", m.user, token, m.copied.to)
	}
}

// perhapsMoved reports whether it is not known where the message is: Dovecot
// moves it by a link to the new place, and then removes the old one.
func (m *message) perhapsMoved() bool {
	return m.moved != nil && m.moved.answer != refused && !m.moved.binds()
}

// perhapsInBoth reports whether the message may be in two places, of which one
// is that to which it was to be moved.
func (m *message) perhapsInBoth(found []finding) bool {
	return m.perhapsMoved() && len(found) == 2 && (found[0].box == m.moved.to) != (found[1].box == m.moved.to)
}

func places(found []finding) string {
	s := ""
	for i, f := range found {
		if i > 0 {
			s += ", "
		}
		s += fmt.Sprintf("UID %d of %s", f.entry.UID, f.box)
	}
	return s
}

// expunged reports whether the message must not be there.
func (m *message) expunged() bool {
	return slices.ContainsFunc(m.expunges, func(p *promise) bool { return p.binds() })
}

// perhapsExpunged reports whether the message need not be there.
func (m *message) perhapsExpunged() bool {
	return slices.ContainsFunc(m.expunges, func(p *promise) bool { return p.answer != refused })
}

// checkFlags holds the flags that were changed against those that are there. A message
// that may be in two places has flags in each of them: what was asked after it was to be
// moved may have been about the other one, which may have been expunged since.
func (m *message) checkFlags(v *Verdict, token Token, e Entry) {
	for flag, changes := range m.flags {
		may := map[bool]bool{false: true} // what it may be
		for _, c := range changes {
			switch {
			case c.binds() && !(m.perhapsMoved() && m.perhapsExpunged() && c.asked.After(m.moved.asked)):
				may = map[bool]bool{c.set: true}
			case c.answer != refused:
				may[c.set] = true
			}
		}
		if is := slices.Contains(e.Flags, flag); !may[is] {
			v.say("%s: message %s: the flag %s is there: %v, and must not be so", m.user, token, flag, is)
		}
	}
}

// checkSights holds what clients were shown against what they would be shown
// now.
func (l *Ledger) checkSights(v *Verdict, boxes []Box, found map[Token][]finding) {
	now := map[place]Token{}
	validity := map[[2]string]uint32{}
	for _, b := range boxes {
		validity[[2]string{b.User, b.Name}] = b.Validity
		for _, e := range b.Entries {
			p := place{b.User, b.Name, b.Validity, e.UID}
			if _, twice := now[p]; twice {
				v.say("%s: UID %d of %s is there twice", b.User, e.UID, b.Name)
			}
			now[p] = e.Token
		}
	}
	changed := map[[2]string]bool{} // said once for a mailbox
	for p, s := range l.sights {
		if is, ok := now[p]; ok && is != s.token {
			v.Wrong = append(v.Wrong, reused(p, s.token, is))
			continue
		}
		if s.loose {
			continue
		}
		key := [2]string{p.user, p.box}
		if is, ok := validity[key]; ok && is != p.validity {
			if !changed[key] {
				v.say("%s: UIDVALIDITY of %s was %d, and is %d now", p.user, p.box, p.validity, is)
			}
			changed[key] = true
			continue
		}
		for _, f := range found[s.token] {
			if f.box == p.box && f.valid == p.validity {
				checkSight(v, p, s, f.entry, l.messages[s.token])
			}
		}
	}
}

// checkSight holds one message of a mailbox against what it was. One whose removal
// or move a failover has interrupted may be new there: its UID goes first, and then
// its file.
func checkSight(v *Verdict, p place, s *sight, e Entry, m *message) {
	if e.UID != p.uid && !m.perhapsMoved() && !m.perhapsExpunged() {
		v.say("%s: message %s had UID %d in %s, and has %d now", p.user, s.token, p.uid, p.box, e.UID)
	}
	if !e.Received.Equal(s.received) {
		v.say("%s: message %s had INTERNALDATE %v, and has %v now", p.user, s.token, s.received, e.Received)
	}
}
