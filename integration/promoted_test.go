package integration

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/mailtwin/mailtwin/integration/client"
	"github.com/mailtwin/mailtwin/integration/dovecot"
	"github.com/mailtwin/mailtwin/integration/port"
	"github.com/mailtwin/mailtwin/replicator/hook"
	nodestate "github.com/mailtwin/mailtwin/replicator/identity"
)

// examples is where the hooks are that operators take over.
const examples = "../replicator/hook/examples/"

// hooksDir is a directory with the example hooks and a hooks.conf.
func hooksDir(t *testing.T, conf string) string {
	t.Helper()
	dir := dovecot.StoreDir(t)
	for _, name := range []string{"mailserver", "postlogin", "lmtp"} {
		data, err := os.ReadFile(examples + name)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, name), data, 0o755))
	}
	must(t, os.WriteFile(filepath.Join(dir, "hooks.conf"), []byte(conf), 0o644))
	return dir
}

func TestTheExampleHookStartsAndStopsDovecot(t *testing.T) {
	s := dovecot.New(t, dovecot.Options{Store: dovecot.StoreDir(t)})
	path := filepath.Join(hooksDir(t, "MAIL_BY=process\nPOSTFIX_CONF=\nDOVECOT_CONF="+s.Config()+"\n"), "mailserver")
	h := hook.New(hook.Config{
		Fence: path, Promote: path, Demote: path, Timeout: time.Minute,
		Node: "mx1", Store: "/var/vmail", Log: hclog.NewNullLogger(),
	})
	serves := func() bool {
		conn, err := net.Dial("tcp", s.IMAP)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}
	for _, step := range []struct {
		event  hook.Event
		phase  hook.Phase
		serves bool
	}{
		{hook.Promote, hook.Before, true}, {hook.Fence, hook.Before, false}, {hook.Fence, hook.After, false},
		{hook.Promote, hook.Before, false}, {hook.Promote, hook.After, true}, {hook.Demote, hook.Before, false},
	} {
		for range 2 {
			must(t, h.Run(t.Context(), step.event, step.phase, hook.Call{Planned: true}, func(line string) { t.Log(line) }))
			if serves() != step.serves {
				t.Fatalf("after %s %s Dovecot serves: %v", step.event, step.phase, !step.serves)
			}
		}
	}
}

// lines speaks IMAP by the line, for what no library knows.
type lines struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
	n    int
}

func dialLines(t *testing.T, addr, user string) *lines {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	l := &lines{t: t, conn: conn, in: bufio.NewReader(conn)}
	_, err = l.in.ReadString('\n')
	must(t, err)
	l.do("LOGIN %s %s", user, dovecot.Password)
	l.do("ENABLE QRESYNC")
	return l
}

// do sends a command and returns all lines of the answer.
func (l *lines) do(format string, args ...any) string {
	l.t.Helper()
	l.n++
	tag := fmt.Sprintf("t%d", l.n)
	must(l.t, l.conn.SetDeadline(time.Now().Add(time.Minute)))
	_, err := fmt.Fprintf(l.conn, tag+" "+format+"\r\n", args...)
	must(l.t, err)
	var all strings.Builder
	for {
		text, err := l.in.ReadString('\n')
		must(l.t, err)
		all.WriteString(text)
		if rest, ok := strings.CutPrefix(text, tag+" "); ok {
			if !strings.HasPrefix(rest, "OK") {
				l.t.Fatalf(format+": %s", append(args, all.String())...)
			}
			return all.String()
		}
	}
}

func (l *lines) add(n int) {
	l.t.Helper()
	for range n {
		message := "From: a@example.org\r\nSubject: test\r\n\r\nhello\r\n"
		l.do("APPEND INBOX {%d+}\r\n%s", len(message), message)
	}
}

// number returns what a response code like [HIGHESTMODSEQ 5] says.
func number(t *testing.T, answer, name string) uint64 {
	t.Helper()
	found := regexp.MustCompile(`\[` + name + ` (\d+)\]`).FindStringSubmatch(answer)
	if found == nil {
		t.Fatalf("no %s in %s", name, answer)
	}
	n, err := strconv.ParseUint(found[1], 10, 64)
	must(t, err)
	return n
}

// A client that was away during a promotion sees exactly what changed: its
// mail lies beside an index that is older, and that it has seen a newer one
// of, or beside none.
func TestResumingClientsSeeWhatChanged(t *testing.T) {
	t.Run("older index", func(t *testing.T) { resume(t, true) })
	t.Run("no index", func(t *testing.T) { resume(t, false) })
}

func resume(t *testing.T, replicated bool) {
	const user = "ann@example.org"
	old, promoted := dovecot.StoreDir(t), dovecot.StoreDir(t)
	first := dovecot.New(t, dovecot.Options{Store: old})
	c := dialLines(t, first.IMAP, user)
	c.add(5)
	c.do("SELECT INBOX")
	c.do("LOGOUT")
	mailbox := "example.org/ann/Maildir"
	index := filepath.Join(dovecot.StoreDir(t), "index")
	must(t, os.Mkdir(index, 0o755))
	copyIndex(t, filepath.Join(old, mailbox), index)

	// What the client sees while the old primary lives.
	c = dialLines(t, first.IMAP, user)
	before := number(t, c.do("SELECT INBOX"), "HIGHESTMODSEQ")
	for range 20 {
		c.do("UID STORE 2 +FLAGS (\\Flagged)")
		c.do("UID STORE 2 -FLAGS (\\Flagged)")
	}
	c.do("UID STORE 3 +FLAGS (\\Deleted)")
	c.do("EXPUNGE")
	c.add(1)
	answer := c.do("SELECT INBOX")
	seen, validity := number(t, answer, "HIGHESTMODSEQ"), number(t, answer, "UIDVALIDITY")
	if seen <= before {
		t.Fatalf("HIGHESTMODSEQ is %d, and was %d", seen, before)
	}
	// What it does not see any more.
	other := dialLines(t, first.IMAP, user)
	c.do("LOGOUT")
	other.do("SELECT INBOX")
	// The index of the mirror never knew of 6.
	other.do("UID STORE 4,6 +FLAGS (\\Deleted)")
	other.do("EXPUNGE")
	other.do("UID STORE 1 +FLAGS (\\Answered)")
	other.add(1)
	last := number(t, other.do("SELECT INBOX"), "HIGHESTMODSEQ")
	other.do("LOGOUT")
	must(t, first.Stop())

	// What a mirror has of it: all mail, and the index as it was.
	must(t, exec.CommandContext(t.Context(), "cp", "-a", old+"/.", promoted).Run())
	stale, err := filepath.Glob(filepath.Join(promoted, mailbox, "dovecot.index*"))
	must(t, err)
	for _, path := range stale {
		must(t, os.Remove(path))
	}
	if replicated {
		copyIndex(t, index, filepath.Join(promoted, mailbox))
	}

	second, ask := promote(t, promoted)
	c = dialLines(t, second.IMAP, user) // waits in the post-login script
	answer = c.do("SELECT INBOX (QRESYNC (%d %d))", validity, seen)
	if got := number(t, answer, "UIDVALIDITY"); got != validity {
		t.Errorf("UIDVALIDITY is %d, and was %d", got, validity)
	}
	if got := number(t, answer, "HIGHESTMODSEQ"); got <= last || got < uint64(time.Now().Unix()-3600)<<20 {
		t.Errorf("HIGHESTMODSEQ is %d; the old primary gave out %d", got, last)
	}
	// That 3 vanished too, and what never was there, it may be told as well.
	if !regexp.MustCompile(`VANISHED \(EARLIER\) (3:)?4,6(,8:\d+)?\r\n`).MatchString(answer) {
		t.Errorf("4 and 6 did not vanish, or others did: %s", answer)
	}
	for _, want := range []string{`UID 1 .*\\Answered`, `UID 7 `} {
		if !regexp.MustCompile(`FETCH \(.*` + want).MatchString(answer) {
			t.Errorf("no news of %s: %s", want, answer)
		}
	}
	answer = c.do("UID SEARCH ALL")
	if !strings.Contains(answer, "* SEARCH 1 2 5 7\r\n") {
		t.Errorf("there are: %s", answer)
	}
	// What changes now is numbered above.
	answer = c.do("UID STORE 5 +FLAGS (\\Seen)")
	modseq := regexp.MustCompile(`MODSEQ \((\d+)\)`).FindStringSubmatch(answer)
	if modseq == nil {
		t.Errorf("no MODSEQ: %s", answer)
	} else if n, _ := strconv.ParseUint(modseq[1], 10, 64); n <= last {
		t.Errorf("a change is numbered %d", n)
	}
	if out, err := ask("ready", "--wait", "60s"); err != nil {
		t.Errorf("waiting for all: %v: %s", err, out)
	}
	if out, _ := ask("status"); !strings.Contains(out, "HIGHESTMODSEQ is raised everywhere") {
		t.Errorf("status: %s", out)
	}
	if bad := slices.DeleteFunc(second.Complaints(), func(s string) bool { return strings.Contains(s, "dovecot.index.cache") }); len(bad) > 0 {
		t.Errorf("dovecot complains: %q", bad)
	}
}

// A message that comes before the first client looks has Dovecot take an index
// for up to date that is older than the mail beside it. Nobody is shown what was
// expunged meanwhile.
func TestMailBeforeTheFirstLook(t *testing.T) {
	const user = "ann@example.org"
	old, promoted := dovecot.StoreDir(t), dovecot.StoreDir(t)
	first := dovecot.New(t, dovecot.Options{Store: old})
	c := dialLines(t, first.IMAP, user)
	c.add(5)
	c.do("SELECT INBOX")
	c.do("LOGOUT")
	mailbox := "example.org/ann/Maildir"
	index := filepath.Join(dovecot.StoreDir(t), "index")
	must(t, os.Mkdir(index, 0o755))
	copyIndex(t, filepath.Join(old, mailbox), index)
	c = dialLines(t, first.IMAP, user)
	c.do("SELECT INBOX")
	c.do("UID STORE 2,4 +FLAGS (\\Deleted)")
	c.do("EXPUNGE")
	c.do("UID STORE 3 +FLAGS (\\Flagged)")
	c.do("LOGOUT")
	must(t, first.Stop())
	must(t, exec.CommandContext(t.Context(), "cp", "-a", old+"/.", promoted).Run())
	stale, err := filepath.Glob(filepath.Join(promoted, mailbox, "dovecot.index*"))
	must(t, err)
	for _, path := range stale {
		must(t, os.Remove(path))
	}
	copyIndex(t, index, filepath.Join(promoted, mailbox))

	second, _ := promote(t, promoted)
	must(t, deliverOne(t, second, user)) // waits in the script of LMTP
	c = dialLines(t, second.IMAP, user)
	c.do("SELECT INBOX")
	if answer := c.do("UID SEARCH ALL"); !regexp.MustCompile(`\* SEARCH 1 3 5 \d+\r\n`).MatchString(answer) {
		t.Errorf("at the first look there are: %s", answer)
	}
	if answer := c.do("UID SEARCH FLAGGED"); !strings.Contains(answer, "* SEARCH 3\r\n") {
		t.Errorf("at the first look these are flagged: %s", answer)
	}
}

// promote makes a node that was promoted over a store, with a Dovecot that
// lets logins wait for it, and runs both. ask runs a command for the node.
func promote(t *testing.T, store string) (s *dovecot.Server, ask func(args ...string) (string, error)) {
	t.Helper()
	dir := dovecot.StoreDir(t)
	program := plainBinary(t) // the race detector needs more memory than Dovecot gives
	config, state := filepath.Join(dir, "mailtwin.toml"), filepath.Join(dir, "state")
	run := func(ctx context.Context, args ...string) *exec.Cmd {
		return exec.CommandContext(ctx, program, append(args, "--config", config)...)
	}
	ask = func(args ...string) (string, error) {
		out, err := run(t.Context(), args...).CombinedOutput()
		return string(out), err
	}
	addrs, err := port.Free(1)
	must(t, err)
	if out, err := ask("init", "--store", store, "--name", "mx2", "--listen", addrs[0], "--state", state); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	conf := "MAILTWIN=" + program + "\nMAILTWIN_CONFIG=" + config + "\nREADY_WAIT=60s\n"
	settings, err := os.ReadFile(examples + "90-mailtwin.conf")
	must(t, err)
	dovecot.Need(t)
	s, err = dovecot.Prepare(dovecot.StoreDir(t), dovecot.Options{
		Store:       store,
		MailOptions: strings.ReplaceAll(string(settings), "/etc/mailtwin/hooks", hooksDir(t, conf)),
	})
	must(t, err)
	text, err := os.ReadFile(config)
	must(t, err)
	text = bytes.Replace(text, []byte("# doveadm = \"doveadm\""), []byte(`doveadm = "doveadm -c `+s.Config()+`"`), 1)
	text = bytes.Replace(text, []byte("# users = "), []byte("users = "), 1)
	must(t, os.WriteFile(config, text, 0o600))

	// The catalog of a mirror knows all mail: a scan does it here.
	stop := serve(t, run, state)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		out, _ := ask("status", "--json") // the exit code says that there is no mirror
		if strings.Contains(out, `"state":"watching"`) {
			break
		}
		if i == 600 {
			t.Fatalf("the store was not scanned: %s", out)
		}
		<-tick.C
	}
	stop()
	is, err := nodestate.LoadState(state)
	must(t, err)
	is.Epoch = 2
	must(t, nodestate.SaveState(state, is))
	serve(t, run, state)
	// It keeps its output open for as long as it runs.
	must(t, exec.CommandContext(t.Context(), "dovecot", "-c", s.Config()).Run())
	t.Cleanup(func() {
		if err := exec.Command("doveadm", "-c", s.Config(), "stop").Run(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("Dovecot's log:\n%s", s.Log())
		}
	})
	return s, ask
}

// serve runs a daemon until the test ends or stop is called, and returns when
// it can be asked.
func serve(t *testing.T, run func(context.Context, ...string) *exec.Cmd, state string) (stop func()) {
	t.Helper()
	daemon := run(context.Background(), "daemon")
	var log bytes.Buffer
	daemon.Stderr = &log
	socket := filepath.Join(state, "mailtwin.sock")
	_ = os.Remove(socket) // of one before
	must(t, daemon.Start())
	stop = sync.OnceFunc(func() {
		_ = daemon.Process.Signal(syscall.SIGTERM)
		_ = daemon.Wait()
		if t.Failed() {
			t.Logf("the daemon's log:\n%s", log.Bytes())
		}
	})
	t.Cleanup(stop)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 1500 {
		if _, err := os.Stat(socket); err == nil {
			return stop
		}
		<-tick.C
	}
	t.Fatal("the daemon does not answer")
	return nil
}

// copyIndex copies what a mirror keeps of an index, as far as it is there.
func copyIndex(t *testing.T, from, to string) {
	t.Helper()
	for _, name := range []string{"dovecot.index", "dovecot.index.log", "dovecot.index.log.2"} {
		path := filepath.Join(from, name)
		if _, err := os.Stat(path); err == nil {
			must(t, exec.CommandContext(t.Context(), "cp", "-a", path, to).Run())
		}
	}
}

// deliverOne delivers a message by LMTP.
func deliverOne(t *testing.T, s *dovecot.Server, user string) error {
	t.Helper()
	l, err := client.DialLMTP(t.Context(), s.LMTP)
	if err != nil {
		return err
	}
	return errors.Join(l.Deliver(strings.NewReader("Subject: new\r\n\r\nnew\r\n"), user), l.Close())
}

// Clients were shown UIDs of messages that never came to the mirror, and whose
// lines in the uidlist did not either. No other message gets them.
func TestUIDsThatClientsWereShownAreNotGivenOutAgain(t *testing.T) {
	const user = "ann@example.org"
	old, promoted := dovecot.StoreDir(t), dovecot.StoreDir(t)
	first := dovecot.New(t, dovecot.Options{Store: old})
	c := dialLines(t, first.IMAP, user)
	c.add(3)
	c.do("SELECT INBOX")
	mailbox := "example.org/ann/Maildir"
	// What a mirror has: an index that is older still, and of the last messages
	// only one, which is in no uidlist.
	index := filepath.Join(dovecot.StoreDir(t), "index")
	must(t, os.Mkdir(index, 0o755))
	copyIndex(t, filepath.Join(old, mailbox), index)
	c.add(1)
	c.do("NOOP")
	must(t, exec.CommandContext(t.Context(), "cp", "-a", old+"/.", promoted).Run())
	stale, err := filepath.Glob(filepath.Join(promoted, mailbox, "dovecot.index*"))
	must(t, err)
	for _, path := range stale {
		must(t, os.Remove(path))
	}
	copyIndex(t, index, filepath.Join(promoted, mailbox))
	c.add(3)
	validity := number(t, c.do("SELECT INBOX"), "UIDVALIDITY")
	c.do("CREATE Lost") // and this mailbox never came to the mirror
	lost := number(t, c.do("SELECT Lost"), "UIDVALIDITY")
	c.do("LOGOUT")
	must(t, first.Stop())
	has := make(map[string]bool)
	there, err := filepath.Glob(filepath.Join(promoted, mailbox, "cur", "*"))
	must(t, err)
	for _, path := range there {
		has[filepath.Base(path)] = true
	}
	all, err := filepath.Glob(filepath.Join(old, mailbox, "cur", "*"))
	must(t, err)
	all = slices.DeleteFunc(all, func(path string) bool { return has[filepath.Base(path)] })
	if len(there) != 4 || len(all) != 3 {
		t.Fatalf("%d messages are there, %d are not", len(there), len(all))
	}
	must(t, exec.CommandContext(t.Context(), "cp", "-a", all[2], filepath.Join(promoted, mailbox, "cur")).Run())

	second, ask := promote(t, promoted)
	// Mail that comes at once waits for the gap, as clients do.
	must(t, deliverOne(t, second, user))
	c = dialLines(t, second.IMAP, user)
	if got := number(t, c.do("SELECT INBOX"), "UIDVALIDITY"); got != validity {
		t.Errorf("UIDVALIDITY is %d, and was %d", got, validity)
	}
	answer := c.do("UID SEARCH ALL")
	found := regexp.MustCompile(`\* SEARCH 1 2 3 4 (\d+) (\d+)\r\n`).FindStringSubmatch(answer)
	if found == nil {
		t.Fatalf("there are: %s", answer)
	}
	for _, text := range found[1:] {
		if uid, err := strconv.Atoi(text); err != nil || uid <= 7 {
			t.Errorf("a message got the UID %s, which was given out before", text)
		}
	}
	c.add(1)
	if next := number(t, c.do("SELECT INBOX"), "UIDNEXT"); next <= 10 {
		t.Errorf("the next UID is %d", next)
	}
	last := lost
	for _, name := range []string{"Lost", "Another"} {
		c.do("CREATE " + name)
		now := number(t, c.do("SELECT "+name), "UIDVALIDITY")
		if now <= last {
			t.Errorf("the UIDVALIDITY of %s is %d, and one of %d was given out before", name, now, last)
		}
		last = now
	}
	if out, err := ask("ready", "--wait", "60s"); err != nil {
		t.Errorf("waiting for all: %v: %s", err, out)
	}
	if bad := slices.DeleteFunc(second.Complaints(), func(s string) bool { return strings.Contains(s, "dovecot.index.cache") }); len(bad) > 0 {
		t.Errorf("dovecot complains: %q", bad)
	}
}
