package integration

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/integration/pair"
	steps "github.com/mailtwin/mailtwin/replicator/failover"
)

// yielding is a pair whose primary crashes while it yields to the mirror, again and
// again, with the roles changed each time.
type yielding struct {
	*pair.Pair
	messages int
}

// serverHook is a mail server that is a file: it is there while it runs.
const serverHook = `#!/bin/sh
case "$MAILTWIN_EVENT $1" in
"fence before") [ "$MAILTWIN_PLANNED" = no ] || rm -f %[1]s ;;
"demote before") rm -f %[1]s ;;
"promote after") touch %[1]s ;;
esac
`

// server is the file that is there while the mail server of a node runs.
func server(n *pair.Node) string { return n.State + ".serves" }

func serves(n *pair.Node) bool {
	_, err := os.Stat(server(n))
	return err == nil
}

// addServer gives a node hooks, and starts its mail server if it is to run.
func addServer(t *testing.T, n *pair.Node) {
	t.Helper()
	path := n.State + ".hook"
	must(t, os.WriteFile(path, fmt.Appendf(nil, serverHook, server(n)), 0o755))
	text, err := os.ReadFile(n.Config())
	must(t, err)
	const table = "\n[hooks]\n"
	before, after, found := strings.Cut(string(text), table)
	if !found {
		t.Fatalf("the settings of %s have no hooks", n.Name)
	}
	settings := fmt.Sprintf("%s%sfence = %[3]q\npromote = %[3]q\ndemote = %[3]q\n%s", before, table, path, after)
	must(t, os.WriteFile(n.Config(), []byte(settings), 0o600))
}

// TestThePrimaryCrashesAtEachStepOfASwitchover has the daemon of the primary die at
// each step of its own, and at each of the node that is promoted. It is started
// again, and whatever the first command has left undone the same command completes:
// there is one primary, whose mail server alone runs, the other one is its mirror,
// and all mail is there once on both.
func TestThePrimaryCrashesAtEachStepOfASwitchover(t *testing.T) {
	primaryStore, mirrorStore := stores(t)
	y := &yielding{Pair: pair.New(t, pair.Options{
		Binary: plainBinary(t), PrimaryStore: primaryStore, MirrorStore: mirrorStore, Direct: true,
	})}
	for _, n := range []*pair.Node{y.Primary, y.Mirror} {
		must(t, n.Stop())
		addServer(t, n)
		must(t, n.Start())
		must(t, n.WaitUntilAnswers(t.Context()))
	}
	must(t, os.WriteFile(server(y.Primary), nil, 0o600))
	for _, step := range steps.YieldSteps() {
		y.story(t, string(step), false)
	}
	// Where no other step follows at once.
	for _, step := range []steps.Step{steps.StepNote, steps.StepBequeath} {
		y.story(t, string(step)+"/done", false)
	}
	all := steps.Steps()
	for i, step := range all[:len(all)-1] {
		y.storyKilled(t, step, all[i+1])
	}
	// Nobody waits for the former primary, which brings over what it has alone.
	for _, where := range []string{"observe", "note", "note/done"} {
		y.story(t, where, true)
	}
}

// story has the primary crash at a step of its own.
func (y *yielding) story(t *testing.T, where string, away bool) {
	name := where
	if away {
		name += ", and stays away"
	}
	y.tell(t, name, away, func(t *testing.T) error {
		must(t, y.Primary.Stop())
		y.Primary.Env = []string{"MAILTWIN_CRASH_AT=" + where}
		must(t, y.Primary.Start())
		must(t, y.Primary.WaitUntilAnswers(t.Context()))
		y.Primary.Env = nil
		y.connected(t)
		y.deliver(t)
		_, err := y.Mirror.Run(t.Context(), "failover", "--yes")
		return err
	})
}

// storyKilled has the primary die when the mirror's promotion has done a step, and
// begins the next.
func (y *yielding) storyKilled(t *testing.T, done, begun steps.Step) {
	y.tell(t, "when "+string(begun)+" begins", false, func(t *testing.T) error {
		y.deliver(t)
		cmd := y.Mirror.Command(t.Context(), "failover", "--yes")
		said, err := cmd.StderrPipe()
		must(t, err)
		must(t, cmd.Start())
		lines := bufio.NewScanner(said)
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), string(done)+" ") {
				must(t, y.Primary.Kill())
			}
		}
		return cmd.Wait()
	})
}

// tell runs one story.
func (y *yielding) tell(t *testing.T, name string, away bool, crash func(*testing.T) error) {
	if t.Failed() {
		return // the roles are not what the next one begins with
	}
	t.Run(name, func(t *testing.T) {
		began := time.Now()
		first := crash(t)
		if exit := (*exec.ExitError)(nil); first != nil && !errors.As(first, &exit) {
			t.Fatal(first)
		}
		select {
		case <-y.Primary.Exited():
		case <-time.After(time.Minute):
			t.Fatalf("the primary did not crash; the command: %v", first)
		}
		must(t, y.Primary.Kill())
		y.complete(t, first, away)
		y.Primary, y.Mirror = y.Mirror, y.Primary
		y.check(t)
		t.Logf("%.1f s; at first: %v", time.Since(began).Seconds(), first)
	})
}

// complete starts the primary again, and gives the command a second time unless the
// first was enough.
func (y *yielding) complete(t *testing.T, first error, away bool) {
	t.Helper()
	start := func() {
		must(t, y.Primary.Start())
		must(t, y.Primary.WaitUntilAnswers(t.Context()))
	}
	if !away {
		start()
		if first != nil {
			y.connected(t)
		}
	}
	if first != nil {
		if out, err := y.Mirror.Run(t.Context(), "failover", "--yes"); err != nil {
			t.Fatalf("the first command: %v\nthe second: %v: %s", first, err, out)
		}
	}
	if away {
		start()
	}
	role := y.await(t, y.Primary, "mirror", "fenced")
	if role == "mirror" {
		return
	}
	// It was not there when it was told, and asked before it served anything.
	t.Log("it is fenced, and rejoins")
	if out, err := y.Primary.Run(t.Context(), "rejoin", "--yes"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// deliver adds mail that the primary may not have seen when it is asked to yield.
func (y *yielding) deliver(t *testing.T) {
	t.Helper()
	for range 5 {
		y.messages++
		writeMail(t, y.Primary.Store, fmt.Sprintf("%d.M1P1.host", y.messages))
	}
}

// await waits until a node has one of some roles, and returns which.
func (y *yielding) await(t *testing.T, n *pair.Node, roles ...string) (role string) {
	t.Helper()
	eventually(t, time.Minute, fmt.Sprintf("%s is one of %q", n.Name, roles), func() bool {
		s, err := n.Status(t.Context())
		role = s.Role
		return err == nil && slices.Contains(roles, role)
	})
	return role
}

// connected waits until the mirror follows the primary again, unless it is the primary
// by now: a switchover is refused before that.
func (y *yielding) connected(t *testing.T) {
	t.Helper()
	eventually(t, time.Minute, "the mirror is connected", func() bool {
		s, err := y.Mirror.Status(t.Context())
		return err == nil && (s.Primary.Connected || s.Role == "primary")
	})
}

// check makes sure that the roles are those, and that nothing is lost.
func (y *yielding) check(t *testing.T) {
	t.Helper()
	y.await(t, y.Primary, "primary")
	y.await(t, y.Mirror, "mirror")
	if !serves(y.Primary) || serves(y.Mirror) {
		t.Errorf("the mail server of the primary runs: %v, that of the mirror: %v", serves(y.Primary), serves(y.Mirror))
	}
	y.MustBeEqual(t, time.Minute)
	found, err := filepath.Glob(filepath.Join(y.Mirror.Store, "example.net/user/Maildir/*/*.host*"))
	must(t, err)
	if len(found) != y.messages {
		t.Errorf("%d messages, and %d were delivered", len(found), y.messages)
	}
}
