package failover

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/replicator/mailboxes"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// The mailboxes of a report: so many are in it for programs, and so many in words.
const (
	maxMailboxes  = 1000
	saidMailboxes = 20
)

// Loss is what a promotion may lose. What is not known is null, never 0.
type Loss struct {
	// Nothing says that it is known that nothing can be lost.
	Nothing bool `json:"nothing"`
	// Heard says when the former primary said what was heard of it last, or some
	// moments before, and Silent how many seconds ago that is. What changed there
	// since is not known.
	Heard  *time.Time `json:"last_heard"`
	Silent *float64   `json:"silent_seconds"`
	// Entries, Bytes and Lag are what was not durable here at that time: the
	// changes, their bytes, and the age of the oldest of them in seconds.
	Entries *uint64  `json:"entries"`
	Bytes   *uint64  `json:"bytes"`
	Lag     *float64 `json:"lag_seconds"`
	// Observed says that the primary saw the changes of its store as they were
	// made, at that time.
	Observed *bool `json:"observed"`
	// Whole says that the initial sync was complete; FilesLeft and BytesLeft
	// are what is known to lack.
	Whole     bool    `json:"initial_sync_complete"`
	FilesLeft *uint64 `json:"files_left"`
	BytesLeft *uint64 `json:"bytes_left"`
	// Missing counts the files that are known by name and whose content never
	// came. Files are the first of them.
	Missing uint64   `json:"missing"`
	Files   []string `json:"missing_files,omitempty"`
	// Assumed counts the messages that this node had before it was a mirror and
	// that are taken to be the primary's by name and size, not proven.
	Assumed uint64 `json:"assumed"`
	// InDoubt counts the changes that the primary noticed, or could not look at,
	// and that it could not journal; null: it has told nothing of them. Anywhere
	// says that there may be some in any mailbox.
	InDoubt  *uint64 `json:"in_doubt"`
	Anywhere bool    `json:"in_doubt_anywhere"`
	// DoubtAfter is when changes began that the primary may not even have noticed,
	// on its clock, where InDoubt is known; null: that is not known.
	DoubtAfter *time.Time `json:"in_doubt_after"`
	// Unreadable counts what the primary could not read when it was last heard:
	// it may never have come.
	Unreadable uint64 `json:"unreadable"`
	// Pending counts the names that it had noticed then, and had still to look at.
	Pending uint64 `json:"pending"`
	// Mailboxes are those that all of this is about, as far as they are known, with
	// the most of it first; MoreMailboxes counts those that are not listed, at least.
	Mailboxes     []Mailbox `json:"mailboxes,omitempty"`
	MoreMailboxes uint64    `json:"more_mailboxes,omitempty"`
	// Words is the report for people, a sentence each.
	Words []string `json:"words"`
}

// Mailbox is a mailbox of which something is lost or in doubt: so many of what
// Loss counts under the same names are in it.
type Mailbox struct {
	Name    string `json:"mailbox"` // its path in the store
	Missing uint64 `json:"missing,omitempty"`
	Assumed uint64 `json:"assumed,omitempty"`
	InDoubt uint64 `json:"in_doubt,omitempty"`
}

func (m *Mailbox) total() uint64 { return m.Missing + m.Assumed + m.InDoubt }

// lossOf finds what is known to be lost if nothing more comes. doubts are those
// of a primary that answers and cannot observe its store.
func lossOf(f *Following, doubts *mailboxes.Doubts, now time.Time) Loss {
	l := Loss{Whole: f.Whole, Missing: f.Missing, Assumed: f.Assumed, Unreadable: f.Unreadable, Pending: f.Pending}
	if !f.LastHeard.IsZero() {
		heard, silent := f.LastHeard, max(now.Sub(f.LastHeard), 0).Seconds()
		l.Heard, l.Silent = &heard, &silent
		entries := uint64(f.Head - min(max(f.Position.Sequence, f.Applied), f.Head))
		bytes, lag, observed := f.LagBytes, f.Lag.Seconds(), f.Observed
		if entries == 0 {
			bytes, lag = 0, 0
		}
		l.Entries, l.Bytes, l.Lag, l.Observed = &entries, &bytes, &lag, &observed
	}
	if !f.Whole && l.Heard != nil {
		files, bytes := f.FilesLeft, f.BytesLeft
		l.FilesLeft, l.BytesLeft = &files, &bytes
	}
	for _, file := range f.MissingFiles {
		l.Files = append(l.Files, string(file))
	}
	l.doubt(doubts)
	l.listMailboxes(f, doubts)
	return l
}

// doubt takes over what a primary cannot vouch for.
func (l *Loss) doubt(d *mailboxes.Doubts) {
	if d == nil {
		return
	}
	n := uint64(0)
	for _, m := range d.Mailboxes {
		n += m.Number
	}
	n += d.More // one in each, at least
	l.InDoubt, l.Anywhere = &n, d.All
	if !d.After.IsZero() {
		after := d.After
		l.DoubtAfter = &after
	}
}

// listMailboxes lists what is missing, assumed and in doubt by mailbox.
func (l *Loss) listMailboxes(f *Following, doubts *mailboxes.Doubts) {
	l.MoreMailboxes = f.MoreIn
	all := make(map[journal.Path]*Mailbox)
	add := func(counts []mailboxes.Count, to func(*Mailbox) *uint64) {
		for _, c := range counts {
			m := all[c.Mailbox]
			if m == nil {
				m = &Mailbox{Name: string(c.Mailbox)}
				all[c.Mailbox] = m
			}
			*to(m) += c.Number
		}
	}
	add(f.MissingIn, func(m *Mailbox) *uint64 { return &m.Missing })
	add(f.AssumedIn, func(m *Mailbox) *uint64 { return &m.Assumed })
	if doubts != nil {
		add(doubts.Mailboxes, func(m *Mailbox) *uint64 { return &m.InDoubt })
		l.MoreMailboxes += doubts.More
	}
	for _, m := range all {
		l.Mailboxes = append(l.Mailboxes, *m)
	}
	slices.SortFunc(l.Mailboxes, func(a, b Mailbox) int {
		return cmp.Or(cmp.Compare(b.total(), a.total()), strings.Compare(a.Name, b.Name))
	})
	if n := len(l.Mailboxes); n > maxMailboxes {
		l.MoreMailboxes += uint64(n - maxMailboxes)
		l.Mailboxes = l.Mailboxes[:maxMailboxes]
	}
}

// say puts the loss into words for people.
func (l *Loss) say(p *Plan) {
	l.Words = nil
	switch p.Kind {
	case Switchover:
		l.Nothing = len(p.Refusals) == 0
		if l.Nothing {
			l.add("Nothing will be lost: %s answers, its mail server is stopped first, and the roles change only when this node is proven to be equal.", p.Primary)
			return
		}
		l.add("%s answers, but this node is not complete.", p.Primary)
	case Finish:
		if p.proven {
			l.Nothing = true
			l.add("Nothing is lost: this node is the primary already, and had all that the former one had. What its promotion left to be done will be done.")
			return
		}
		l.add("Nothing more is lost: this node is the primary already. What its promotion may have lost was told before it began, and is in the daemon's log. What it left to be done will be done.")
		return
	case Takeback:
		l.add("This node goes on as the primary with what it had when it stopped. What another node may have taken since is not here.")
		return
	case Evacuation, Failover:
	}
	l.sayHeard(p)
	l.sayEntries(p)
	l.sayDoubts(p)
	l.sayFiles()
	l.sayMailboxes()
}

func (l *Loss) add(format string, args ...any) {
	l.Words = append(l.Words, fmt.Sprintf(format, args...))
}

func (l *Loss) sayHeard(p *Plan) {
	who := p.Primary
	if who == "" {
		who = "the primary"
	}
	switch {
	case p.Answers && p.unsealed:
		l.add("%s answers, but its journal could not be sealed: what it had journaled and not sent is lost.", who)
	case p.Answers:
		l.add("%s answers: what its journal holds is fetched.", who)
	case l.Heard == nil:
		l.add("Since when %s is silent is not known: this daemon has not heard of it since it started. What changed there is not known.", who)
	default:
		l.add("The last word of %s is %s old, of %s. What changed there since is not known, and will be missing here.",
			who, status.Age(*l.Silent), l.Heard.Format(time.DateTime))
	}
}

func (l *Loss) sayEntries(p *Plan) {
	at := fmt.Sprintf("this node is at change %d of epoch %d", p.Position.Sequence, p.Position.Epoch)
	switch {
	case l.Entries == nil:
		l.add("How far this node was behind is not known; %s.", at)
	case *l.Entries == 0:
		l.add("All changes that it had told of are here; %s.", at)
	default:
		l.add("Of the changes that it had told of, %d are not here (%s, the oldest was %s old by then); %s. Which mailboxes they are in is not known.",
			*l.Entries, status.Bytes(*l.Bytes), status.Age(*l.Lag), at)
	}
	if l.Observed != nil && !*l.Observed && l.InDoubt == nil {
		l.add("It did not see, or could not journal, all changes of its store: there may have been some that it had told nothing of.")
	}
	if l.Pending > 0 && l.InDoubt == nil {
		l.add("There were %d names that it had noticed and had still to look at: what changed in them is not here.", l.Pending)
	}
	if l.Unreadable > 0 && l.InDoubt == nil {
		l.add("There were %d files and directories that it could not read: what changed in them is not here.", l.Unreadable)
	}
}

// sayDoubts tells what a primary has that answers and cannot observe its store.
func (l *Loss) sayDoubts(p *Plan) {
	if p.Kind != Evacuation || p.vouched {
		return
	}
	switch {
	case l.InDoubt == nil:
		l.add("Which changes it has noticed and could not journal is not known.")
	case *l.InDoubt > 0:
		l.add("It has noticed %d changes that it could not journal, for it could not read them: they are lost, or in doubt.", *l.InDoubt)
	}
	if l.Anywhere {
		l.add("It has not looked at its whole store: there may be changes in any mailbox that it does not know of.")
	}
	switch {
	case l.DoubtAfter != nil:
		l.add("Mail that was delivered there after %s (by the clock of %s), until its store failed, may be lost unnoticed.",
			l.DoubtAfter.Format("2006-01-02 15:04:05.0"), orUnknown(p.Primary))
	default:
		l.add("Since when mail that was delivered there may be lost unnoticed is not known.")
	}
	// Tried with Dovecot 2.3.19.1 on an ext4 that had turned read-only, and on one that
	// answered with I/O errors: whoever had a mailbox open was told OK for a STORE, an
	// EXPUNGE, and once for a MOVE whose message stayed where it was, because the index
	// goes on in memory. New mail, APPEND and COPY were refused.
	l.add("Until it is stopped, its mail server may acknowledge flags, moves and removals of mail that it cannot write down: they are lost, and what was removed is back.")
}

func (l *Loss) sayFiles() {
	switch {
	case !l.Whole && l.FilesLeft == nil:
		l.add("The initial sync was not finished; how much is lacking is not known.")
	case !l.Whole && *l.FilesLeft == 0:
		l.add("The initial sync was not finished; how much more was to come is not known.")
	case !l.Whole:
		l.add("The initial sync was not finished: at least %d files (%s) were never copied.", *l.FilesLeft, status.Bytes(*l.BytesLeft))
	default:
		l.add("The initial sync was complete.")
	}
	if l.Assumed > 0 {
		l.add("%s: they came with an older copy of the store.", status.AssumedWords(l.Assumed))
	}
	if l.Missing > 0 {
		l.add("The content of %d files never came.", l.Missing)
	}
}

// sayMailboxes names the mailboxes that it is about.
func (l *Loss) sayMailboxes() {
	if len(l.Mailboxes) == 0 {
		return
	}
	names := make([]string, 0, saidMailboxes)
	for i := range l.Mailboxes[:min(len(l.Mailboxes), saidMailboxes)] {
		m := &l.Mailboxes[i]
		names = append(names, fmt.Sprintf("%q (%d)", m.Name, m.total()))
	}
	more := ""
	if n := uint64(len(l.Mailboxes)-len(names)) + l.MoreMailboxes; n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	l.add("What is known by name is in the mailboxes %s%s.", strings.Join(names, ", "), more)
}
