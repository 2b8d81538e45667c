package examples

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/mailtwin/mailtwin/replicator/hook"
)

// bench is a directory as /etc/mailtwin/hooks is: a hook with its hooks.conf,
// and programs that stand for those of the machine.
type bench struct {
	t    *testing.T
	dir  string
	bin  string
	name string
	call hook.Call
}

// newBench puts all hooks into a directory with what hooks.conf says.
func newBench(t *testing.T, name, conf string) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir(), bin: t.TempDir(), name: name,
		call: hook.Call{Peer: "mx1", PeerAddress: "mx1.example.net:7420", Epoch: 2, Planned: true, Reason: "a test"}}
	for _, name := range scripts {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(b.dir, name), string(data), 0o755)
	}
	write(t, filepath.Join(b.dir, "hooks.conf"), conf, 0o644)
	t.Setenv("PATH", b.bin+":"+os.Getenv("PATH"))
	return b
}

// program makes a program that comes before all others of its name; it logs
// how it is called.
func (b *bench) program(name, text string) {
	write(b.t, filepath.Join(b.bin, name), "#!/bin/sh\ncd "+b.bin+"\necho "+name+" \"$@\" >>calls\n"+text, 0o755)
}

// calls returns how the programs were called since the last time.
func (b *bench) calls() []string {
	data, err := os.ReadFile(filepath.Join(b.bin, "calls"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		b.t.Fatal(err)
	}
	_ = os.Remove(filepath.Join(b.bin, "calls"))
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

// run runs the hook as the daemon does and returns what it said.
func (b *bench) run(e hook.Event, p hook.Phase) (string, error) {
	path := filepath.Join(b.dir, b.name)
	h := hook.New(hook.Config{
		Fence: path, Promote: path, Demote: path, Timeout: time.Minute,
		Node: "mx2", Store: "/var/vmail", Log: hclog.NewNullLogger(),
	})
	var said []string
	err := h.Run(b.t.Context(), e, p, b.call, func(line string) { said = append(said, line) })
	return strings.Join(said, "\n"), err
}

// twice runs the hook twice; both times it has to succeed.
func (b *bench) twice(e hook.Event, p hook.Phase) {
	b.t.Helper()
	for range 2 {
		if said, err := b.run(e, p); err != nil {
			b.t.Fatalf("%s %s: %v\n%s", e, p, err, said)
		}
	}
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

var scripts = []string{"all", "mailserver", "address", "dns", "ipmi", "postlogin", "lmtp"}

// need skips a test that needs a program, or fails where all have to be there.
func need(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("SKIPPED: %v; integration/setup.sh installs it", err)
	}
}

func TestTheyAreCleanShell(t *testing.T) {
	need(t, "shellcheck")
	args := append([]string{"--shell=sh", "--external-sources", "--exclude=SC1091"}, scripts...)
	if out, err := exec.CommandContext(t.Context(), "shellcheck", args...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	// hooks.conf only sets what others use.
	out, err := exec.CommandContext(t.Context(), "shellcheck", "--shell=sh", "--exclude=SC2034", "hooks.conf").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestTheTemplateIsComplete(t *testing.T) {
	conf, err := os.ReadFile("hooks.conf")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range bytes.Split(conf, []byte("\n")) {
		name, _, ok := strings.Cut(string(line), "=")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		used := slices.ContainsFunc(scripts, func(s string) bool {
			text, err := os.ReadFile(s)
			return err == nil && bytes.Contains(text, []byte("${"+name)) || bytes.Contains(text, []byte("$"+name))
		})
		if !used {
			t.Errorf("nothing uses %s", name)
		}
	}
}

func TestAllRunsThemInTurn(t *testing.T) {
	b := newBench(t, "all", "FENCE='one two'\nPROMOTE='two one'\n")
	log := filepath.Join(b.dir, "log")
	for _, name := range []string{"one", "two"} {
		write(t, filepath.Join(b.dir, name), "#!/bin/sh\necho "+name+" $1 >>"+log+"\n[ ! -e "+b.dir+"/fail-"+name+" ] || exit 4\n", 0o755)
	}
	b.twice(hook.Promote, hook.After)
	b.twice(hook.Demote, hook.After)
	if got, _ := os.ReadFile(log); string(got) != "two after\none after\ntwo after\none after\n" {
		t.Errorf("%s", got)
	}
	write(t, filepath.Join(b.dir, "fail-one"), "", 0o644)
	if _, err := b.run(hook.Fence, hook.Before); !errors.Is(err, hook.ErrFailed) || !strings.Contains(err.Error(), "all: one before failed with exit status 4") {
		t.Error(err)
	}
	if got, _ := os.ReadFile(log); !strings.HasSuffix(string(got), "one after\none before\n") {
		t.Errorf("after the failure it went on: %s", got)
	}
}

const systemctl = `
case $1 in
start) touch "$2.active" ;;
stop) [ -e stubborn ] || rm -f "$2.active" ;;
--quiet) [ -e "$3.active" ] ;;
esac
`

func TestMailserverBySystemd(t *testing.T) {
	b := newBench(t, "mailserver", "MAIL_BY=systemd\n")
	b.program("systemctl", systemctl)
	b.program("doveconf", "")
	b.program("postfix", "")
	b.twice(hook.Promote, hook.Before)
	if got := b.calls(); slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "systemctl") }) {
		t.Errorf("it did more than to look: %q", got)
	}
	b.twice(hook.Promote, hook.After)
	got := slices.DeleteFunc(b.calls(), func(s string) bool { return strings.Contains(s, "is-active") })
	if !slices.Equal(got[:2], []string{"systemctl start dovecot", "systemctl start postfix"}) {
		t.Errorf("%q", got)
	}
	b.call.Planned = false
	b.twice(hook.Fence, hook.Before)
	if got := b.calls(); got[0] != "" {
		t.Errorf("fencing the other node called %q here", got)
	}
	b.call.Planned = true
	b.twice(hook.Fence, hook.Before)
	if got := b.calls(); got[0] != "systemctl stop postfix" || got[2] != "systemctl stop dovecot" {
		t.Errorf("%q", got)
	}
	b.twice(hook.Fence, hook.After)
	b.twice(hook.Promote, hook.After)
	b.twice(hook.Demote, hook.Before)
	b.twice(hook.Promote, hook.After)
	write(t, filepath.Join(b.bin, "stubborn"), "", 0o644)
	if _, err := b.run(hook.Demote, hook.Before); err == nil || !strings.Contains(err.Error(), "postfix is active again") {
		t.Error(err)
	}
}

func TestMailserverThatDoesNotAcceptItsSettings(t *testing.T) {
	b := newBench(t, "mailserver", "MAIL_BY=systemd\n")
	b.program("doveconf", "")
	b.program("postfix", "exit 1")
	if _, err := b.run(hook.Promote, hook.Before); err == nil || !strings.Contains(err.Error(), "Postfix does not accept its settings") {
		t.Error(err)
	}
	b.program("doveconf", "echo 'Error: unknown setting' >&2; exit 89")
	if said, err := b.run(hook.Promote, hook.Before); err == nil || !strings.Contains(said, "unknown setting") {
		t.Errorf("%v\n%s", err, said)
	}
}

func TestPostfixWaitsForMailboxes(t *testing.T) {
	b := newBench(t, "mailserver", "MAIL_BY=systemd\nMAIL_READY=7s\nMAILTWIN_CONFIG=/c\n")
	b.program("systemctl", systemctl)
	b.program("mailtwin", "[ ! -e late ]")
	b.twice(hook.Promote, hook.After)
	got := slices.DeleteFunc(b.calls(), func(s string) bool { return strings.Contains(s, "is-active") })
	want := []string{"systemctl start dovecot", "mailtwin ready --config /c --wait 7s", "systemctl start postfix"}
	if !slices.Equal(got[:3], want) || slices.Contains(got[3:], want[1]) {
		t.Errorf("%q", got)
	}
	b.twice(hook.Demote, hook.After)
	write(t, filepath.Join(b.bin, "late"), "", 0o644)
	said, err := b.run(hook.Promote, hook.After)
	if err != nil || !strings.Contains(said, "started all the same") {
		t.Errorf("%v: %s", err, said)
	}
}

// Postfix is not asked for anything that needs its queue: it is told to start
// and stop only where its status says that it is not so yet.
func TestPostfixAsAPlainProcess(t *testing.T) {
	b := newBench(t, "mailserver", "MAIL_BY=process\nDOVECOT_CONF=\nPOSTFIX_CONF=/etc/postfix-2\n")
	b.program("postfix", `
case $3 in
status) [ -e running ] ;;
start) [ ! -e running ] && touch running ;;
stop) rm running ;;
esac
`)
	b.twice(hook.Promote, hook.After)
	b.twice(hook.Demote, hook.After)
	want := []string{"status", "start", "status", "status", "stop", "status"}
	got := b.calls()
	for i := range want {
		want[i] = "postfix -c /etc/postfix-2 " + want[i]
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestDNS(t *testing.T) {
	b := newBench(t, "dns", `DNS_COMMAND="nsupdate -k key"
DNS_ZONE=example.net
DNS_NAME=imap.example.net
DNS_ADDRESS="192.0.2.2 2001:db8::2"
`)
	b.program("nsupdate", "cat >update\n[ ! -e refuse ]\n")
	b.twice(hook.Promote, hook.After)
	got, err := os.ReadFile(filepath.Join(b.bin, "update"))
	want := `zone example.net
update delete imap.example.net. A
update delete imap.example.net. AAAA
update add imap.example.net. 60 A 192.0.2.2
update add imap.example.net. 60 AAAA 2001:db8::2
send
`
	if err != nil || string(got) != want {
		t.Errorf("%s, %v", got, err)
	}
	if got := b.calls(); !slices.Equal(got, []string{"nsupdate -k key", "nsupdate -k key"}) {
		t.Errorf("%q", got)
	}
	for _, e := range []hook.Event{hook.Fence, hook.Demote} {
		b.twice(e, hook.After)
	}
	b.twice(hook.Promote, hook.Before)
	if got := b.calls(); got[0] != "" {
		t.Errorf("it was called for nothing: %q", got)
	}
	write(t, filepath.Join(b.bin, "refuse"), "", 0o644)
	if _, err := b.run(hook.Promote, hook.After); err == nil || !strings.Contains(err.Error(), "did not take the update") {
		t.Error(err)
	}
}
