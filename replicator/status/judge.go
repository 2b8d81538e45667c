package status

import (
	"fmt"
	"strings"
	"time"
)

// Judge finds the state of a node from the states of what it depends on: the
// worst of them.
func Judge(d *Document) {
	if d.Fenced != "" {
		// Nothing else is of interest before somebody has seen to it.
		d.State, d.Detail = Attention, d.Fenced
		return
	}
	state, detail := InSync, ""
	worse := func(s State, words string) {
		if rank(s) > rank(state) {
			state, detail = s, words
		}
	}
	switch d.Store.State {
	case "suspended", "missing":
		words := "the store: " + d.Store.Detail
		if d.Role == "primary" && d.Store.State == "suspended" {
			words += "; if that is right, see `mailtwin accept store`"
		}
		worse(Attention, words)
	case "starting", "baseline", "scanning":
		worse(Scanning, d.Store.Detail)
	}
	if d.Store.DoubtWords != "" && d.Role == "primary" { // a mirror says so of its primary
		worse(Attention, d.Store.DoubtWords+": see `mailtwin accept store`")
	}
	if d.Store.Unreadable > 0 && d.Role == "primary" { // a mirror says so of its primary
		worse(Attention, fmt.Sprintf("%d files cannot be read, or were changed in place: for those see `mailtwin accept store`", d.Store.Unreadable))
	}
	if d.Journal != nil && d.Journal.Error != "" {
		worse(Attention, "no change is replicated, for the journal cannot be written: "+d.Journal.Error)
	}
	if d.Store.Missing > 0 {
		words := fmt.Sprintf("%d files are known, but their content never came", d.Store.Missing)
		if len(d.Store.DamagedFiles) > 0 {
			words += ", or cannot be read here"
		}
		if d.Role == "primary" {
			words += ": see `mailtwin accept missing`"
		}
		worse(Attention, words)
	}
	if d.IMAP != nil && d.IMAP.Failing > 0 {
		worse(Attention, fmt.Sprintf("the mailboxes of %d users could not be raised: %s", d.IMAP.Failing, d.IMAP.Error))
	}
	if p := d.Pace; p != nil && (p.Health == "degraded" || p.Health == "failing") {
		worse(Attention, "the array is "+p.Health+": "+p.HealthWords)
	}
	if d.MailStopped != "" {
		worse(Attention, d.MailStopped)
	}
	if d.Kept != "" {
		worse(Attention, d.Kept)
	}
	if d.Role == Unconfirmed {
		worse(Unknown, d.Unasked)
	}
	if d.Role == "primary" && len(d.Mirrors) == 0 {
		worse(Alone, "no mirror has joined: nothing is protected")
	}
	for _, m := range d.Mirrors {
		worse(m.State, m.Name+": "+m.Detail)
	}
	if d.Primary != nil {
		worse(d.Primary.State, d.Primary.Name+": "+d.Primary.Detail)
	}
	if detail == "" {
		detail = "all that is known to have changed is durable on the mirror"
	}
	if state == InSync && d.Loss.Why != "" {
		detail = "what is known is durable on the mirror, but " + d.Loss.Why
	}
	d.State, d.Detail = state, detail
}

// rank orders states by how bad they are.
func rank(s State) int {
	for i, known := range []State{InSync, Behind, Syncing, Scanning, Alone, Attention, Unknown} {
		if s == known {
			return i
		}
	}
	return 7
}

// Polled is why not all is known of a store whose changes are found by scans.
func Polled(why string) string {
	return "what changed since the last scan is not known (" + why + ")"
}

// Lost puts a loss into words. All of it is known unless Why says why not, or
// something cannot be read.
func Lost(l Loss) Loss {
	if l.Why == "" && l.Unreadable > 0 {
		l.Why = fmt.Sprintf("the primary cannot read %d files", l.Unreadable)
	}
	l.Known = l.Why == ""
	nothing := l.Entries == 0 && l.Files == 0 && l.Bytes == 0
	switch {
	case l.Known && nothing:
		l.Words = "nothing"
	case nothing:
		l.Words = "unknown: nothing that is known of, but " + l.Why
	default:
		l.Words = fmt.Sprintf("%d changes", l.Entries)
		if l.Files > 0 {
			l.Words += fmt.Sprintf(" and %d files that were never copied", l.Files)
		}
		l.Words += fmt.Sprintf(", %s", Bytes(l.Bytes))
		if l.Seconds > 0 {
			l.Words += fmt.Sprintf(", of the last %s", Age(l.Seconds))
		}
		if !l.Known {
			l.Words = "unknown: at least " + l.Words + "; " + l.Why
		}
	}
	if l.Assumed > 0 {
		l.Words += "; " + AssumedWords(l.Assumed)
	}
	return l
}

// AssumedWords says for people what is taken to be equal.
func AssumedWords(n uint64) string {
	return fmt.Sprintf("%d messages are assumed equal, by name and size, not yet proven", n)
}

// namedDoubts is how many directories are named where there is room for a sentence.
const namedDoubts = 3

// DoubtWords says which directories are not replicated because they are not what
// they were; "" if there are none.
func DoubtWords(all []Doubt) string {
	if len(all) == 0 {
		return ""
	}
	var names []string
	for _, d := range all[:min(len(all), namedDoubts)] {
		names = append(names, d.Path+" ("+d.Reason+")")
	}
	if more := len(all) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return "not replicated until they are as before or accepted: " + strings.Join(names, ", ")
}

// Bytes writes a size for people.
func Bytes(n uint64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	div, exp := uint64(unit), 0
	for m := n / unit; m >= unit && exp < 4; m /= unit {
		div *= unit
		exp++
	}
	return fmt.Sprintf("%.1f %ciB", float64(n)/float64(div), "KMGTP"[exp])
}

// Age writes a number of seconds for people.
func Age(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
