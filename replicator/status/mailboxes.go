package status

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// Mailboxes says how far a mirror has the mailboxes of its primary: what
// `mailtwin status --mailboxes --json` prints. Of domains, users and mailboxes
// the least complete ones are named, those that lack the most bytes first.
type Mailboxes struct {
	Version int       `json:"version"` // that of Document
	Time    time.Time `json:"time"`
	Primary string    `json:"primary"`
	Mirror  string    `json:"mirror"`
	Under   string    `json:"under,omitempty"` // nothing outside of this directory was looked at
	// FirstScan says that the primary still looks at its store for the first time:
	// only mailboxes that it knows as a whole by now are named, and in the sums.
	FirstScan bool      `json:"first_scan"`
	Total     Holding   `json:"total"`
	Domains   []Holding `json:"domains"`
	Users     []Holding `json:"users"`
	Mailboxes []Holding `json:"mailboxes"`
	// How many there are beyond those that are named.
	DomainsOmitted   uint64 `json:"domains_omitted"`
	UsersOmitted     uint64 `json:"users_omitted"`
	MailboxesOmitted uint64 `json:"mailboxes_omitted"`
}

// Holding is how much of some mailboxes a mirror has.
type Holding struct {
	// Name is that of a domain or a user, or the path of a mailbox.
	Name      string `json:"name"`
	Mailboxes uint64 `json:"mailboxes"`
	// Complete counts the mailboxes of which no message is lacking, and Proven
	// those whose digests are equal: flags and contents too.
	Complete uint64 `json:"complete"`
	Proven   uint64 `json:"proven"`
	// What the primary has, and how much of it the mirror.
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
	Here     uint64 `json:"messages_on_mirror"`
	HereSize uint64 `json:"bytes_on_mirror"`
}

// Lacking returns the bytes that the mirror does not have.
func (h *Holding) Lacking() uint64 { return h.Bytes - min(h.Bytes, h.HereSize) }

// Add adds what is held of other mailboxes.
func (h *Holding) Add(o *Holding) {
	h.Mailboxes += o.Mailboxes
	h.Complete += o.Complete
	h.Proven += o.Proven
	h.Messages += o.Messages
	h.Bytes += o.Bytes
	h.Here += o.Here
	h.HereSize += o.HereSize
}

// RenderMailboxes writes it for people.
func RenderMailboxes(w io.Writer, m *Mailboxes) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	line := func(h *Holding, soFar string) {
		fmt.Fprintf(t, "  %s\t%s%s\t%d of %d messages\t%s of %s", printable(h.Name), percent(h), soFar, h.Here, h.Messages, Bytes(h.HereSize), Bytes(h.Bytes))
		if h.Mailboxes != 1 {
			fmt.Fprintf(t, "\t%d of %d mailboxes complete%s", h.Complete, h.Mailboxes, soFar)
		}
		fmt.Fprintln(t)
	}
	part := func(name, soFar string, holdings []Holding, omitted uint64) {
		if len(holdings) == 0 {
			return
		}
		fmt.Fprintln(t, name)
		for i := range holdings {
			line(&holdings[i], soFar)
		}
		if omitted > 0 {
			fmt.Fprintf(t, "  and %d more, which lack no more than these\n", omitted)
		}
	}
	soFar := ""
	if m.FirstScan {
		soFar = " so far"
		fmt.Fprintf(t, "%s is still looking at its store for the first time: only mailboxes that it knows as a whole are counted\n", m.Primary)
	}
	fmt.Fprintf(t, "%s has of what %s has\n", m.Mirror, m.Primary)
	total := m.Total
	total.Name = "all"
	if m.Under != "" {
		total.Name = m.Under
	}
	if m.FirstScan && total.Mailboxes == 0 {
		fmt.Fprintln(t, "  none is known yet")
	} else {
		line(&total, soFar)
	}
	part("domains", soFar, m.Domains, m.DomainsOmitted)
	part("users", soFar, m.Users, m.UsersOmitted)
	part("mailboxes", "", m.Mailboxes, m.MailboxesOmitted)
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print the mailboxes: %w", err)
	}
	return nil
}

// percent says how much of the messages is there. It is 100 % only if all are.
func percent(h *Holding) string {
	switch {
	case h.Here >= h.Messages && h.Proven == h.Mailboxes:
		return "complete, proven"
	case h.Here >= h.Messages:
		return "complete"
	}
	return fmt.Sprintf("%d %%", min(h.Here*100/h.Messages, 99))
}
