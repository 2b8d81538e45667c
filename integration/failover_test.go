package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/integration/pair"
)

// promoted is what `mailtwin failover --json` prints, as far as it is looked
// at here.
type promoted struct {
	Kind  string
	Epoch uint64
	Loss  struct {
		Nothing bool
		Entries *uint64
		Whole   bool                       `json:"initial_sync_complete"`
		Boxes   []struct{ Mailbox string } `json:"mailboxes"`
		Words   []string
	}
	Steps []struct {
		Step    string
		Seconds float64
	}
	Seconds float64
}

// failover runs the command on a node, and expects an exit code.
func failover(t *testing.T, n *pair.Node, code int, args ...string) (p promoted) {
	t.Helper()
	out, err := n.Run(t.Context(), append([]string{"failover", "--json"}, args...)...)
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	if got != code {
		t.Fatalf("failover %q on %s: exit code %d, want %d: %v\n%s", args, n.Name, got, code, err, n.Log())
	}
	if len(out) > 0 {
		must(t, json.Unmarshal(out, &p))
	}
	return p
}

func writeMail(t *testing.T, store, name string) {
	t.Helper()
	box := filepath.Join(store, "example.net/user/Maildir")
	for _, dir := range []string{"tmp", "new", "cur"} {
		must(t, os.MkdirAll(filepath.Join(box, dir), 0o700))
	}
	temp := filepath.Join(box, "tmp", name)
	must(t, os.WriteFile(temp, []byte("Subject: "+name+"\n\nbody\n"), 0o600))
	must(t, os.Rename(temp, filepath.Join(box, "new", name)))
}

// TestFailoverOfDaemons changes the roles of two daemons there and back, kills
// the primary, and promotes the mirror; the killed one comes back fenced.
func TestFailoverOfDaemons(t *testing.T) {
	primaryStore, mirrorStore := stores(t)
	p := pair.New(t, pair.Options{Binary: binary(t), PrimaryStore: primaryStore, MirrorStore: mirrorStore, Direct: true})
	for i := range 100 {
		writeMail(t, primaryStore, fmt.Sprintf("%d.M1P1.host", i))
	}
	p.MustBeEqual(t, time.Minute)
	failover(t, p.Mirror, 0, "--dry-run")
	failover(t, p.Mirror, 2) // nobody agrees
	there := failover(t, p.Mirror, 0, "--yes")
	if there.Kind != "switchover" || there.Epoch != 2 || !there.Loss.Nothing || len(there.Steps) < 10 {
		t.Errorf("there: %+v", there)
	}
	t.Logf("there in %.3f s: %+v", there.Seconds, there.Steps)
	writeMail(t, mirrorStore, "there.M1P1.host")
	eventually(t, 20*time.Second, "replicated back", func() bool {
		_, err := os.Stat(filepath.Join(primaryStore, "example.net/user/Maildir/new/there.M1P1.host"))
		return err == nil
	})
	back := failover(t, p.Primary, 0, "--yes")
	if back.Kind != "switchover" || back.Epoch != 3 || !back.Loss.Nothing {
		t.Errorf("back: %+v", back)
	}
	failover(t, p.Primary, 1, "--yes") // it is the primary already
	p.MustBeEqual(t, time.Minute)

	must(t, p.Primary.Kill())
	writeMail(t, primaryStore, "lost.M1P1.host")
	gone := failover(t, p.Mirror, 0, "--yes")
	if gone.Kind != "failover" || gone.Epoch != 4 || gone.Loss.Nothing || gone.Loss.Entries == nil || !gone.Loss.Whole || len(gone.Loss.Words) < 3 {
		t.Errorf("gone: %+v", gone)
	}
	t.Logf("gone in %.3f s: %+v %q", gone.Seconds, gone.Steps, gone.Loss.Words)
	writeMail(t, mirrorStore, "new.M1P1.host")
	must(t, p.Primary.Start())
	must(t, p.Primary.WaitUntilAnswers(t.Context()))
	eventually(t, 20*time.Second, "fenced", func() bool {
		out, _ := p.Primary.Run(t.Context(), "status", "--json") // the exit code says that a person is needed
		var s struct{ Role string }
		return json.Unmarshal(out, &s) == nil && s.Role == "fenced"
	})
	failover(t, p.Primary, 1, "--yes") // it has to rejoin
}
