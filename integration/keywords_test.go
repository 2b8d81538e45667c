package integration

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"

	"github.com/mailtwin/mailtwin/integration/client"
	"github.com/mailtwin/mailtwin/integration/dovecot"
	"github.com/mailtwin/mailtwin/integration/pair"
)

// TestClientsFindTheSameAfterAFailover promotes the mirror of a Dovecot's store, and
// shows what a Dovecot there has for clients: UIDs, UIDVALIDITY, flags, INTERNALDATE,
// and the keywords that have no letter, which the index alone knows, are those of the
// primary; HIGHESTMODSEQ is above. So it is where folders lie within one another, and
// where their names are in an index alone.
func TestClientsFindTheSameAfterAFailover(t *testing.T) {
	t.Run("planned", func(t *testing.T) { findTheSame(t, true, "Maildir++") })
	t.Run("unplanned", func(t *testing.T) { findTheSame(t, false, "Maildir++") })
	t.Run("fs", func(t *testing.T) { findTheSame(t, false, "fs") })
	t.Run("index", func(t *testing.T) { findTheSame(t, false, "index") })
}

func findTheSame(t *testing.T, planned bool, layout string) {
	dovecot.Need(t)
	primary, mirror := stores(t)
	server := dovecot.New(t, dovecot.Options{Store: primary, Layout: layout})
	p := pair.New(t, pair.Options{
		Binary: plainBinary(t), PrimaryStore: primary, MirrorStore: mirror, Direct: true, IndexInterval: "1s",
	})
	other := later(t, p.Mirror, layout)
	drive(t, server, 15, 15)
	manyKeywords(t, server, users()[0])
	if !planned {
		indexed(t, p) // what is not there in time is lost with the primary
	} else {
		lastKeyword(t, server, users()[0])
	}
	want := look(t, server)
	if !slices.ContainsFunc(want[0].Mailboxes, func(b client.Mailbox) bool {
		return slices.ContainsFunc(b.Messages, func(m client.Message) bool { return slices.Contains(m.Flags, "keyword29") })
	}) {
		t.Fatal("there is no keyword beyond the 26th")
	}
	before := map[string]map[string]uint64{}
	for _, user := range users() {
		before[user] = modseqs(t, server, user)
	}
	if !planned {
		p.MustBeEqual(t, time.Minute)
	}
	must(t, server.Stop())
	if !planned {
		must(t, p.Primary.Kill())
	}
	report := failover(t, p.Mirror, 0, "--yes")
	if planned != (report.Kind == "switchover") {
		t.Fatalf("%+v", report)
	}
	must(t, exec.CommandContext(t.Context(), "dovecot", "-c", other.Config()).Run())
	t.Cleanup(func() { must(t, exec.Command("doveadm", "-c", other.Config(), "stop").Run()) })
	if out, err := p.Mirror.Run(t.Context(), "ready", "--wait", "60s"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}

	for i, got := range look(t, other) {
		for _, line := range client.Diff(want[i], got, 20) {
			if !strings.Contains(line, "UIDNEXT") { // what was given out and never seen here is jumped over
				t.Errorf("%s: %s", got.User, line)
			}
		}
		for box, n := range modseqs(t, other, got.User) {
			if was := before[got.User][box]; n <= was {
				t.Errorf("%s of %s has HIGHESTMODSEQ %d; %d was given out", box, got.User, n, was)
			}
		}
	}
	if bad := slices.DeleteFunc(other.Complaints(), func(s string) bool { return strings.Contains(s, "dovecot.index.cache") }); len(bad) > 0 {
		t.Errorf("dovecot complains: %q", bad)
	}
}

// later prepares the Dovecot of a mirror, which is started when it is promoted, and
// lets the node have its doveadm.
func later(t *testing.T, n *pair.Node, layout string) *dovecot.Server {
	t.Helper()
	s, err := dovecot.Prepare(dovecot.StoreDir(t), dovecot.Options{Store: n.Store, Layout: layout})
	must(t, err)
	text, err := os.ReadFile(n.Config())
	must(t, err)
	text = bytes.Replace(text, []byte("# doveadm = \"doveadm\""), []byte(`doveadm = "doveadm -c `+s.Config()+`"`), 1)
	text = bytes.Replace(text, []byte("# users = "), []byte("users = "), 1)
	must(t, os.WriteFile(n.Config(), text, 0o600))
	must(t, n.Stop())
	must(t, n.Start())
	must(t, n.WaitUntilAnswers(t.Context()))
	return s
}

// lastKeyword gives the keyword that came last to one more message, which changes
// nothing but the index.
func lastKeyword(t *testing.T, s *dovecot.Server, user string) {
	t.Helper()
	c, err := client.DialIMAP(s.IMAP, user, dovecot.Password)
	must(t, err)
	_, err = c.Select("Keywords")
	must(t, err)
	uids, err := c.UIDs()
	must(t, err)
	must(t, c.AddFlags(uids[len(uids)-3:len(uids)-2], imap.Flag(fmt.Sprintf("keyword%02d", 29))))
	must(t, c.Close())
}
