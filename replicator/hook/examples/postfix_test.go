package examples

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/mailtwin/mailtwin/replicator/hook"
)

const mainCF = `compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
maillog_file = %[1]s/log
maillog_file_prefixes = %[1]s
inet_protocols = ipv4
myhostname = mx2.example.net
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
`

// masterCF has one service that takes mail, and what every Postfix needs.
const masterCF = `%s inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
error unix - - n - - error
retry unix - - n - - error
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
`

// newPostfix makes the settings of a Postfix that has everything of its own: its
// queue, its log, and the address at which it takes mail.
func newPostfix(t *testing.T) (dir, address string) {
	t.Helper()
	need(t, "postfix")
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: Postfix is started by root")
	}
	owner, err := user.Lookup("postfix")
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.Atoi(owner.Uid)
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	// Its processes are not root's, and have to come to their queue.
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"queue", "data"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(filepath.Join(dir, "data"), uid, -1); err != nil {
		t.Fatal(err)
	}
	host, port := freePort(t)
	address = net.JoinHostPort(host, port)
	write(t, filepath.Join(dir, "main.cf"), fmt.Sprintf(mainCF, dir), 0o644)
	write(t, filepath.Join(dir, "master.cf"), fmt.Sprintf(masterCF, address), 0o644)
	t.Cleanup(func() {
		if out, err := exec.CommandContext(context.Background(), "postfix", "-c", dir, "stop").CombinedOutput(); err == nil {
			t.Errorf("Postfix was left running: %s", out)
		}
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Logf("%s", log)
		}
	})
	return dir, address
}

// greeted connects to a mail server, and returns the connection after its greeting.
func greeted(t *testing.T, address string) (net.Conn, *bufio.Reader) {
	t.Helper()
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	r := bufio.NewReader(c)
	if line, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "220 ") {
		t.Fatalf("%q, %v", line, err)
	}
	return c, r
}

// A client that is connected when Postfix is stopped is cut off: what it goes on
// sending would be taken by a node that has lost its role.
func TestPostfixIsStartedAndStopped(t *testing.T) {
	dir, address := newPostfix(t)
	b := newBench(t, "mailserver", "MAIL_BY=process\nDOVECOT_CONF=\nPOSTFIX_CONF="+dir+"\n")
	for range 2 {
		b.twice(hook.Promote, hook.Before)
		b.twice(hook.Promote, hook.After)
		c, r := greeted(t, address)
		b.twice(hook.Demote, hook.Before)
		if line, err := r.ReadString('\n'); err == nil {
			t.Errorf("it still says %q", line)
		}
		_ = c.Close()
		var d net.Dialer
		if _, err := d.DialContext(t.Context(), "tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("somebody still listens: %v", err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "main.cf")); err != nil {
		t.Fatal(err)
	}
	if said, err := b.run(hook.Promote, hook.Before); err == nil || !strings.Contains(err.Error(), "Postfix does not accept its settings") {
		t.Errorf("%v\n%s", err, said)
	}
}
