package hook

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/mailtwin/mailtwin/replicator/hint"
)

// script makes an executable and the hooks of a node whose fence it is.
func script(t *testing.T, text string) *Hooks {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fence")
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return New(Config{Fence: path, Timeout: time.Minute, Node: "mx2", Store: "/var/vmail", Log: hclog.NewNullLogger()})
}

// run runs the fence and returns its lines.
func run(t *testing.T, h *Hooks, c Call) ([]string, error) {
	t.Helper()
	var lines []string
	err := h.Run(t.Context(), Fence, Before, c, func(s string) { lines = append(lines, s) })
	return lines, err
}

func TestAHookIsToldWhatIsDocumented(t *testing.T) {
	t.Setenv("MAILTWIN_TOKEN", "secret")
	t.Setenv("NOTIFY_SOCKET", "/run/secret")
	h := script(t, "#!/bin/sh\necho \"$1\" $#\npwd\ncat\nenv -u PWD -u _ -u OLDPWD -u SHLVL | sort\n")
	got, err := run(t, h, Call{Peer: "mx1", PeerAddress: "mx1.example.net:7420", Epoch: 7, Planned: true, Reason: "asked\nfor"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"before 1", "/",
		"MAILTWIN_EPOCH=7", "MAILTWIN_EVENT=fence", "MAILTWIN_NODE=mx2", "MAILTWIN_PEER=mx1",
		"MAILTWIN_PEER_ADDRESS=mx1.example.net:7420", "MAILTWIN_PHASE=before", "MAILTWIN_PLANNED=yes",
		"MAILTWIN_REASON=asked?for", "MAILTWIN_STORE=/var/vmail",
	}
	rest := slices.DeleteFunc(got, func(line string) bool { return slices.Contains(want, line) })
	for _, line := range rest {
		name, _, _ := strings.Cut(line, "=")
		if !slices.Contains([]string{"PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ"}, name) {
			t.Errorf("it was told %q", line)
		}
	}
	if got, _ = run(t, h, Call{}); !slices.Contains(got, "MAILTWIN_PLANNED=no") {
		t.Errorf("%q", got)
	}
	for _, line := range want[2:8] {
		name, _, _ := strings.Cut(line, "=")
		if !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, name+"=") }) {
			t.Errorf("without a value there is no %s", name)
		}
	}
}

func TestWithoutAPathThereIsAUsualOne(t *testing.T) {
	t.Setenv("PATH", "")
	got, err := run(t, script(t, "#!/bin/sh\necho \"$PATH\"\n"), Call{})
	if err != nil || len(got) != 1 || !strings.HasSuffix(got[0], "/sbin:/bin") {
		t.Errorf("%q, %v", got, err)
	}
}

// What the daemon was started with open is not marked as what it opens itself.
func TestNoDescriptorIsInherited(t *testing.T) {
	fd, err := unix.Open("/dev/zero", unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	got, err := run(t, script(t, "#!/bin/sh\nls -l /proc/self/fd\n"), Call{})
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range got {
		if strings.HasSuffix(line, "/dev/zero") {
			t.Errorf("it has %s", line)
		}
	}
}

func TestNothingIsRunForAHookThatIsNotSet(t *testing.T) {
	h := New(Config{Log: hclog.NewNullLogger()})
	for _, e := range []Event{Fence, Promote, Demote, "other"} {
		if h.Set(e) || h.Check(e) != nil || h.Run(t.Context(), e, After, Call{}, nil) != nil {
			t.Errorf("%s", e)
		}
	}
}

func TestEachEventHasItsHook(t *testing.T) {
	h := New(Config{Fence: "/f", Promote: "/p", Demote: "/d"})
	if h.path(Fence) != "/f" || h.path(Promote) != "/p" || h.path(Demote) != "/d" {
		t.Error("they are mixed up")
	}
}

func TestAFailureNamesTheHookAndItsStatus(t *testing.T) {
	for text, want := range map[string]string{
		"#!/bin/sh\necho 'no such unit' >&2\nexit 3\n": "exit status 3; the last it said: no such unit",
		"#!/bin/sh\nexit 1\n":                          "exit status 1; it said nothing",
		"#!/bin/sh\nkill -9 $$\n":                      "signal: killed",
	} {
		h := script(t, text)
		_, err := run(t, h, Call{})
		if !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), h.cfg.Fence+" before") || hint.Of(err) == "" {
			t.Errorf("%v, hint %q; want %q", err, hint.Of(err), want)
		}
	}
	_, err := run(t, script(t, "no first line that says what runs it"), Call{})
	if !errors.Is(err, ErrUnusable) || !strings.Contains(hint.Of(err), "#!/bin/sh") {
		t.Errorf("%v, hint %q", err, hint.Of(err))
	}
}

// alive reports whether a process runs; one that only waits to be reaped does
// not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z")
}

// The one that is waited for ends by TERM, its child only by KILL.
func TestAtTheLimitTheWholeGroupIsKilled(t *testing.T) {
	h := script(t, "#!/bin/sh\n(trap '' TERM; echo child; while :; do sleep 0.1; done) &\necho $!\nwait\n")
	h.cfg.Timeout = 300 * time.Millisecond
	lines, err := run(t, h, Call{})
	if !errors.Is(err, ErrLimit) || !strings.Contains(err.Error(), "300ms") || !strings.Contains(hint.Of(err), "hooks.timeout") {
		t.Fatalf("%v, hint %q", err, hint.Of(err))
	}
	slices.Sort(lines)
	pid, err := strconv.Atoi(lines[0])
	if err != nil {
		t.Fatalf("it said %q", lines)
	}
	await(t, func() bool { return !alive(pid) })
}

func TestWhatIgnoresTERMIsKilled(t *testing.T) {
	h := script(t, "#!/bin/sh\ntrap 'echo not yet' TERM\nwhile :; do sleep 0.05; done\n")
	h.cfg.Timeout, h.grace = 200*time.Millisecond, 200*time.Millisecond
	lines, err := run(t, h, Call{})
	if !errors.Is(err, ErrLimit) || !slices.Contains(lines, "not yet") {
		t.Errorf("%q, %v", lines, err)
	}
}

func TestAHookEndsWithWhoeverWantedIt(t *testing.T) {
	h := script(t, "#!/bin/sh\necho ready\nexec sleep 100\n")
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("the daemon stops")
	err := h.Run(ctx, Fence, Before, Call{}, func(string) { cancel(stopped) })
	if !errors.Is(err, stopped) || errors.Is(err, ErrLimit) {
		t.Error(err)
	}
}

// A mail server that is started as a plain process stays, even with its
// output still open.
func TestWhatStaysBehindIsLeftAlone(t *testing.T) {
	h := script(t, "#!/bin/sh\nsleep 100 &\necho $!\n")
	h.linger = 50 * time.Millisecond
	lines, err := run(t, h, Call{})
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(lines[0])
	if err != nil || !alive(pid) {
		t.Fatalf("%q is not alive", lines)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
}

func TestOutputIsBounded(t *testing.T) {
	var got []string
	collect := func(s string) { got = append(got, s) }
	tellLines(strings.NewReader("a\r\n\n\x1b[2Jb\tc\xff\nlast"), collect)
	if want := []string{"a", "?[2Jb c\ufffd", "last"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	got = nil
	tellLines(strings.NewReader(strings.Repeat("x", 10*MaxLine)+"\nnext\n"+strings.Repeat("y", MaxLine)), collect)
	if len(got) != 3 || len(got[0]) > MaxLine+len(" …") || got[1] != "next" || len(got[2]) > MaxLine+len(" …") {
		t.Errorf("%d lines, %q", len(got), got)
	}
	got = nil
	tellLines(strings.NewReader(strings.Repeat("z\n", MaxLines+5)), collect)
	if len(got) != MaxLines+1 || got[MaxLines] != "… and 5 more lines" {
		t.Errorf("%d lines, the last %q", len(got), got[len(got)-1])
	}
}

func FuzzOutput(f *testing.F) {
	f.Add([]byte("a\nb\r\n"))
	f.Add([]byte(strings.Repeat("x", MaxLine+1)))
	f.Fuzz(func(t *testing.T, data []byte) {
		n := 0
		tellLines(strings.NewReader(string(data)), func(s string) {
			n++
			if len(s) > 3*MaxLine+len(" …") || strings.ContainsAny(s, "\n\r\x1b") || n > MaxLines+1 {
				t.Fatalf("line %d: %q", n, s)
			}
		})
	})
}

func TestWhatCannotBeAHook(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	good := file("good", 0o755)
	if err := os.Symlink(good, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "dangling")); err != nil {
		t.Fatal(err)
	}
	inOpen := file("open/hook", 0o755)
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	cases := map[string]string{
		good:                           "",
		filepath.Join(dir, "link"):     "",
		filepath.Join(dir, "none"):     "does not exist",
		filepath.Join(dir, "dangling"): "does not exist",
		"fence.sh":                     "not an absolute path",
		dir:                            "not a regular file",
		file("plain", 0o644):           "not executable",
		file("group", 0o775):           "others than its owner may change it",
		file("all", 0o757):             "others than its owner may change it",
		inOpen:                         "another file into its place",
		good + "/below":                "not a directory",
	}
	if os.Geteuid() == 0 {
		foreign := file("foreign", 0o755)
		if err := os.Chown(foreign, 12345, 0); err != nil {
			t.Fatal(err)
		}
		cases[foreign] = "belongs to the user 12345"
	}
	for path, want := range cases {
		h := New(Config{Demote: path, Timeout: time.Minute, Log: hclog.NewNullLogger()})
		err := h.Check(Demote)
		if want == "" && err != nil || want != "" && (!errors.Is(err, ErrUnusable) || !strings.Contains(err.Error(), want) || hint.Of(err) == "") {
			t.Errorf("%s: %v, hint %q; want %q", path, err, hint.Of(err), want)
		}
		if ran := h.Run(t.Context(), Demote, After, Call{}, nil); (ran == nil) != (want == "") {
			t.Errorf("%s: run: %v", path, ran)
		}
	}
}

// await waits for what another process does.
func await(t *testing.T, f func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for i := 0; !f(); i++ {
		if i == 1000 {
			t.Fatal("it did not come about")
		}
		<-tick.C
	}
}
