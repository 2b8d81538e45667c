package health

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/replicator/governor"
	"github.com/mailtwin/mailtwin/replicator/governor/disks"
)

// array is a machine of a test's own.
type array struct {
	t       *testing.T
	cfg     Config
	answers map[string]answer // of programs, by their name
	now     time.Time
	ran     int
}

type answer struct {
	out  string
	code int
	err  error
}

// Run implements Runner.
func (a *array) Run(_ context.Context, name string, _ ...string) ([]byte, int, error) {
	a.ran++
	r, ok := a.answers[name]
	if !ok {
		return nil, -1, exec.ErrNotFound
	}
	return []byte(r.out), r.code, r.err
}

func newArray(t *testing.T) *array {
	dir := t.TempDir()
	a := &array{t: t, answers: make(map[string]answer), now: time.Unix(1e9, 0)}
	a.cfg = Config{
		Roots: disks.Roots{Proc: filepath.Join(dir, "proc"), Sys: filepath.Join(dir, "sys")},
		Now:   func() time.Time { return a.now },
	}
	return a
}

func (a *array) sys(path, text string) { a.write(filepath.Join(a.cfg.Roots.Sys, path), text) }

func (a *array) write(path, text string) {
	a.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		a.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text+"\n"), 0o644); err != nil {
		a.t.Fatal(err)
	}
}

func (a *array) expect(c *Checker, state governor.HealthState, words string) {
	a.t.Helper()
	all := c.Check(a.t.Context())
	if got := Sum(all); got.State != state || !strings.Contains(got.Words, words) || words == "" && got.Words != "" {
		a.t.Errorf("%+v, of %+v; want %s with %q", got, all, state, words)
	}
}

func TestMD(t *testing.T) {
	a := newArray(t)
	a.cfg.Set = disks.Set{All: []string{"md0", "sda", "sdb"}}
	c := New(a.cfg)
	a.expect(c, governor.Unknown, "")
	set := func(state, degraded, action, completed string) {
		a.sys("class/block/md0/md/array_state", state)
		a.sys("class/block/md0/md/degraded", degraded)
		a.sys("class/block/md0/md/raid_disks", "4")
		a.sys("class/block/md0/md/sync_action", action)
		a.sys("class/block/md0/md/sync_completed", completed)
	}
	set("clean", "0", "idle", "none")
	a.expect(c, governor.Healthy, "")
	set("active", "0", "check", "10 / 100")
	a.expect(c, governor.Healthy, "")
	set("active", "1", "idle", "none")
	a.expect(c, governor.Degraded, "md md0: 1 of 4 members are missing")
	set("active", "1", "recover", "34 / 100")
	a.expect(c, governor.Degraded, "recover at 34 %")
	a.sys("class/block/md0/md/dev-sdb/state", "faulty,write_error")
	a.expect(c, governor.Degraded, "sdb is faulty")
	set("broken", "3", "idle", "none")
	a.expect(c, governor.Failing, "it is broken")
}

func TestBtrfs(t *testing.T) {
	a := newArray(t)
	a.cfg.Set = disks.Set{Btrfs: "u"}
	c := New(a.cfg)
	a.expect(c, governor.Unknown, "shows nothing")
	stats := func(id, read, corrupt string) {
		a.sys("fs/btrfs/u/devinfo/"+id+"/error_stats",
			"write_errs 0\nread_errs "+read+"\nflush_errs 0\ncorruption_errs "+corrupt+"\ngeneration_errs 0")
		a.sys("fs/btrfs/u/devinfo/"+id+"/missing", "0")
	}
	stats("1", "7", "0") // of last year
	stats("2", "0", "0")
	a.expect(c, governor.Healthy, "")
	stats("2", "0", "3")
	a.expect(c, governor.Degraded, "btrfs: device 2 has 3 new corruption_errs")
	stats("1", "9", "0")
	a.expect(c, governor.Failing, "device 1 has 2 new read_errs")
	stats("1", "0", "0") // reset by the operator
	stats("2", "0", "0")
	a.expect(c, governor.Healthy, "")
	a.sys("fs/btrfs/u/devinfo/2/missing", "1")
	a.expect(c, governor.Degraded, "device 2 is missing")
}

func TestZFS(t *testing.T) {
	a := newArray(t)
	a.cfg.Set = disks.Set{Pool: "tank"}
	a.cfg.Runner = a
	c := New(a.cfg)
	a.expect(c, governor.Unknown, "")
	a.write(filepath.Join(a.cfg.Roots.Proc, "spl/kstat/zfs/tank/state"), "ONLINE")
	a.expect(c, governor.Healthy, "")
	a.answers["zpool"] = answer{out: "pool 'tank' is healthy\n"}
	a.expect(c, governor.Healthy, "")
	a.answers["zpool"] = answer{out: "  pool: tank\n state: DEGRADED\nstatus: One or more devices could not be opened.\n\tMore.\n  scan: none requested\n"}
	a.expect(c, governor.Degraded, "zfs tank: One or more devices could not be opened.")
	a.answers["zpool"] = answer{out: "  pool: tank\n state: ONLINE\n  scan: resilver in progress since Sun\n"}
	a.expect(c, governor.Degraded, "resilvered")
	a.answers["zpool"] = answer{err: errors.New("it hangs")}
	a.write(filepath.Join(a.cfg.Roots.Proc, "spl/kstat/zfs/tank/state"), "SUSPENDED")
	a.expect(c, governor.Failing, "not online")
}

func TestSmart(t *testing.T) {
	a := newArray(t)
	a.cfg.Set = disks.Set{Members: []string{"sda"}}
	a.cfg.Runner = a
	c := New(a.cfg)
	a.expect(c, governor.Unknown, "")
	a.answers["smartctl"] = answer{out: `{"smart_status":{"passed":true}}`}
	a.expect(c, governor.Unknown, "") // it was asked a moment ago
	a.now = a.now.Add(smartInterval)
	a.expect(c, governor.Healthy, "")
	a.now = a.now.Add(smartInterval)
	a.answers["smartctl"] = answer{out: `{"smart_status":{"passed":false}}`, code: 8}
	a.expect(c, governor.Failing, "smart sda: the disk says that it is failing")
	ran := a.ran
	a.expect(c, governor.Failing, "failing")
	if a.ran != ran {
		t.Error("the disks are asked again and again")
	}
}

func TestTheOperatorsCommand(t *testing.T) {
	a := newArray(t)
	a.cfg.Command, a.cfg.Runner = "/check", a
	c := New(a.cfg)
	for _, k := range []struct {
		answer answer
		state  governor.HealthState
		words  string
	}{
		{answer{out: "Optimal\n"}, governor.Healthy, ""},
		{answer{out: "VD 0 degraded\nmore", code: 1}, governor.Degraded, "health command: VD 0 degraded"},
		{answer{code: 2}, governor.Failing, "it ended with 2"},
		{answer{code: 127, out: "?"}, governor.Unknown, "it ended with 127, not 0"},
		{answer{err: errors.New("killed")}, governor.Unknown, "killed"},
		{answer{out: "\x1b[2J\xff" + strings.Repeat("x", 999), code: 1}, governor.Degraded, "?[2J?xxx"},
	} {
		a.answers["/check"] = k.answer
		a.expect(c, k.state, k.words)
	}
}

func TestProgramsAreRun(t *testing.T) {
	out, code, err := Programs{}.Run(t.Context(), "sh", "-c", "head -c 100000 /dev/zero; exit 2")
	if err != nil || code != 2 || len(out) != maxOutput {
		t.Errorf("%d bytes, %d, %v", len(out), code, err)
	}
	if _, _, err := (Programs{}).Run(t.Context(), "/none"); err == nil {
		t.Error("what is not there was run")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := (Programs{}).Run(ctx, "sh", "-c", "sleep 9"); err == nil {
		t.Error("a program that was killed has an exit code")
	}
}

func FuzzParsers(f *testing.F) {
	f.Add("write_errs 0\nread_errs 12\n")
	f.Add("  pool: tank\n state: DEGRADED\nstatus: x\n  scan: resilver in progress\n")
	f.Add(`{"smart_status":{"passed":true}}`)
	f.Add("34 / 100")
	f.Fuzz(func(t *testing.T, text string) {
		for name := range parseErrorStats(text) {
			if !strings.HasSuffix(name, "_errs") {
				t.Errorf("%q", name)
			}
		}
		if state, _ := parseZpool(text); state == "" {
			t.Error("no state")
		}
		parseSmart([]byte(text))
		if p := progress(text); p != "" && !strings.HasSuffix(p, " %") {
			t.Errorf("%q", p)
		}
		if line := firstLine([]byte(text)); strings.ContainsAny(line, "\n\x1b") || len([]rune(line)) > maxWords {
			t.Errorf("%q", line)
		}
	})
}
