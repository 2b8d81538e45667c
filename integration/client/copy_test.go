package client

import (
	"bytes"
	"maps"
	"net"
	"slices"
	"testing"

	"github.com/emersion/go-imap/v2"

	"github.com/mailtwin/mailtwin/integration/dovecot"
	"github.com/mailtwin/mailtwin/integration/tree"
)

// TestCopy keeps a copy of a mailbox while others change it.
func TestCopy(t *testing.T) {
	dir := dovecot.StoreDir(t)
	s := dovecot.New(t, dovecot.Options{Store: dir + "/store"})
	deliver := func(count int) {
		mail := tree.NewWriter(1)
		l, err := DialLMTP(t.Context(), s.LMTP)
		must(t, err)
		for range count {
			must(t, l.Deliver(bytes.NewReader(mail.Message(ann, 500)), ann))
		}
		must(t, l.Close())
	}
	deliver(6)
	var c Copy
	catchUp := func() bool {
		t.Helper()
		conn, err := net.Dial("tcp", s.IMAP)
		must(t, err)
		anew, err := c.CatchUp(conn, ann, dovecot.Password, "INBOX", "Subject")
		must(t, err)
		i, err := DialIMAP(s.IMAP, ann, dovecot.Password)
		must(t, err)
		_, lines, err := i.List("INBOX", "Subject")
		must(t, err)
		must(t, i.Close())
		for _, d := range c.Differences(lines) {
			t.Error(d)
		}
		return anew
	}
	if !catchUp() || len(c.Flags) != 6 {
		t.Errorf("at first: %v", c)
	}
	i, err := DialIMAP(s.IMAP, ann, dovecot.Password)
	must(t, err)
	_, err = i.Select("INBOX")
	must(t, err)
	must(t, i.Expunge([]imap.UID{2, 3, 5}))
	must(t, i.AddFlags([]imap.UID{4}, imap.FlagFlagged))
	must(t, i.Close())
	deliver(1)
	if catchUp() {
		t.Error("it began anew")
	}
	if got := slices.Sorted(maps.Keys(c.Flags)); !slices.Equal(got, []uint32{1, 4, 6, 7}) {
		t.Errorf("the copy has %v", got)
	}
	c.Validity++
	if !catchUp() {
		t.Error("it went on with another UIDVALIDITY")
	}
	delete(c.Flags, 1)
	c.Flags[4] = nil
	c.Headers[6] = "another"
	c.Flags[99] = nil
	conn, err := DialIMAP(s.IMAP, ann, dovecot.Password)
	must(t, err)
	_, lines, err := conn.List("INBOX", "Subject")
	must(t, err)
	must(t, conn.Close())
	if d := c.Differences(lines); len(d) != 4 {
		t.Errorf("%q, want four differences", d)
	}
}
