package ledger

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// Header is the name of the header field that has the token.
const Header = "X-Mailtwin-Token"

// Token is the name of one attempt to deliver a message. It is unique within
// a ledger.
type Token string

// answer is what is known of the outcome of what was asked.
type answer int

const (
	doubt   answer = iota // none came, or not yet: it was done or not
	done                  // it was done
	refused               // it was not done
)

// promise is one thing that was asked.
type promise struct {
	answer answer
	loose  bool      // if done: a failover may have lost it
	safe   bool      // if done: it was replicated
	at     time.Time // if done: when it was acknowledged
	by     string    // if done: who has acknowledged it; "" if that is not known
	asked  time.Time
}

// binds reports whether what was asked must be so now.
func (p promise) binds() bool { return p.answer == done && !p.loose }

// flagChange is one change of one flag.
type flagChange struct {
	promise
	set bool
}

// transfer is a message's being copied or moved to another mailbox.
type transfer struct {
	promise
	to string
}

// message is one attempt to deliver a message, and what became of it.
type message struct {
	user     string
	delivery promise
	expunges []*promise
	flags    map[string][]*flagChange
	copied   *transfer // nil: never; its copy is never touched again
	moved    *transfer // nil: never
}

// Entry is a message as a client sees it.
type Entry struct {
	UID      uint32
	Token    Token
	Received time.Time // INTERNALDATE
	Flags    []string
}

// Box is a mailbox as a client sees it.
type Box struct {
	User     string
	Name     string
	Validity uint32 // UIDVALIDITY
	Entries  []Entry
}

// place is a UID as a client knows it.
type place struct {
	user, box string
	validity  uint32
	uid       uint32
}

// sight is what a client was shown at a place.
type sight struct {
	token    Token
	received time.Time
	loose    bool
	safe     bool
}

// download is what a POP3 client knows a message by that it has fetched.
type download struct {
	uidl  string
	loose bool
	safe  bool
}

// Ledger is safe for concurrent use.
type Ledger struct {
	mu        sync.Mutex
	name      string
	messages  map[Token]*message
	order     []Token // as they were attempted
	sights    map[place]*sight
	downloads map[Token]*download
}

// New makes an empty ledger; its name is the beginning of its tokens.
func New(name string) *Ledger {
	return &Ledger{name: name, messages: map[Token]*message{}, sights: map[place]*sight{}, downloads: map[Token]*download{}}
}

// Asked is something that was asked and whose answer is to come. If none is
// written down, it stays in doubt.
type Asked struct {
	ledger *Ledger
	here   *promise
	loose  bool
	by     string
}

// Done writes down that it was acknowledged.
func (a Asked) Done() {
	a.ledger.mu.Lock()
	defer a.ledger.mu.Unlock()
	a.here.answer, a.here.loose, a.here.by, a.here.at = done, a.loose, a.by, time.Now()
}

// Refused writes down that the server said that it did not do it.
func (a Asked) Refused() {
	a.ledger.mu.Lock()
	defer a.ledger.mu.Unlock()
	a.here.answer = refused
}

// Loosely returns a for something that is asked of a server which is known to
// be replicated no more: what it acknowledges is loose.
func (a Asked) Loosely(loose bool) Asked {
	a.loose = loose
	return a
}

// By returns a for something that a server of that name was asked, for whoever
// wants to know how what is wrong has come about.
func (a Asked) By(server string) Asked {
	a.by = server
	return a
}

// Deliver writes down an attempt to deliver a message to a user.
func (l *Ledger) Deliver(user string) (Token, Asked) {
	l.mu.Lock()
	defer l.mu.Unlock()
	token := Token(fmt.Sprintf("%s-%d", l.name, len(l.order)+1))
	m := &message{user: user, flags: map[string][]*flagChange{}, delivery: promise{asked: time.Now()}}
	l.messages[token] = m
	l.order = append(l.order, token)
	return token, Asked{ledger: l, here: &m.delivery}
}

// Expunge writes down that a message is to be expunged.
func (l *Ledger) Expunge(token Token) Asked {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := &promise{asked: time.Now()}
	if m := l.messages[token]; m != nil {
		m.expunges = append(m.expunges, p)
	}
	return Asked{ledger: l, here: p}
}

// Flag writes down that a flag of a message is to be set or taken away.
func (l *Ledger) Flag(token Token, flag string, set bool) Asked {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &flagChange{set: set, promise: promise{asked: time.Now()}}
	if m := l.messages[token]; m != nil {
		m.flags[flag] = append(m.flags[flag], c)
	}
	return Asked{ledger: l, here: &c.promise}
}

// Copy writes down that a message is to be copied to a mailbox which has
// nothing but copies, and whose messages nobody changes. It returns false if
// that was asked before: there is one copy of a message at most.
func (l *Ledger) Copy(token Token, mailbox string) (Asked, bool) {
	return l.transfer(token, mailbox, func(m *message) **transfer { return &m.copied })
}

// Move writes down that a message is to be moved to another mailbox. It returns
// false if that was asked before: a message is moved once at most.
func (l *Ledger) Move(token Token, mailbox string) (Asked, bool) {
	return l.transfer(token, mailbox, func(m *message) **transfer { return &m.moved })
}

func (l *Ledger) transfer(token Token, mailbox string, of func(*message) **transfer) (Asked, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.messages[token]
	if m == nil || *of(m) != nil {
		return Asked{}, false
	}
	t := &transfer{to: mailbox, promise: promise{asked: time.Now()}}
	*of(m) = t
	return Asked{ledger: l, here: &t.promise}, true
}

// Downloaded writes down that a POP3 client has fetched a message which it did
// not have by that UIDL; loosely, if the server is known to be replicated no
// more. It returns in words what is wrong with that: it had the message by
// another one.
func (l *Ledger) Downloaded(user, uidl string, token Token, loose bool) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.downloads[token]
	l.downloads[token] = &download{uidl: uidl, loose: loose}
	if before == nil || before.loose || before.uidl == uidl {
		return nil
	}
	return []string{fmt.Sprintf("%s: message %s was downloaded by POP3 as %s, and again as %s", user, token, before.uidl, uidl)}
}

// Seen writes down what a client was shown; loose, if the server is known to
// be replicated no more. It returns what cannot be in a healthy service, in
// words: a UID that stands for another message than before.
func (l *Ledger) Seen(box Box, loose bool) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var wrong []string
	for _, e := range box.Entries {
		p := place{box.User, box.Name, box.Validity, e.UID}
		before := l.sights[p]
		switch {
		case before == nil:
			l.sights[p] = &sight{token: e.Token, received: e.Received, loose: loose}
		case before.token != e.Token:
			wrong = append(wrong, reused(p, before.token, e.Token))
		default:
			// What was loose and is shown again by a server that is replicated
			// is firm from now on.
			before.loose = before.loose && loose
		}
	}
	return wrong
}

func reused(p place, before, now Token) string {
	return fmt.Sprintf("%s: UID %d of %s was message %s, and is %s now", p.user, p.uid, p.box, before, now)
}

// Replicated writes down that all that was acknowledged and seen up to now has
// reached the other node.
func (l *Ledger) Replicated() {
	l.each(func(p *promise) { p.safe = p.safe || p.answer == done && !p.loose })
	l.eachSight(func(s *sight) { s.safe = s.safe || !s.loose })
	l.eachDownload(func(d *download) { d.safe = d.safe || !d.loose })
}

// Unplanned writes down a failover that nobody planned: what was acknowledged
// and not replicated before is loose from now on.
func (l *Ledger) Unplanned() {
	l.each(func(p *promise) { p.loose = p.loose || p.answer == done && !p.safe })
	l.eachSight(func(s *sight) { s.loose = s.loose || !s.safe })
	l.eachDownload(func(d *download) { d.loose = d.loose || !d.safe })
}

// each calls f with every promise.
func (l *Ledger) each(f func(*promise)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.messages {
		f(&m.delivery)
		for _, p := range m.expunges {
			f(p)
		}
		for _, changes := range m.flags {
			for _, c := range changes {
				f(&c.promise)
			}
		}
		for _, t := range []*transfer{m.copied, m.moved} {
			if t != nil {
				f(&t.promise)
			}
		}
	}
}

func (l *Ledger) eachDownload(f func(*download)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.downloads {
		f(d)
	}
}

func (l *Ledger) eachSight(f func(*sight)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.sights {
		f(s)
	}
}

// Counts tell what is written down.
type Counts struct {
	Delivered int // acknowledged
	Doubtful  int // deliveries without an answer
	Expunged  int // acknowledged
	Flagged   int // acknowledged changes
	Copied    int // acknowledged
	Moved     int // acknowledged
	Fetched   int // downloaded by POP3
	Loose     int // deliveries among the acknowledged ones
}

// String says it for people.
func (c Counts) String() string {
	return fmt.Sprintf("%d delivered (%d more in doubt, %d loose), %d expunged, %d flag changes, %d copied, %d moved, %d fetched by POP3",
		c.Delivered, c.Doubtful, c.Loose, c.Expunged, c.Flagged, c.Copied, c.Moved, c.Fetched)
}

// Counts returns how much is written down.
func (l *Ledger) Counts() Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := Counts{Fetched: len(l.downloads)}
	for _, m := range l.messages {
		if m.copied != nil && m.copied.answer == done {
			c.Copied++
		}
		if m.moved != nil && m.moved.answer == done {
			c.Moved++
		}
		switch m.delivery.answer {
		case done:
			c.Delivered++
			if m.delivery.loose {
				c.Loose++
			}
		case doubt:
			c.Doubtful++
		case refused:
		}
		if slices.ContainsFunc(m.expunges, func(p *promise) bool { return p.answer == done }) {
			c.Expunged++
		}
		for _, changes := range m.flags {
			for _, f := range changes {
				if f.answer == done {
					c.Flagged++
				}
			}
		}
	}
	return c
}

// Users returns who has mail.
func (l *Ledger) Users() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	users := map[string]bool{}
	for _, m := range l.messages {
		users[m.user] = true
	}
	return slices.Sorted(maps.Keys(users))
}
