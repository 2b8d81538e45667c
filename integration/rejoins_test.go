package integration

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/integration/pair"
)

const (
	leftBehind = 5   // messages that only the node had which died
	wonOver    = 300 // messages that came to the one that was promoted
)

// rejoins is a pair whose primary dies again and again with mail that was never
// replicated, and rejoins as the mirror of the one that was promoted by force.
type rejoins struct {
	*pair.Pair
	mail map[string]int // how often each message must be there: once, or not any more
}

// TestRejoinAfterRejoin changes the roles three times, each time by a crash that
// leaves something behind on the loser. The promotion crashes too, and is done again;
// the rejoin is killed after each of its lines, and the comparison behind it in each of
// its phases. Nothing is lost, doubled or back from the dead.
func TestRejoinAfterRejoin(t *testing.T) {
	primaryStore, mirrorStore := stores(t)
	r := &rejoins{mail: make(map[string]int), Pair: pair.New(t, pair.Options{
		Binary: plainBinary(t), PrimaryStore: primaryStore, MirrorStore: mirrorStore, Direct: true,
	})}
	for _, n := range []*pair.Node{r.Primary, r.Mirror} {
		must(t, n.Stop())
		refuseToFence(t, n)
		must(t, n.Start())
		must(t, n.WaitUntilAnswers(t.Context()))
	}
	must(t, os.MkdirAll(filepath.Join(primaryStore, "example.net/user/Maildir/.Work/cur"), 0o700))
	rounds := []string{"journal", "raise/done", "open"}
	for i := range rounds {
		for _, what := range []string{"flagged", "gone", "moved"} {
			r.deliver(t, primaryStore, what, i, 0)
		}
	}
	for i, step := range rounds {
		r.MustBeEqual(t, 2*time.Minute)
		must(t, r.Primary.Kill())
		r.leaveBehind(t, i)
		r.promote(t, step)
		r.goOn(t, i)
		r.rejoin(t)
		r.resync(t, i)
		r.Primary, r.Mirror = r.Mirror, r.Primary
		r.MustBeEqual(t, 2*time.Minute)
		r.check(t, i)
	}
}

// refuseToFence gives a node a hook that cannot fence the other one: then a
// promotion has to be forced.
func refuseToFence(t *testing.T, n *pair.Node) {
	t.Helper()
	path := n.State + ".hook"
	must(t, os.WriteFile(path, []byte("#!/bin/sh\n[ \"$MAILTWIN_PLANNED\" != no ]\n"), 0o755))
	text, err := os.ReadFile(n.Config())
	must(t, err)
	const table = "\n[hooks]\n"
	before, after, found := strings.Cut(string(text), table)
	if !found {
		t.Fatalf("the settings of %s have no hooks", n.Name)
	}
	must(t, os.WriteFile(n.Config(), fmt.Appendf(nil, "%s%sfence = %q\n%s", before, table, path, after), 0o600))
}

func nameOf(what string, round, i int) string { return fmt.Sprintf("%d.M%s%dP1.host", i, what, round) }

func (r *rejoins) deliver(t *testing.T, store, what string, round, i int) {
	t.Helper()
	name := nameOf(what, round, i)
	writeMail(t, store, name)
	r.mail[name] = 1
}

// leaveBehind changes the store of the primary, which does not run.
func (r *rejoins) leaveBehind(t *testing.T, round int) {
	t.Helper()
	store := r.Primary.Store
	for i := range leftBehind {
		r.deliver(t, store, "left", round, i)
	}
	box := filepath.Join(store, "example.net/user/Maildir")
	for what, to := range map[string]string{"flagged": "cur/%s:2,S", "gone": "cur/%s:2,F", "moved": ".Work/cur/%s:2,"} {
		name := nameOf(what, round, 0)
		must(t, os.Rename(filepath.Join(box, "new", name), filepath.Join(box, fmt.Sprintf(to, name))))
	}
}

// promote makes the mirror the primary by force. It crashes at a step, and does so
// again until it is done.
func (r *rejoins) promote(t *testing.T, step string) {
	t.Helper()
	n := r.Mirror
	must(t, n.Stop())
	n.Env = []string{"MAILTWIN_CRASH_AT=" + step}
	must(t, n.Start())
	must(t, n.WaitUntilAnswers(t.Context()))
	n.Env = nil
	if out, err := n.Run(t.Context(), "failover", "--yes"); err == nil {
		t.Fatalf("promoted, though nobody could fence the primary: %s", out)
	}
	out, err := n.Run(t.Context(), "failover", "--yes", "--force")
	if err == nil {
		t.Fatalf("it did not crash at %s: %s", step, out)
	}
	select {
	case <-n.Exited():
	case <-time.After(time.Minute):
		t.Fatalf("it did not crash at %s: %v: %s", step, err, out)
	}
	must(t, n.Kill())
	must(t, n.Start())
	must(t, n.WaitUntilAnswers(t.Context()))
	if out, err := n.Run(t.Context(), "failover", "--yes", "--force"); err != nil {
		t.Fatalf("the second command after a crash at %s: %v: %s", step, err, out)
	}
	r.role(t, n, "primary")
}

// goOn delivers mail to the new primary, and removes some that the loser has.
func (r *rejoins) goOn(t *testing.T, round int) {
	t.Helper()
	for i := range wonOver {
		r.deliver(t, r.Mirror.Store, "won", round, i)
	}
	gone := []string{nameOf("gone", round, 0)}
	if round > 0 { // what was salvaged in the round before
		gone = append(gone, nameOf("left", round-1, 0), nameOf("won", round-1, 0))
	}
	for _, name := range gone {
		must(t, os.Remove(filepath.Join(r.Mirror.Store, "example.net/user/Maildir/new", name)))
		r.mail[name] = 0
	}
}

func (r *rejoins) role(t *testing.T, n *pair.Node, wanted ...string) (is string) {
	t.Helper()
	eventually(t, time.Minute, fmt.Sprintf("%s is %q", n.Name, wanted), func() bool {
		s, err := n.Status(t.Context())
		is = s.Role
		for _, w := range wanted {
			if err == nil && is == w {
				return true
			}
		}
		return false
	})
	return is
}

// rejoin starts the loser and has it rejoin. Its daemon is killed after the first
// line that the command says, then after the second, and so on.
func (r *rejoins) rejoin(t *testing.T) {
	t.Helper()
	n := r.Primary
	must(t, n.Start())
	must(t, n.WaitUntilAnswers(t.Context()))
	line := 1
	for ; r.role(t, n, "fenced", "mirror") == "fenced"; line++ {
		if line > 100 {
			t.Fatal("the node rejoins for ever")
		}
		r.rejoinUpTo(t, line)
	}
	t.Logf("rejoined at the attempt %d", line-1)
}

// rejoinUpTo rejoins, and kills the daemon when the command has said so many lines.
func (r *rejoins) rejoinUpTo(t *testing.T, line int) {
	t.Helper()
	n := r.Primary
	cmd := n.Command(t.Context(), "rejoin", "--yes")
	out, in, err := os.Pipe()
	must(t, err)
	defer out.Close()
	cmd.Stdout, cmd.Stderr = in, in
	err = cmd.Start()
	must(t, errors.Join(err, in.Close()))
	var said strings.Builder
	killed := false
	lines := bufio.NewScanner(out)
	for i := 1; lines.Scan(); i++ {
		said.WriteString(lines.Text() + "\n")
		if i == line {
			killed = true
			must(t, n.Kill())
		}
	}
	if err := cmd.Wait(); !killed && err != nil {
		t.Fatalf("rejoin: %v\n%s\n%s", err, said.String(), n.Log())
	}
	if killed {
		must(t, n.Start())
		must(t, n.WaitUntilAnswers(t.Context()))
	}
}

// resync kills the mirror that the loser has become: when it begins to compare,
// while it applies what it fetches, and when it has finished.
func (r *rejoins) resync(t *testing.T, round int) {
	t.Helper()
	n := r.Primary
	box := filepath.Join(n.Store, "example.net/user/Maildir/new")
	fetched := func() (count int) {
		entries, err := os.ReadDir(box)
		must(t, err)
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), fmt.Sprintf(".Mwon%dP1.host", round)) {
				count++
			}
		}
		return count
	}
	for _, phase := range []struct {
		what string
		come func() bool
	}{
		{"it is connected", func() bool { s, err := n.Status(t.Context()); return err == nil && s.Primary.Connected }},
		{"the first message is there", func() bool { return fetched() > 0 }},
		{"half of them are there", func() bool { return fetched() >= wonOver/2 }},
		{"all are there", func() bool { return fetched() == wonOver }},
		{"it is in sync", func() bool { s, err := n.Status(t.Context()); return err == nil && s.State == pair.InSync }},
	} {
		eventually(t, 2*time.Minute, phase.what, phase.come)
		t.Logf("killed when %s: %d messages are", phase.what, fetched())
		must(t, n.Kill())
		must(t, n.Start())
		must(t, n.WaitUntilAnswers(t.Context()))
	}
}

// check looks for all mail of all rounds on both nodes.
func (r *rejoins) check(t *testing.T, round int) {
	t.Helper()
	for _, n := range []*pair.Node{r.Primary, r.Mirror} {
		found, flagged := make(map[string]int), ""
		must(t, filepath.WalkDir(filepath.Join(n.Store, "example.net"), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			base, flags, _ := strings.Cut(filepath.Base(path), ":2,")
			found[base]++
			if base == nameOf("flagged", round, 0) {
				flagged = flags
			}
			return nil
		}))
		for name, want := range r.mail {
			if found[name] != want {
				t.Errorf("round %d, %s: %s is there %d times, want %d; %s", round, n.Name, name, found[name], want, whereabouts(n.Store, name))
			}
		}
		if flagged != "S" {
			t.Errorf("round %d, %s: the flags are %q", round, n.Name, flagged)
		}
	}
}
