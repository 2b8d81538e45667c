package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/grpc"

	"github.com/mailtwin/mailtwin/integration/port"
	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/replicator/config"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/operator"
	"github.com/mailtwin/mailtwin/replicator/status"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"mailtwin": main})
}

// The scripts say what the commands print and end with. MX1 and MX2 are addresses
// that nobody listens at, and await runs a command until it prints something.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata", RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			free, err := port.Free(2)
			if err != nil {
				return err
			}
			e.Setenv("MX1", free[0])
			e.Setenv("MX2", free[1])
			e.Setenv("TZ", "UTC")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"await": await},
	})
}

// await runs mailtwin with the words after the first one again and again, until
// that, a regular expression, is in what it prints.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: await regexp command...")
	}
	want, err := regexp.Compile(args[0])
	ts.Check(err)
	tick, late := time.NewTicker(20*time.Millisecond), time.After(time.Minute)
	defer tick.Stop()
	for {
		err := ts.Exec("mailtwin", args[1:]...)
		if want.MatchString(ts.ReadFile("stdout")) {
			return
		}
		select {
		case <-late:
			ts.Fatalf("a minute has passed without %q: %v", args[0], err)
		case <-tick.C:
		}
	}
}

// shellTest runs commands in this process, as the machine mx1.
type shellTest struct {
	t        *testing.T
	dir      string
	host     string
	out, err bytes.Buffer
	in       io.Reader
	// canonical is the full host name; "" if it cannot be found out.
	canonical string
	promoter  operator.Promoter // of the daemon
	// interactive says that somebody reads and answers.
	interactive bool
}

func (s *shellTest) run(want int, args ...string) string {
	s.t.Helper()
	s.out.Reset()
	s.err.Reset()
	p := program{
		out: &s.out, err: &s.err, in: s.in, interactive: s.interactive, now: time.Now,
		hostname: func() (string, error) { return s.host, nil },
		canonical: func(context.Context, string) (string, error) {
			if s.canonical == "" {
				return "", errors.New("no such host")
			}
			return s.canonical, nil
		},
	}
	if got := p.run(s.t.Context(), append(args, "--config", filepath.Join(s.dir, s.host+".toml"))); got != want {
		s.t.Fatalf("mailtwin %q: exit code %d, want %d\n%s%s", args, got, want, &s.out, &s.err)
	}
	return s.out.String()
}

// mkdir makes a directory in the test's own.
func (s *shellTest) mkdir(name string) string {
	path := filepath.Join(s.dir, name)
	if err := os.Mkdir(path, 0o700); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// node is a daemon as far as the commands can see.
type node struct {
	id    *identity.Identity
	state status.State
}

func (n node) Status() status.Document {
	return status.Document{Version: 1, Name: n.id.Name(), Role: "primary", State: n.state}
}
func (n node) Journal() (*journal.Log, error) { return nil, journal.ErrClosed }
func (n node) Pace(operator.PaceChange) (status.Pace, error) {
	return status.Pace{Profile: "gentle", InForce: "gentle", Reason: "a test"}, nil
}
func (n node) Mailboxes(_ context.Context, under journal.Path, limit int) (status.Mailboxes, error) {
	if under == "nowhere" {
		return status.Mailboxes{}, errors.New("no mirror has joined: nothing is protected")
	}
	h := status.Holding{Name: string(under), Mailboxes: 2, Complete: 1, Messages: 1000, Bytes: 4096, Here: 999, HereSize: 2048}
	return status.Mailboxes{Version: 1, Primary: n.id.Name(), Mirror: "mx2", Total: h, Users: []status.Holding{h}, UsersOmitted: uint64(limit)}, nil
}

// Durability is that of a primary whose state says whether its mirror has all.
func (n node) Durability() (operator.Durability, error) {
	d := operator.Durability{Durable: 3, Mirrors: 1, Observed: 3, Settled: true}
	switch n.state {
	case status.Behind:
		d.Observed = 5
	case status.Alone:
		d.Durable, d.Mirrors = 0, 0
	}
	return d, nil
}

func (n node) Invite(d time.Duration) (string, time.Time, error) {
	return n.id.Invite(d)
}

func (n node) Accept(a operator.Accepting) (operator.Acceptable, error) {
	if a.Store {
		return operator.Acceptable{}, errors.New("this is a mirror")
	}
	return operator.Acceptable{Missing: 3, MissingFiles: []string{"u/cur/1:2,", "u/cur/\x1b2"}, Store: "it is empty"}, nil
}

func (n node) MayJoin() error { return nil }

func (n node) Enrolled(context.Context, identity.Peer) []identity.Peer { return nil }

// Ready knows three users: ann is ready, bob never, cid's disk is full.
func (n node) Ready(ctx context.Context, user string) error {
	switch user {
	case "bob":
		<-ctx.Done()
		return ctx.Err()
	case "cid":
		return errors.New("the mailboxes of cid: disk full")
	}
	return nil
}

// initialized makes the primary of a pair, which does not run.
func initialized(t *testing.T) (s *shellTest, id *identity.Identity, stateDir string) {
	t.Helper()
	s = &shellTest{t: t, dir: shortDir(t), host: "mx1"}
	stateDir = filepath.Join(s.dir, "state")
	s.run(0, "init", "--store", s.mkdir("vmail"), "--state", stateDir)
	id, err := identity.Load(stateDir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return s, id, stateDir
}

// serving is one that answers commands, and says that it is in that state.
func serving(t *testing.T, state status.State) *shellTest {
	t.Helper()
	s, id, stateDir := initialized(t)
	s.serve(node{id, state}, stateDir)
	return s
}

// serve lets a node enrol others and answer commands; it returns its address.
func (s *shellTest) serve(n node, stateDir string) string {
	s.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(n.id.ServerCredentials(nil)))
	identity.NewEnrolmentServer(n.id, n).Register(server)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- server.Serve(listener) }()
	go func() { done <- operator.NewServer(n, n, s.promoter).Serve(ctx, stateDir) }()
	s.t.Cleanup(func() {
		cancel()
		server.Stop()
		for range 2 {
			if err := <-done; err != nil {
				s.t.Error(err)
			}
		}
	})
	s.answers(stateDir)
	return listener.Addr().String()
}

// answers waits until the daemon with that state directory can be asked.
func (s *shellTest) answers(stateDir string) {
	s.t.Helper()
	late := time.After(10 * time.Second)
	for {
		conn, err := net.Dial("unix", filepath.Join(stateDir, "mailtwin.sock"))
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-late:
			s.t.Fatal(err)
		case <-time.After(time.Millisecond):
		}
	}
}

// shortDir is a directory with a path short enough for a socket in it.
func shortDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "mt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestAPairIsMade(t *testing.T) {
	s := &shellTest{t: t, dir: shortDir(t), host: "mx1"}
	store := s.mkdir("vmail")
	state := filepath.Join(s.dir, "state1")
	var made invitation
	out := s.run(0, "init", "--json", "--store", store, "--state", state)
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		t.Fatal(err)
	}
	if made.Address != "mx1:7420" || made.Name != "mx1" || made.Command != "mailtwin join mx1:7420 --token "+made.Token+" --store "+store {
		t.Errorf("init printed %+v", made)
	}
	if got, err := identity.LoadState(state); err != nil || got != (identity.State{Role: identity.Primary, Epoch: 1, Leader: "mx1", Pair: made.Pair, Name: "mx1"}) {
		t.Errorf("the primary's state: %+v, %v", got, err)
	}
	s.run(1, "init", "--store", store, "--state", state)
	if got := s.err.String(); strings.Count(got, "mailtwin: error:") != 1 || !strings.Contains(got, "hint: ") {
		t.Errorf("the second init said %q", got)
	}

	id, err := identity.Load(state, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	address := s.serve(node{id, status.InSync}, state)
	s.host = "mx2"
	mirror, state2 := filepath.Join(s.dir, "twin"), filepath.Join(s.dir, "state2")
	out = s.run(0, "join", address, "--token", made.Token, "--store", mirror, "--state", state2)
	if want := "mx2 is a mirror of mx1 in " + made.Pair + "\n"; out != want {
		t.Errorf("join printed %q, want %q", out, want)
	}
	if got, err := identity.LoadState(state2); err != nil || got != (identity.State{Role: identity.Mirror, Pair: made.Pair, Name: "mx2"}) {
		t.Errorf("the mirror's state: %+v, %v", got, err)
	}
	c, err := config.Load(filepath.Join(s.dir, "mx2.toml"))
	if err != nil || c.Node.Peer != address || c.Store.Path != mirror || c.StateDir != state2 {
		t.Errorf("the mirror's settings: %+v, %v", c, err)
	}
	if info, err := os.Stat(mirror); err != nil || !info.IsDir() {
		t.Errorf("the mirror's store: %v", err)
	}

	s.host = "mx3"
	s.run(1, "join", address, "--token", made.Token, "--store", mirror, "--state", filepath.Join(s.dir, "state3"))
	if got := s.err.String(); !strings.Contains(got, "the token was used already") || !strings.Contains(got, "hint: a token is good for one node; make a new token with `mailtwin invite`") {
		t.Errorf("the second join said %q", got)
	}
	s.host = "mx1"
	var more invitation
	if err := json.Unmarshal([]byte(s.run(0, "invite", "--json", "--valid-for", "2h")), &more); err != nil {
		t.Fatal(err)
	}
	if left := time.Until(more.Expires); more.Pair != made.Pair || left < 110*time.Minute || left > 2*time.Hour {
		t.Errorf("invite printed %+v", more)
	}
	s.host = "mx3"
	s.run(0, "join", address, "--json", "--token", more.Token, "--store", mirror, "--state", filepath.Join(s.dir, "state3"))
}

func TestStatusEndsWithTheState(t *testing.T) {
	for state, code := range map[status.State]int{status.InSync: 0, status.Behind: 1, status.Attention: 2, status.Unknown: 3} {
		s := serving(t, state)
		var doc status.Document
		if err := json.Unmarshal([]byte(s.run(code, "status", "--json")), &doc); err != nil || doc.State != state {
			t.Errorf("%s: printed %+v, %v", state, doc, err)
		}
		if out := s.run(code, "status"); !strings.Contains(out, strings.ToUpper(string(state))) || s.err.Len() > 0 {
			t.Errorf("%s: printed %q and %q", state, out, &s.err)
		}
		s.run(1, "journal", "show")
	}
}

func TestAcceptNeedsYes(t *testing.T) {
	s := serving(t, status.InSync)
	if out := s.run(1, "accept", "missing"); !strings.Contains(out, "u/cur/1:2,\n\"u/cur/\\x1b2\"\nand 1 more\n") ||
		!strings.Contains(s.err.String(), "nothing was accepted") {
		t.Errorf("listed %q, and said %q", out, &s.err)
	}
	if out := s.run(0, "accept", "missing", "--yes"); !strings.Contains(out, "3 files are given up") {
		t.Errorf("printed %q", out)
	}
	if out := s.run(1, "accept", "store"); !strings.Contains(out, "it is empty") {
		t.Errorf("printed %q", out)
	}
	if s.run(1, "accept", "store", "--yes"); !strings.Contains(s.err.String(), "this is a mirror") {
		t.Errorf("said %q", &s.err)
	}
	if s.run(2, "accept", "everything", "--yes"); !strings.Contains(s.err.String(), "hint: give one of missing, store, kept\n") {
		t.Errorf("said %q", &s.err)
	}
	s.run(2, "accept")
}

func TestReadyWaitsForMailboxes(t *testing.T) {
	s := serving(t, status.InSync)
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{0, "", []string{"ann"}},
		{0, "", nil},
		{1, "not ready yet", []string{"--wait", "50ms", "bob"}},
		{1, "the mailboxes of cid: disk full", []string{"cid"}},
		{1, "the name of the user is empty", []string{""}},
		{2, "accepts at most 1 arg", []string{"ann", "bob"}},
		{2, "invalid argument", []string{"--wait", "20"}},
	} {
		if out := s.run(c.code, append([]string{"ready"}, c.args...)...); out != "" || !strings.Contains(s.err.String(), c.says) {
			t.Errorf("%q: printed %q and %q", c.args, out, &s.err)
		}
	}
}

func TestWaitWaitsForEveryMirror(t *testing.T) {
	for state, says := range map[status.State]string{
		status.InSync: "",
		status.Behind: "not durable on every mirror yet: change 3 of 5 is",
		status.Alone:  "there is no mirror",
	} {
		s, id, dir := initialized(t)
		s.run(1, "wait") // nobody answers
		s.serve(node{id, state}, dir)
		code, timeout := 0, "1m"
		if says != "" {
			code, timeout = 1, "3s"
		}
		if out := s.run(code, "wait", "--timeout", timeout); out != "" || !strings.Contains(s.err.String(), says) {
			t.Errorf("%s: printed %q and %q", state, out, &s.err)
		}
	}
}

func TestPathsAreVisible(t *testing.T) {
	for path, want := range map[string]string{
		"a/b:2,S": "a/b:2,S", "a b": `"a b"`, "a\nb": `"a\nb"`, "\x1b[2J": `"\x1b[2J"`, "\xff": `"\xff"`, `a"b`: `"a\"b"`,
	} {
		if got := visible(path); got != want {
			t.Errorf("visible(%q) = %s, want %s", path, got, want)
		}
	}
}

func TestArgumentsAreQuotedForAShell(t *testing.T) {
	for arg, want := range map[string]string{
		"/var/vmail": "/var/vmail", "[::1]:7420": "[::1]:7420", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$HOME": "'$HOME'",
	} {
		if got := shell(arg); got != want {
			t.Errorf("shell(%q) = %s, want %s", arg, got, want)
		}
	}
}

// TestWhereTheMirrorFindsIt: the line for the mirror has a name that other
// machines know, as far as this one can tell.
func TestWhereTheMirrorFindsIt(t *testing.T) {
	for _, tt := range []struct{ host, canonical, want string }{
		{"mx1", "mx1.example.net.", "mx1.example.net:7420"},
		{"mx1", "", "mx1:7420"},
		{"mx1", "localhost.", "mx1:7420"},
		{"mx1.example.org", "mx1.example.net.", "mx1.example.org:7420"},
	} {
		s := &shellTest{t: t, dir: shortDir(t), host: tt.host, canonical: tt.canonical}
		out := s.run(exitOK, "init", "--store", s.mkdir("vmail"), "--state", filepath.Join(s.dir, "state"), "--name", "mx1")
		if !strings.HasPrefix(out, "mailtwin join "+tt.want+" ") {
			t.Errorf("%q, which is %q: %s", tt.host, tt.canonical, out)
		}
		if told := strings.Contains(s.err.String(), "--advertise"); told != strings.HasPrefix(tt.want, "mx1:") {
			t.Errorf("%q, which is %q: told of --advertise: %v", tt.host, tt.canonical, told)
		}
	}
}
