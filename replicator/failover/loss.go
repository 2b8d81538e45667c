package failover

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// maxMailboxes bounds the mailboxes that a report lists.
const maxMailboxes = 100

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
	// came. Files are the first of them, Mailboxes those that they are in.
	Missing   uint64   `json:"missing"`
	Files     []string `json:"missing_files,omitempty"`
	Mailboxes []string `json:"missing_mailboxes,omitempty"`
	// Assumed counts the messages that this node had before it was a mirror and
	// that are taken to be the primary's by name and size, not proven.
	Assumed uint64 `json:"assumed"`
	// Words is the report for people, a sentence each.
	Words []string `json:"words"`
}

// lossOf finds what is known to be lost if nothing more comes.
func lossOf(f *Following, now time.Time) Loss {
	l := Loss{Whole: f.Whole, Missing: f.Missing, Assumed: f.Assumed}
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
		box := string(mailboxOf(file))
		if !slices.Contains(l.Mailboxes, box) && len(l.Mailboxes) < maxMailboxes {
			l.Mailboxes = append(l.Mailboxes, box)
		}
	}
	return l
}

// mailboxOf returns the directory that people know a message by.
func mailboxOf(p journal.Path) journal.Path {
	dir := p.Dir()
	switch path.Base(string(dir)) {
	case "cur", "new":
		return dir.Dir()
	}
	return dir
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
		l.Nothing = true
		l.add("Nothing is lost: this node is the primary already. What its promotion left to be done will be done.")
		return
	case Takeback:
		l.add("This node goes on as the primary with what it had when it stopped. What another node may have taken since is not here.")
		return
	case Evacuation, Failover:
	}
	l.sayHeard(p)
	l.sayEntries(p)
	l.sayFiles()
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
	if l.Observed != nil && !*l.Observed {
		l.add("It was not watching its whole store: there may have been changes that it had not found yet.")
	}
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
	if l.Missing == 0 {
		return
	}
	names := make([]string, len(l.Mailboxes))
	for i, box := range l.Mailboxes {
		names[i] = fmt.Sprintf("%q", box)
	}
	of := "in the mailboxes"
	if uint64(len(l.Files)) < l.Missing {
		of = "among others in the mailboxes"
	}
	l.add("The content of %d files never came, %s %s.", l.Missing, of, strings.Join(names, ", "))
}
