package completeness

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/replicator/mailboxes"
	"github.com/mailtwin/mailtwin/replicator/ranked"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// The limits of what is named.
const (
	DefaultLimit = 1000
	MaxLimit     = 10_000
	// maxDomains is how many domains are counted each by itself; what is of
	// others is in the total.
	maxDomains = 100_000
)

// Owners tells whose mailboxes are whose.
type Owners interface {
	// Owner returns the user, and his domain or "", of a mailbox that lies in
	// the home of the INBOX with that path.
	Owner(inbox journal.Path) (user, domain string)
}

// Compare merges the lists of a primary and of its mirror, and fills in all of
// out but its names and its time.
func Compare(ctx context.Context, primary, mirror List, under journal.Path, owners Owners, limit int, out *status.Mailboxes) error {
	s := &summary{
		owners: owners, out: out, users: ranked.NewFirst(limit, byLack), boxes: ranked.NewFirst(limit, byLack),
		domains: make(map[string]*status.Holding),
	}
	ours, theirs := &reader{list: primary, under: under}, &reader{list: mirror, under: under}
	for {
		p, err := ours.peek(ctx)
		if err != nil {
			return err
		}
		if p == nil {
			break // what only the mirror has is not lacking
		}
		m, err := theirs.upTo(ctx, p.Path)
		if err != nil {
			return err
		}
		s.add(p, m)
		ours.boxes = ours.boxes[1:]
	}
	s.finish(limit)
	out.FirstScan = ours.first
	return nil
}

// reader reads a list.
type reader struct {
	list  List
	under journal.Path
	place mailboxes.Place
	boxes []mailboxes.Mailbox
	done  bool
	first bool // the first scan of the node went on
}

// peek returns the next mailbox; nil after the last.
func (r *reader) peek(ctx context.Context) (*mailboxes.Mailbox, error) {
	for len(r.boxes) == 0 && !r.done {
		page, err := r.list(ctx, r.under, r.place)
		if err != nil {
			return nil, err
		}
		r.boxes, r.place, r.done, r.first = page.Mailboxes, page.Next, page.Done, r.first || page.FirstScan
	}
	if len(r.boxes) == 0 {
		return nil, nil
	}
	return &r.boxes[0], nil
}

// upTo passes over what is before p, and returns p; nil if it is not there.
func (r *reader) upTo(ctx context.Context, p journal.Path) (*mailboxes.Mailbox, error) {
	for {
		m, err := r.peek(ctx)
		if err != nil || m == nil {
			return nil, err
		}
		switch order := comparePaths(m.Path, p); {
		case order == 0:
			return m, nil
		case order > 0:
			return nil, nil
		}
		r.boxes = r.boxes[1:]
	}
}

// comparePaths compares name by name, as a walk goes.
func comparePaths(a, b journal.Path) int {
	if a == b {
		return 0
	}
	if a == journal.Root || b == journal.Root {
		return cmp.Compare(depth(a), depth(b))
	}
	return slices.Compare(strings.Split(string(a), "/"), strings.Split(string(b), "/"))
}

func depth(p journal.Path) int {
	if p == journal.Root {
		return 0
	}
	return 1
}

// summary adds up what is found.
type summary struct {
	owners  Owners
	out     *status.Mailboxes
	inbox   journal.Path    // that the mailboxes before were in
	user    *status.Holding // of those; nil at the beginning
	domain  string
	domains map[string]*status.Holding
	users   *ranked.First[status.Holding]
	boxes   *ranked.First[status.Holding]
}

func (s *summary) add(p, m *mailboxes.Mailbox) {
	h := holding(p, m)
	s.out.Total.Add(&h)
	s.boxes.Add(h)
	inbox := p.Path
	if !p.Inbox && s.inbox != "" && p.Path.Within(s.inbox) {
		inbox = s.inbox
	}
	user, domain := s.owners.Owner(inbox)
	if s.user == nil || s.user.Name != user || s.domain != domain {
		s.endUser()
		s.user, s.domain = &status.Holding{Name: user}, domain
	}
	s.inbox = inbox
	s.user.Add(&h)
}

// endUser counts a user after his last mailbox.
func (s *summary) endUser() {
	if s.user == nil {
		return
	}
	s.users.Add(*s.user)
	if s.domain == "" {
		return
	}
	d := s.domains[s.domain]
	if d == nil && len(s.domains) < maxDomains {
		d = &status.Holding{Name: s.domain}
		s.domains[s.domain] = d
	}
	if d != nil {
		d.Add(s.user)
	}
}

func (s *summary) finish(limit int) {
	s.endUser()
	domains := ranked.NewFirst(limit, byLack)
	for _, d := range s.domains {
		domains.Add(*d)
	}
	s.out.Domains, s.out.DomainsOmitted = domains.Sorted()
	s.out.Users, s.out.UsersOmitted = s.users.Sorted()
	s.out.Mailboxes, s.out.MailboxesOmitted = s.boxes.Sorted()
}

// holding compares a mailbox of the primary with that of the mirror, nil if it
// has none.
func holding(p, m *mailboxes.Mailbox) status.Holding {
	h := status.Holding{Name: string(p.Path), Mailboxes: 1, Messages: p.Messages.Files, Bytes: uint64(max(p.Messages.Bytes, 0))}
	if m != nil {
		here := m.Messages.Files - min(m.Messages.Missing, m.Messages.Files)
		h.Here, h.HereSize = min(here, h.Messages), min(uint64(max(m.Messages.Bytes, 0)), h.Bytes)
		if m.Messages.Missing > 0 && m.Messages.Files > 0 { // how large those are is not known
			h.HereSize = uint64(float64(h.HereSize) * float64(here) / float64(m.Messages.Files))
		}
		if m.Digests == p.Digests && m.Messages.Missing == 0 {
			h.Here, h.HereSize, h.Proven = h.Messages, h.Bytes, 1
		}
	}
	if h.Here == h.Messages {
		h.Complete = 1
	}
	return h
}

// byLack puts first what lacks the most bytes, then what lacks messages, then
// what is not proven.
func byLack(a, b status.Holding) int {
	return cmp.Or(
		cmp.Compare(b.Lacking(), a.Lacking()), cmp.Compare(b.Messages-b.Here, a.Messages-a.Here),
		cmp.Compare(b.Mailboxes-b.Proven, a.Mailboxes-a.Proven), cmp.Compare(a.Name, b.Name),
	)
}
