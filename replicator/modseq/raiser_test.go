package modseq

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// clock stands still, and lets whoever waits go on at once.
type clock struct {
	mu     sync.Mutex
	now    time.Time
	waited []time.Duration
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	c.waited = append(c.waited, d)
	ch := make(chan time.Time, 1)
	ch <- c.now
	return ch
}

// server is a doveadm that logs what it is asked to do. In its directory,
// "users" and "<user>.folders" are its users and their folders; a file
// "fail-<user>" has it fail for a user, and "block" has it wait.
type server struct {
	t       *testing.T
	dir     string
	highest uint64 // as another node has raised to
	told    uint64 // to what it raises, by the last Raiser
}

const fakeDoveadm = `#!/bin/sh
cd "${0%/*}"
[ "$1" = -c ] && shift 2
case $1,$2 in
user,-f)
	shift 3
	for u; do echo "/store/${u#*@}/${u%@*}"; echo; done ;;
user,*)
	[ ! -e down ] || { rm down; echo "auth socket: connection refused" >&2; exit 75; }
	cat users ;;
mailbox,list)
	grep -qx -- "$4" users || exit 67
	cat "$4.folders" ;;
mailbox,path)
	echo /elsewhere ;;
mailbox,update)
	while [ -e block ] && [ "$4" != vip@b ]; do sleep 0.01; done
	[ ! -e "fail-$4" ] || { echo "disk full" >&2; exit 75; }
	[ "$8" != Gone ] || exit 68
	echo "$4 $6 $8" >>log ;;
search,-u)
	[ "$5" != '*' ] || echo "$3 $(grep -c "^$3 " log)" >>looked ;;
esac
`

func newServer(t *testing.T, users ...string) *server {
	s := &server{t: t, dir: t.TempDir()}
	s.write("doveadm", fakeDoveadm)
	s.write("users", strings.Join(users, "\n")+"\n")
	for _, u := range users {
		s.write(u+".folders", "Work\nGone\nINBOX\n")
	}
	return s
}

func (s *server) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o755); err != nil {
		s.t.Fatal(err)
	}
}

// log returns what was raised.
func (s *server) log() []string { return s.lines("log") }

func (s *server) lines(name string) []string {
	data, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.t.Fatal(err)
	}
	return strings.FieldsFunc(string(data), func(r rune) bool { return r == '\n' })
}

// newCatalog knows a message of each mailbox, each newer than the one before.
func newCatalog(t *testing.T, mailboxes ...string) *catalog.Catalog {
	t.Helper()
	c, err := catalog.Open(t.TempDir(), catalog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	err = c.Update(func(tx *catalog.Tx) error {
		for i, m := range mailboxes {
			it := catalog.Item{Facts: journal.Facts{Type: journal.TypeFile, Attr: journal.Attributes{Mode: 0o600, MTime: int64(i+1) * 1e9}}}
			if err := tx.Put(journal.Path(m+"/cur/1:2,"), it); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *server) raiser(state string, cat *catalog.Catalog, users string) (*Raiser, *clock) {
	s.t.Helper()
	c := &clock{now: time.Unix(1_800_000_000, 0)}
	r, err := New(Config{
		Doveadm: filepath.Join(s.dir, "doveadm") + " -c conf", Users: users, StateDir: state, Store: "/store",
		Catalog: cat, Clock: c, Log: hclog.NewNullLogger(), Changed: func() {}, Highest: func() uint64 { return s.highest },
		Raising: func(modseq uint64) { s.told = modseq },
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return r, c
}

func TestEveryFolderOfEveryUserIsRaisedOnce(t *testing.T) {
	users := []string{"ann@b", "bob@b", "cid@b"}
	s := newServer(t, users...)
	state := t.TempDir()
	r, _ := s.raiser(state, newCatalog(t, "b/ann"), "")
	if r.Status().State != Idle {
		t.Errorf("before: %+v", r.Status())
	}
	r.raise(t.Context(), 2, true)
	var want []string
	for _, u := range users {
		for _, f := range []string{"INBOX", "Work"} {
			want = append(want, fmt.Sprintf("%s %d %s", u, 1_800_000_000<<20, f))
		}
	}
	got := s.log()
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	looked := s.lines("looked")
	slices.Sort(looked)
	if want := []string{"ann@b 2", "bob@b 2", "cid@b 2"}; !slices.Equal(looked, want) {
		t.Errorf("Dovecot looked at the folders of %q, want it for each user when two are raised", looked)
	}
	if st := r.Status(); st.State != Complete || st.Done != 3 || st.Left != 0 || st.Err != nil || st.Modseq != 1_800_000_000<<20 {
		t.Errorf("%+v", st)
	}
	again, _ := s.raiser(state, newCatalog(t), "")
	again.raise(t.Context(), 2, true)
	if got := s.log(); len(got) != len(want) || again.Status().State != Complete {
		t.Errorf("after a restart %d were raised again; %+v", len(got)-len(want), again.Status())
	}
	again.raise(t.Context(), 3, true)
	if got := s.log(); len(got) != 2*len(want) {
		t.Errorf("in the next epoch %d were raised", len(got)-len(want))
	}
}

// Without a clock, the epoch has to do.
func TestTheEpochCountsWhereTheClockDoesNot(t *testing.T) {
	s := newServer(t, "ann@b")
	r, c := s.raiser(t.TempDir(), newCatalog(t), "")
	c.now = time.Unix(-5, 0)
	r.raise(t.Context(), 3, true)
	if st := r.Status(); st.Modseq != 3<<40 {
		t.Errorf("%+v", st)
	}
}

// What another node has raised to counts where its clock was ahead.
func TestAnotherNodesNumberCounts(t *testing.T) {
	s := newServer(t, "ann@b")
	s.highest = 1_900_000_000 << 20
	state := t.TempDir()
	r, _ := s.raiser(state, newCatalog(t), "")
	r.raise(t.Context(), 3, true)
	want := s.highest + apartModseqs
	if st := r.Status(); st.Modseq != want {
		t.Errorf("%+v, want %d", st, want)
	}
	if s.told != want {
		t.Errorf("told that it raises to %d, want %d", s.told, want)
	}
	s.highest = want // as it hears from the others
	again, _ := s.raiser(state, newCatalog(t), "")
	again.raise(t.Context(), 3, true)
	if st := again.Status(); st.Modseq != want {
		t.Errorf("after a restart %+v, want %d", st, want)
	}
}

func TestNothingIsDoneWithoutNeed(t *testing.T) {
	s := newServer(t, "ann@b")
	state := t.TempDir()
	r, _ := s.raiser(state, newCatalog(t), "")
	r.raise(t.Context(), 1, true)
	off, err := New(Config{StateDir: state, Changed: func() {}})
	if err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	off.Run(ended, 2, true)
	for _, r := range []*Raiser{r, off} {
		if err := errors.Join(r.Ready(t.Context(), "ann@b"), r.Ready(t.Context(), "")); err != nil {
			t.Error(err)
		}
	}
	if names, err := os.ReadDir(state); err != nil || len(names) > 0 || len(s.log()) > 0 {
		t.Errorf("%v, %v, %q", names, err, s.log())
	}
	if off.Status().State != Off || r.Status().State != Complete {
		t.Errorf("%+v, %+v", off.Status(), r.Status())
	}
}

func TestWhoGetsMailComesFirst(t *testing.T) {
	cat := newCatalog(t, "b/old/Maildir", "b/mid/Maildir/.Work", "b/new/Maildir", "other/x")
	s := newServer(t)
	for _, pattern := range []string{"", "%d/%n/Maildir"} {
		r, _ := s.raiser(t.TempDir(), cat, pattern)
		var newest map[string]time.Time
		if pattern == "" {
			newest = r.byHome(t.Context(), []string{"new@b", "old@b", "mid@b", "none@b"})
		} else {
			var err error
			if newest, err = r.newest(t.Context(), r.pattern.Of); err != nil {
				t.Fatal(err)
			}
		}
		q := newQueue(make(map[string]bool))
		if err := q.add([]string{"old@b", "new@b", "mid@b"}); err != nil {
			t.Fatal(err)
		}
		q.order(newest)
		for _, want := range []string{"new@b", "mid@b", "old@b"} {
			if u, _, _, _ := q.next(time.Unix(0, 0)); u == nil || u.name != want {
				t.Fatalf("%q: %+v, want %s", pattern, u, want)
			}
		}
	}
}

func TestWhoLogsInNeedNotWaitForOthers(t *testing.T) {
	var users []string
	for i := range 20 {
		users = append(users, fmt.Sprintf("user%d@b", i))
	}
	s := newServer(t, append(users, "vip@b")...)
	r, _ := s.raiser(t.TempDir(), newCatalog(t), "")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	early := make(chan error, 1)
	go func() { early <- r.Ready(ctx, "") }() // before there is a primary
	s.write("block", "")
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		r.raise(ctx, 2, true)
	}()
	short, stop := context.WithTimeout(ctx, 50*time.Millisecond)
	defer stop()
	if err := r.Ready(short, "user3@b"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while it is blocked: %v", err)
	}
	if err := r.Ready(ctx, "vip@b"); err != nil { // though as many as can be are busy
		t.Error(err)
	}
	if err := os.Remove(filepath.Join(s.dir, "block")); err != nil {
		t.Fatal(err)
	}
	if err := <-early; err != nil {
		t.Error(err)
	}
	<-ran
	if err := r.Ready(ctx, "vip@b"); err != nil {
		t.Error(err)
	}
	if len(s.log()) != 2*21 {
		t.Errorf("%d folders were raised", len(s.log()))
	}
}

func TestWhoIsAskedForComesFirst(t *testing.T) {
	q := newQueue(map[string]bool{"done": true})
	if err := q.add([]string{"a", "b", "c", "done"}); err != nil {
		t.Fatal(err)
	}
	now := time.Unix(100, 0)
	if ended, err := q.ask("done"); ended != nil || err != nil {
		t.Error("who is done has to wait")
	}
	for _, name := range []string{"c", "stranger"} {
		if ended, err := q.ask(name); ended == nil || err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, want := range []string{"c", "stranger", "a"} {
		u, _, _, _ := q.next(now)
		if u.name != want {
			t.Errorf("%s, want %s", u.name, want)
		}
		if want == "a" {
			q.end(u, errors.New("no"), now)
		} else {
			q.end(u, nil, now)
		}
	}
	if u, _, _, _ := q.next(now); u.name != "b" {
		t.Errorf("%s came before b, who had not failed", u.name)
	}
	if _, _, wait, _ := q.next(now); wait != firstRetry {
		t.Errorf("a is tried again in %v", wait)
	}
	if done, left, failing, last := q.counts(); done != 3 || left != 2 || failing != 1 || last == nil {
		t.Errorf("%d %d %d %v", done, left, failing, last)
	}
	ended, err := q.ask("a") // at once, then
	if err != nil {
		t.Fatal(err)
	}
	u, _, _, _ := q.next(now)
	q.end(u, nil, now)
	<-ended
	if q.result("a") != nil {
		t.Error("a is done")
	}
}

func TestWhatFailsIsToldAndTriedAgain(t *testing.T) {
	s := newServer(t, "ann@b", "bob@b", "gone@b")
	s.write("down", "")
	s.write("fail-bob@b", "")
	s.write("users", "ann@b\nbob@b\n")
	r, _ := s.raiser(t.TempDir(), newCatalog(t), "")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		r.raise(ctx, 2, true)
	}()
	err := r.Ready(ctx, "bob@b")
	if err == nil || !strings.Contains(err.Error(), "the mailboxes of bob@b") || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("%v", err)
	}
	if err := r.Ready(ctx, "gone@b"); err != nil { // no user, nothing to be done
		t.Error(err)
	}
	if st := r.Status(); st.Err == nil || st.State != Raising {
		t.Errorf("%+v", st)
	}
	if err := os.Remove(filepath.Join(s.dir, "fail-bob@b")); err != nil {
		t.Fatal(err)
	}
	<-ran
	if st := r.Status(); st.State != Complete || st.Done != 3 || st.Failing != 0 || st.Err != nil {
		t.Errorf("%+v", st)
	}
}

func TestARestartGoesOn(t *testing.T) {
	s := newServer(t, "ann@b", "bob@b")
	s.write("fail-bob@b", "")
	state := t.TempDir()
	r, _ := s.raiser(state, newCatalog(t), "")
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		r.Run(ctx, 2, true)
	}()
	if err := r.Ready(ctx, "ann@b"); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-ran
	if st := r.Status(); st.State != Idle {
		t.Errorf("%+v", st)
	}
	if err := os.Remove(filepath.Join(s.dir, "fail-bob@b")); err != nil {
		t.Fatal(err)
	}
	// On a node that is no longer primary nobody is ready.
	short, stop := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer stop()
	if err := r.Ready(short, "ann@b"); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	before := len(s.log())
	again, c := s.raiser(state, newCatalog(t), "")
	c.now = c.now.Add(time.Hour)
	again.raise(t.Context(), 2, true)
	if got := s.log()[before:]; len(got) != 2 || !strings.HasPrefix(got[0], fmt.Sprintf("bob@b %d ", 1_800_000_000<<20)) {
		t.Errorf("%q", got)
	}
}

func TestNamesThatCannotBe(t *testing.T) {
	s := newServer(t)
	r, _ := s.raiser(t.TempDir(), newCatalog(t), "")
	for _, user := range []string{"*", "a?", "a\nb", strings.Repeat("x", 1000)} {
		if err := r.Ready(t.Context(), user); !errors.Is(err, ErrUser) {
			t.Errorf("%.10q: %v", user, err)
		}
	}
	if _, err := New(Config{Users: "%h"}); err == nil {
		t.Error("a pattern that cannot be was taken")
	}
}
