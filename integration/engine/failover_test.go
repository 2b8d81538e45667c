package engine_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/integration/compare"
	"github.com/mailtwin/mailtwin/replicator/config"
	"github.com/mailtwin/mailtwin/replicator/failover"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/operator"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// hooks gives a node hooks, which write a line into a file for each call, and
// a mail server, which is a file "server" that is there while it runs. Whoever
// delivers holds the lock while a delivery is under way.
func (p *testPair) hooks(cfg *config.Config) (server, lines string) {
	p.t.Helper()
	dir := p.t.TempDir()
	server, lines = filepath.Join(dir, "server"), filepath.Join(dir, "lines")
	script := fmt.Sprintf(`#!/bin/sh
set -eu
echo "$MAILTWIN_EVENT $1 planned=$MAILTWIN_PLANNED peer=$MAILTWIN_PEER epoch=$MAILTWIN_EPOCH" >>%[1]s
case $MAILTWIN_EVENT:$1 in
promote:after) touch %[2]s ;;
fence:before|demote:before) [ "$MAILTWIN_PLANNED" = no ] && [ "$MAILTWIN_EVENT" = fence ] || { rm -f %[2]s; while [ -e %[2]s.busy ]; do sleep 0.01; done; } ;;
esac
echo "the mail server: $MAILTWIN_EVENT $1"
`, lines, server)
	path := filepath.Join(dir, "hook")
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		p.t.Fatal(err)
	}
	cfg.Hooks.Fence, cfg.Hooks.Promote, cfg.Hooks.Demote = path, path, path
	return server, lines
}

// deliveries hands in mail wherever a mail server runs, until it is stopped,
// and returns what was accepted.
func (p *testPair) deliveries(servers map[string]string) (stop func() []string) {
	ctx, cancel := context.WithCancel(p.t.Context())
	var mail []string
	var all sync.WaitGroup
	all.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			for store, server := range servers {
				// The order matters: who stops the server waits for who is busy.
				if err := os.WriteFile(server+".busy", nil, 0o600); err != nil {
					p.t.Error(err)
				}
				if _, err := os.Stat(server); err == nil {
					name := fmt.Sprintf("%d.M%dP1.host,S=20", 1700000000+i, i)
					mail = append(mail, name)
					deliverInto(p.t, store, name)
				}
				_ = os.Remove(server + ".busy")
			}
			select {
			case <-ctx.Done():
			case <-time.After(2 * time.Millisecond):
			}
		}
	})
	return func() []string {
		cancel()
		all.Wait()
		return mail
	}
}

// deliverInto does what a delivery agent does.
func deliverInto(t testing.TB, store, name string) {
	box := filepath.Join(store, "d/u/Maildir")
	for _, dir := range []string{"tmp", "new", "cur"} {
		if err := os.MkdirAll(filepath.Join(box, dir), 0o700); err != nil {
			t.Error(err)
		}
	}
	temp := filepath.Join(box, "tmp", name)
	if err := os.WriteFile(temp, []byte("Subject: "+name+"\n\nbody\n"), 0o600); err != nil {
		t.Error(err)
	}
	if err := os.Rename(temp, filepath.Join(box, "new", name)); err != nil {
		t.Error(err)
	}
}

// promote runs the command on a node, and logs its steps.
func (p *testPair) promote(cfg config.Config, force bool) (failover.Plan, failover.Result, error) {
	p.t.Helper()
	client, err := operator.Dial(cfg.StateDir)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	plan, _, err := client.PlanFailover(p.t.Context(), false, func(string) {})
	if err != nil {
		return plan, failover.Result{}, err
	}
	result, _, err := client.Failover(p.t.Context(), failover.Request{Confirmed: plan.Confirm(), Force: force, Reason: "a test"}, func(e failover.Event) {
		p.t.Logf("%s: %s %s %s %v", cfg.Node.Name, e.Step, e.Phase, e.Text, e.Took)
	})
	return plan, result, err
}

// mustEqual waits until both stores are equal.
func mustEqual(t testing.TB, a, b string) {
	t.Helper()
	late := time.After(time.Minute)
	for {
		result, err := compare.Trees(t.Context(), a, b, compare.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if result.Equal() {
			return
		}
		select {
		case <-late:
			t.Fatalf("the stores differ: %v", result)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// mustHold makes sure that mail is in a store, once.
func mustHold(t testing.TB, store string, mail []string) {
	t.Helper()
	found := make(map[string]int)
	for _, dir := range []string{"new", "cur"} {
		entries, err := os.ReadDir(filepath.Join(store, "d/u/Maildir", dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			base, _, _ := strings.Cut(e.Name(), ":")
			found[base]++
		}
	}
	for _, name := range mail {
		if found[name] != 1 {
			t.Errorf("%s is there %d times", name, found[name])
		}
	}
	if len(mail) == 0 {
		t.Error("no mail was delivered at all")
	}
}

// TestSwitchover changes the roles there and back while mail is delivered: none
// is lost, and both stores are equal each time.
func TestSwitchover(t *testing.T) {
	p := newPair(t)
	p.stopPrimary()
	server1, _ := p.hooks(&p.primary)
	server2, lines2 := p.hooks(&p.mirror)
	if err := os.WriteFile(server1, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p.start()
	p.startMirror()
	p.inSync()
	stop := p.deliveries(map[string]string{p.primary.Store.Path: server1, p.mirror.Store.Path: server2})
	mirrorOf := func(cfg config.Config) {
		t.Helper()
		p.until(cfg, "a mirror that has caught up", func(d status.Document) bool {
			return d.Role == string(identity.Mirror) && d.Primary != nil && d.Primary.Connected && d.Primary.Proven
		})
	}
	mirrorOf(p.mirror)
	for i, to := range []config.Config{p.mirror, p.primary, p.mirror} {
		from := p.primary
		if to.Node.Name == from.Node.Name {
			from = p.mirror
		}
		plan, result, err := p.promote(to, false)
		if err != nil {
			t.Fatalf("switchover %d: %v", i, err)
		}
		if plan.Kind != failover.Switchover || !result.Loss.Nothing || uint64(result.Epoch) != uint64(i)+2 {
			t.Errorf("switchover %d: %+v", i, result)
		}
		t.Logf("to %s in %.3f s: %+v", to.Node.Name, result.Seconds, result.Steps)
		mirrorOf(from)
	}
	mail := stop()
	d := p.until(p.mirror, "in sync", func(d status.Document) bool { return d.State == status.InSync })
	if d.Role != string(identity.Primary) || d.Epoch != 4 {
		t.Errorf("mx2 is %s of epoch %d", d.Role, d.Epoch)
	}
	mustEqual(t, p.primary.Store.Path, p.mirror.Store.Path)
	mustHold(t, p.mirror.Store.Path, mail)
	got, err := os.ReadFile(lines2)
	if err != nil {
		t.Fatal(err)
	}
	want := "promote before planned=yes peer=mx1 epoch=2\npromote after planned=yes peer=mx1 epoch=2\nfence before planned=yes peer=mx1 epoch=3\n"
	if !strings.HasPrefix(string(got), want) {
		t.Errorf("hooks of mx2:\n%s", got)
	}
	if _, _, err := p.promote(p.mirror, false); err == nil || !strings.Contains(err.Error(), "the primary already") {
		t.Errorf("to promote the primary: %v", err)
	}
}

// TestSwitchoverIsCalledOff has the promote hook say no: the primary, which had
// stopped, goes on.
func TestSwitchoverIsCalledOff(t *testing.T) {
	p := newPair(t)
	p.stopPrimary()
	server1, lines1 := p.hooks(&p.primary)
	p.hooks(&p.mirror)
	if err := os.WriteFile(p.mirror.Hooks.Promote, []byte("#!/bin/sh\necho dovecot is not installed >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(server1, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p.start()
	deliverInto(t, p.primary.Store.Path, "1.M1P1.host")
	p.startMirror()
	p.inSync()
	p.until(p.mirror, "in sync", func(d status.Document) bool { return d.State == status.InSync })
	_, _, err := p.promote(p.mirror, false)
	if err == nil || !strings.Contains(err.Error(), "promote-before") || !strings.Contains(err.Error(), "is the primary as before") {
		t.Fatalf("the promotion: %v", err)
	}
	if _, err := os.Stat(server1); err != nil {
		got, _ := os.ReadFile(lines1)
		t.Errorf("the mail server of the primary does not run again: %v\n%s", err, got)
	}
	deliverInto(t, p.primary.Store.Path, "2.M2P1.host")
	p.until(p.primary, "in sync again", func(d status.Document) bool {
		return d.State == status.InSync && d.Role == string(identity.Primary) && d.Epoch == 1 && d.Store.Files == 2
	})
	mustEqual(t, p.primary.Store.Path, p.mirror.Store.Path)
}

// TestFailover promotes a mirror whose primary is gone; the primary comes back
// and is fenced.
func TestFailover(t *testing.T) {
	p := newPair(t)
	p.stopPrimary()
	server1, lines1 := p.hooks(&p.primary)
	server2, lines2 := p.hooks(&p.mirror)
	if err := os.WriteFile(server1, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p.start()
	deliverInto(t, p.primary.Store.Path, "1.M1P1.host")
	p.startMirror()
	p.inSync()
	p.until(p.mirror, "in sync", func(d status.Document) bool { return d.State == status.InSync })
	p.stopPrimary()
	deliverInto(t, p.primary.Store.Path, "2.M2P1.host") // which the mirror cannot know of
	plan, result, err := p.promote(p.mirror, false)
	if err != nil {
		t.Fatal(err)
	}
	if plan.Kind != failover.Failover || result.Loss.Nothing || result.Loss.Heard == nil || result.Loss.Entries == nil || *result.Loss.Entries != 0 || !result.Loss.Whole {
		t.Errorf("the report: %+v", result.Loss)
	}
	if _, err := os.Stat(server2); err != nil {
		t.Errorf("the mail server does not run: %v", err)
	}
	if got, _ := os.ReadFile(lines2); !strings.HasPrefix(string(got), "fence before planned=no peer=mx1 epoch=2\nfence after planned=no peer=mx1 epoch=2\npromote before planned=no peer=mx1 epoch=2\npromote after planned=no peer=mx1 epoch=2\n") {
		t.Errorf("hooks of mx2:\n%s", got)
	}
	deliverInto(t, p.mirror.Store.Path, "3.M3P1.host")
	p.start()
	d := p.until(p.primary, "fenced", func(d status.Document) bool { return d.Role == string(identity.Fenced) })
	if d.Epoch != 2 {
		t.Errorf("mx1 is fenced of epoch %d", d.Epoch)
	}
	p.until(p.mirror, "primary", func(d status.Document) bool {
		return d.Role == string(identity.Primary) && d.Epoch == 2 && d.Store.Files == 2
	})
	p.until(p.primary, "demoted", func(status.Document) bool {
		got, _ := os.ReadFile(lines1)
		return strings.Contains(string(got), "demote after")
	})
	_, _, err = p.promote(p.primary, false)
	if err == nil || !strings.Contains(err.Error(), "fenced") {
		t.Errorf("to promote a fenced node: %v", err)
	}
}

// TestStalePlan has the primary go away between the question and the answer.
func TestStalePlan(t *testing.T) {
	p := newPair(t)
	p.startMirror()
	deliverInto(t, p.primary.Store.Path, "1.M1P1.host")
	p.inSync()
	p.until(p.mirror, "in sync", func(d status.Document) bool { return d.State == status.InSync })
	client, err := operator.Dial(p.mirror.StateDir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	plan, raw, err := client.PlanFailover(t.Context(), true, func(string) {})
	if err != nil || plan.Kind != failover.Switchover || len(plan.Checks) < 6 {
		t.Fatalf("the dry run: %s, %v", raw, err)
	}
	p.stopPrimary()
	if _, _, err := client.Failover(t.Context(), failover.Request{Confirmed: plan.Confirm()}, func(failover.Event) {}); !errors.Is(err, failover.ErrStale) {
		t.Errorf("a plan that is stale: %v", err)
	}
}

// TestEvacuation promotes a mirror whose primary lives on without its store.
func TestEvacuation(t *testing.T) {
	p := newPair(t)
	p.stopPrimary()
	server1, lines1 := p.hooks(&p.primary)
	p.hooks(&p.mirror)
	if err := os.WriteFile(server1, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p.start()
	deliverInto(t, p.primary.Store.Path, "1.M1P1.host")
	p.startMirror()
	p.inSync()
	p.until(p.mirror, "in sync", func(d status.Document) bool { return d.State == status.InSync })
	if err := os.Rename(p.primary.Store.Path, p.primary.Store.Path+".gone"); err != nil {
		t.Fatal(err)
	}
	p.until(p.primary, "suspended", func(d status.Document) bool { return d.Store.State == "suspended" })
	plan, result, err := p.promote(p.mirror, false)
	if err != nil {
		t.Fatal(err)
	}
	if plan.Kind != failover.Evacuation || result.Loss.Nothing || result.Loss.Entries == nil || *result.Loss.Entries != 0 {
		t.Errorf("%s: %+v", plan.Kind, result.Loss)
	}
	if got, _ := os.ReadFile(lines1); !strings.HasPrefix(string(got), "fence before planned=yes peer=mx2 epoch=2\n") {
		t.Errorf("hooks of mx1:\n%s", got)
	}
	p.until(p.mirror, "primary", func(d status.Document) bool {
		return d.Role == string(identity.Primary) && d.Epoch == 2 && d.Store.Files == 1
	})
}

// TestPromotionIsFinished has the mail server not start at first: the node is
// primary and says what is left to be done, through a restart too, and the
// second run does it.
func TestPromotionIsFinished(t *testing.T) {
	p := newPair(t)
	server2, _ := p.hooks(&p.mirror)
	good, err := os.ReadFile(p.mirror.Hooks.Promote)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.mirror.Hooks.Promote, []byte("#!/bin/sh\n[ $1 = before ]\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	deliverInto(t, p.primary.Store.Path, "1.M1P1.host")
	p.startMirror()
	p.inSync()
	p.until(p.mirror, "in sync", func(d status.Document) bool { return d.State == status.InSync })
	if _, _, err := p.promote(p.mirror, false); err == nil || !strings.Contains(err.Error(), "promote-after") {
		t.Fatalf("the first run: %v", err)
	}
	p.stopMirror()
	p.startMirror()
	p.until(p.mirror, "unfinished", func(d status.Document) bool {
		return d.Role == string(identity.Primary) && d.State == status.Attention && strings.Contains(d.Detail, "not finished")
	})
	if err := os.WriteFile(p.mirror.Hooks.Promote, good, 0o755); err != nil {
		t.Fatal(err)
	}
	plan, result, err := p.promote(p.mirror, false)
	if err != nil || plan.Kind != failover.Finish || result.Epoch != 2 {
		t.Fatalf("the second run: %+v, %v", result, err)
	}
	if _, err := os.Stat(server2); err != nil {
		t.Errorf("the mail server does not run: %v", err)
	}
	p.until(p.mirror, "in sync", func(d status.Document) bool { return d.State == status.InSync })
	mustEqual(t, p.primary.Store.Path, p.mirror.Store.Path)
}

// TestTakeback has the mirror go away in the midst of a switchover: the sealed
// primary does not go on by itself, and takes its mail back when it is told to.
func TestTakeback(t *testing.T) {
	p := newPair(t)
	p.stopPrimary()
	server1, _ := p.hooks(&p.primary)
	p.hooks(&p.mirror)
	p.primary.Hooks.Fence = "" // of the mirror, when it does not answer
	blocked := filepath.Join(t.TempDir(), "blocked")
	if err := os.WriteFile(p.mirror.Hooks.Promote, []byte("#!/bin/sh\ntouch "+blocked+"\nexec sleep 60\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	p.start()
	deliverInto(t, p.primary.Store.Path, "1.M1P1.host")
	p.startMirror()
	p.inSync()
	p.until(p.mirror, "in sync", func(d status.Document) bool { return d.State == status.InSync })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var all sync.WaitGroup
	all.Go(func() { _, _, _ = p.promote(p.mirror, false) }) // it ends with its daemon
	p.until(p.primary, "sealed", func(d status.Document) bool { return strings.Contains(d.Fenced, "sealed") })
	for ctx.Err() == nil {
		if _, err := os.Stat(blocked); err == nil {
			break
		}
		select {
		case <-t.Context().Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
	// The primary is away when it would be told to go on.
	p.stopPrimary()
	p.stopMirror()
	all.Wait()
	p.start()
	p.until(p.primary, "sealed", func(d status.Document) bool { return strings.Contains(d.Fenced, "sealed") })
	plan, result, err := p.promote(p.primary, false)
	if err != nil || plan.Kind != failover.Takeback || result.Epoch != 3 {
		t.Fatalf("%+v, %v", result, err)
	}
	if _, err := os.Stat(server1); err != nil {
		t.Errorf("the mail server does not run: %v", err)
	}
	deliverInto(t, p.primary.Store.Path, "2.M2P1.host")
	p.until(p.primary, "primary", func(d status.Document) bool {
		return d.Role == string(identity.Primary) && d.Epoch == 3 && d.Store.Files == 2 && d.Fenced == ""
	})
	p.startMirror()
	p.inSync()
	mustEqual(t, p.primary.Store.Path, p.mirror.Store.Path)
}
