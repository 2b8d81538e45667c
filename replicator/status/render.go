package status

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// Render writes the document for people.
func Render(w io.Writer, d *Document) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(t, "%s\t%s\n", name, printable(fmt.Sprintf(format, args...)))
	}
	line("state", "%s", strings.ToUpper(string(d.State)))
	line("", "%s", d.Detail)
	line("node", "%s, %s of %s, epoch %d", d.Name, d.Role, d.Pair, d.Epoch)
	renderStore(line, &d.Store)
	if j := d.Journal; j != nil {
		line("journal", "at %d, kept from %d (%s)", j.Sequence, j.Start+1, Bytes(uint64(j.Bytes)))
	}
	for i := range d.Mirrors {
		renderMirror(line, &d.Mirrors[i], d.Time)
	}
	if d.Pace != nil {
		renderPace(line, d.Pace)
	}
	if d.Primary != nil {
		renderPrimary(line, d.Primary, d.Time)
	}
	for i := range d.Peers {
		renderPeer(line, &d.Peers[i], d.Time)
	}
	if d.Unasked != "" {
		line("", "%s", d.Unasked)
	}
	if d.IMAP != nil {
		renderIMAP(line, d.IMAP)
	}
	line("lost if promoted now", "%s", d.Loss.Words)
	if d.LastError != nil {
		line("last error", "%s: %s", d.LastError.Time.Format(time.DateTime), d.LastError.Text)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print the status: %w", err)
	}
	return nil
}

func renderStore(line func(string, string, ...any), s *Store) {
	line("store", "%s: %s in %d files, %d directories", s.Path, Bytes(s.Bytes), s.Files, s.Directories)
	if s.Detail != "" {
		line("", "%s", s.Detail)
	}
	if w := s.Watch; w != nil {
		switch {
		case w.Mode == "polling":
			line("watching", "by scans only: %s", w.ModeReason)
		case !w.Complete:
			line("watching", "%d of %d directories so far", w.DirectoriesDone, w.DirectoriesKnown)
		default:
			line("watching", "every directory")
		}
		if w.LargeIndexes > 0 {
			line("", "the indexes of %d mailboxes are too large to be replicated; their mail is", w.LargeIndexes)
		}
		if w.Overflows > 0 {
			line("", "the kernel's queue overflowed %d times; the store was scanned each time", w.Overflows)
		}
	}
	if s.Unreadable > 0 {
		renderUnreadable(line, s)
	}
	if s.Missing > 0 {
		line("missing", "the content of %d files never came, or cannot be read", s.Missing)
		for _, f := range s.MissingFiles {
			line("", "%s", f)
		}
	}
	for i := range s.DamagedFiles {
		f := &s.DamagedFiles[i]
		if i == 0 {
			line("damaged", "of them, these are in the store and cannot be read; they are asked of the primary again")
		}
		line("", "%s: %s, since %s", f.Path, f.Error, f.Since.Local().Format(time.DateTime))
	}
	if s.Assumed > 0 {
		line("assumed", "%s", AssumedWords(s.Assumed))
	}
	if s.Apart != "" {
		line("UIDs", "%s", s.Apart)
	}
	if s.OwnersNotApplied {
		line("owners", "not set: the daemon has no privilege to")
	}
}

func renderUnreadable(line func(string, string, ...any), s *Store) {
	if len(s.UnreadableFiles) == 0 {
		line("unreadable", "%d files on the primary, whose status lists them", s.Unreadable)
		return
	}
	line("unreadable", "%d files; what the mirror has of them stays, and they are tried again at a low rate", s.Unreadable)
	for i := range s.UnreadableFiles {
		f := &s.UnreadableFiles[i]
		line("", "%s: %s, since %s", f.Path, f.Error, f.Since.Local().Format(time.DateTime))
	}
	if more := s.Unreadable - len(s.UnreadableFiles); more > 0 {
		line("", "and %d more; `mailtwin status --unreadable` lists them", more)
	}
}

func renderMirror(line func(string, string, ...any), m *Mirror, now time.Time) {
	line("mirror "+m.Name, "%s: %s", m.State, m.Detail)
	if m.Since != nil {
		verb := "not connected since"
		if m.Connected {
			verb = "connected since"
		}
		line("", "%s %s (%s)", verb, m.Since.Local().Format(time.DateTime), Age(now.Sub(*m.Since).Seconds()))
	}
	line("", "durable up to %d; behind by %d entries, %s, %s", m.AckedSequence, m.LagEntries, Bytes(m.LagBytes), Age(m.LagSeconds))
	if m.State == Syncing {
		line("", "has %d files, %s; %d files, %s known to be lacking; %s/s", m.Files, Bytes(m.Bytes),
			m.FilesLeft, Bytes(m.BytesLeft), Bytes(uint64(m.BytesPerSecond)))
	}
	if m.Progress != nil {
		line("", "%s", m.Progress.words())
	}
	if m.Proven {
		line("", "proven equal at %d", m.ProvenSequence)
	}
}

// RenderPace writes the pace for people.
func RenderPace(w io.Writer, p *Pace) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	renderPace(func(name, format string, args ...any) {
		fmt.Fprintf(t, "%s\t%s\n", name, printable(fmt.Sprintf(format, args...)))
	}, p)
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print the pace: %w", err)
	}
	return nil
}

func renderPace(line func(string, string, ...any), p *Pace) {
	allowed := "as fast as can be"
	switch {
	case p.Paused:
		allowed = "nothing but live mail"
	case p.Allowed != nil && *p.Allowed < 10:
		allowed = fmt.Sprintf("%.1f reads/s", *p.Allowed)
	case p.Allowed != nil:
		allowed = fmt.Sprintf("%.0f reads/s", *p.Allowed)
	}
	line("pace", "%s: %s; used: %.0f reads/s, %s/s", p.InForce, allowed, p.UsedReads, Bytes(uint64(p.UsedBytes)))
	line("", "%s", p.Reason)
	if len(p.ByHand) > 0 {
		line("", "changed by hand: %s; `mailtwin pace reset` goes back to the settings", strings.Join(p.ByHand, ", "))
	}
	if p.Note != "" {
		line("", "%s", p.Note)
	}
	if p.Health != "unknown" {
		words := p.Health
		if p.HealthWords != "" {
			words += ": " + p.HealthWords
		}
		line("array", "%s", words)
	}
}

// lateWord is the age of a primary's word that is worth a line.
const lateWord = 5 * time.Second

func renderPrimary(line func(string, string, ...any), p *Primary, now time.Time) {
	name := p.Name
	if name == "" {
		name = p.Address
	}
	line("primary "+name, "%s: %s", p.State, p.Detail)
	if p.LastHeard != nil {
		line("", "heard of %s ago", Age(now.Sub(*p.LastHeard).Seconds()))
	}
	if p.Connected && p.LastWord != nil && now.Sub(*p.LastWord) > lateWord {
		line("", "which was said up to %s ago", Age(now.Sub(*p.LastWord).Seconds()))
	}
	line("", "applied up to %d of %d; behind by %d entries, %s, %s", p.AppliedTo, p.Sequence, p.LagEntries, Bytes(p.LagBytes), Age(p.LagSeconds))
	if p.State == Syncing {
		line("", "%d files, %s known to be lacking", p.FilesLeft, Bytes(p.BytesLeft))
	}
	if p.Progress != nil {
		line("", "%s", p.Progress.words())
	}
	if p.Proven {
		line("", "proven equal at %d", p.ProvenSequence)
	}
}

func renderPeer(line func(string, string, ...any), p *Peer, now time.Time) {
	switch {
	case p.Answers:
		line("node "+p.Name, "%s of epoch %d at %s", p.Role, p.Epoch, p.Address)
	case p.LastHeard != nil:
		line("node "+p.Name, "silent for %s: %s", Age(now.Sub(*p.LastHeard).Seconds()), p.Problem)
	case p.Problem != "":
		line("node "+p.Name, "not heard of: %s", p.Problem)
	default:
		line("node "+p.Name, "not asked yet, at %s", p.Address)
	}
}

func renderIMAP(line func(string, string, ...any), i *IMAP) {
	switch {
	case i.State == "off":
		line("imap", "HIGHESTMODSEQ was not raised after the promotion: imap.doveadm is not set")
		return
	case i.State == "complete":
		line("imap", "HIGHESTMODSEQ is raised everywhere")
	case i.Listed:
		line("imap", "HIGHESTMODSEQ is raised for %d users, %d to go", i.Done, i.Left)
	default:
		line("imap", "HIGHESTMODSEQ is raised for %d users; the others are not known yet", i.Done)
	}
	if i.Failing > 0 {
		line("", "%d of them failed and are tried again", i.Failing)
	}
	if i.Error != "" {
		line("", "%s", i.Error)
	}
}

// printable keeps names that mail users chose from playing with the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}
