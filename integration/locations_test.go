package integration

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"

	"github.com/mailtwin/mailtwin/integration/client"
	"github.com/mailtwin/mailtwin/integration/dovecot"
	"github.com/mailtwin/mailtwin/integration/pair"
)

// TestControlFilesElsewhereInTheStore replicates the mail of a Dovecot that keeps its
// control files apart from the messages (CONTROL=), but in the store: whoever opens the
// mirror when it has everything finds the same UIDs, keywords and folders.
func TestControlFilesElsewhereInTheStore(t *testing.T) {
	const apart = "mail_location = maildir:~/Maildir:CONTROL=~/control\n"
	dovecot.Need(t)
	primary, mirror := stores(t)
	server := dovecot.New(t, dovecot.Options{Store: primary, MailOptions: apart})
	p := pair.New(t, pair.Options{Binary: plainBinary(t), PrimaryStore: primary, MirrorStore: mirror, Direct: true})
	drive(t, server, 15, 15)
	want := look(t, server)
	p.MustBeEqual(t, time.Minute)
	for _, c := range []struct {
		where string
		there bool
	}{{"control", true}, {"Maildir", false}} {
		lists, err := filepath.Glob(filepath.Join(mirror, "example.org/ann", c.where, "*/dovecot-uidlist"))
		must(t, err)
		if len(lists) > 0 != c.there {
			t.Errorf("in %s of the mirror there are the uidlists %q", c.where, lists)
		}
	}
	other := dovecot.New(t, dovecot.Options{Store: copyOf(t, mirror), MailOptions: apart})
	for i, got := range look(t, other) {
		for _, line := range client.Diff(want[i], got, 20) {
			t.Errorf("%s: %s", got.User, line)
		}
	}
	quiet(t, other)
}

// public is a namespace whose mail all users share; each has a \Seen of its own.
const public = `
namespace public {
  type = public
  prefix = Public.
  separator = .
  location = maildir:%s/public:INDEXPVT=~/seen
  subscriptions = no
}
`

// TestPrivateSeenOfSharedMailboxes: what users have seen of mail that they share is in
// an index of their own (INDEXPVT=), the only place for it. It is the one thing of such
// a mailbox that a mirror lacks: no message has another UID there, nor lost another flag.
func TestPrivateSeenOfSharedMailboxes(t *testing.T) {
	const box = "Public.Team"
	dovecot.Need(t)
	primary, mirror := stores(t)
	server := dovecot.New(t, dovecot.Options{Store: primary, MailOptions: fmt.Sprintf(public, primary)})
	p := pair.New(t, pair.Options{Binary: plainBinary(t), PrimaryStore: primary, MirrorStore: mirror, Direct: true, IndexInterval: "1s"})
	share(t, server, box)
	seen := map[string][]int{"ann@example.org": {0}, "bob@example.org": {1, 2}}
	for user, of := range seen {
		see(t, server, user, box, of)
	}
	for user, of := range seen {
		if got := seenBy(shownTo(t, server, user, box)); !slices.Equal(got, of) {
			t.Fatalf("%s has seen %v on the primary, and says %v", user, of, got)
		}
	}
	before := shownTo(t, server, "bob@example.org", box)
	indexed(t, p)
	p.MustBeEqual(t, time.Minute)
	files, err := filepath.Glob(filepath.Join(mirror, "public/.Team/*/*"))
	must(t, err)
	if len(files) < 3 || slices.ContainsFunc(files, func(f string) bool { return strings.Contains(f, ":2,S") }) {
		t.Errorf("the mirror has %q", files)
	}

	store := copyOf(t, mirror)
	other := dovecot.New(t, dovecot.Options{Store: store, MailOptions: fmt.Sprintf(public, store)})
	for user := range seen {
		after := shownTo(t, other, user, box)
		if got := seenBy(after); len(got) > 0 {
			t.Errorf("%s has seen %v on the mirror; if private flags are replicated by now, say so where it says that they are not", user, got)
		}
		for i, l := range before {
			l.Flags = slices.DeleteFunc(slices.Clone(l.Flags), func(f string) bool { return f == string(imap.FlagSeen) })
			if i >= len(after) || fmt.Sprint(after[i]) != fmt.Sprint(l) {
				t.Errorf("%s: message %d was %v and is among %v", user, i, l, after)
			}
		}
	}
	quiet(t, other)
}

// share makes a mailbox of three messages, the last of which is flagged.
func share(t *testing.T, s *dovecot.Server, box string) {
	t.Helper()
	c, err := client.DialIMAP(s.IMAP, users()[0], dovecot.Password)
	must(t, err)
	must(t, create(c, box))
	for i := range 3 {
		var flags []imap.Flag
		if i == 2 {
			flags = append(flags, imap.FlagFlagged)
		}
		_, err := c.Append(box, fmt.Appendf(nil, "Subject: shared %d\r\n\r\nbody\r\n", i), time.Now(), flags...)
		must(t, err)
	}
	must(t, c.Close())
}

// see has a user see some of the messages of a mailbox.
func see(t *testing.T, s *dovecot.Server, user, box string, of []int) {
	t.Helper()
	c, err := client.DialIMAP(s.IMAP, user, dovecot.Password)
	must(t, err)
	_, err = c.Select(box)
	must(t, err)
	uids, err := c.UIDs()
	must(t, err)
	for _, i := range of {
		must(t, c.AddFlags(uids[i:i+1], imap.FlagSeen))
	}
	must(t, c.Close())
}

// shownTo returns what a user's client shows of a mailbox.
func shownTo(t *testing.T, s *dovecot.Server, user, box string) []client.Line {
	t.Helper()
	c, err := client.DialIMAP(s.IMAP, user, dovecot.Password)
	must(t, err)
	_, lines, err := c.List(box, "Subject")
	must(t, err)
	must(t, c.Close())
	return lines
}

func seenBy(lines []client.Line) (of []int) {
	for i, l := range lines {
		if slices.Contains(l.Flags, string(imap.FlagSeen)) {
			of = append(of, i)
		}
	}
	return of
}
