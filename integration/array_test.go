package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/integration/dovecot"
	"github.com/mailtwin/mailtwin/integration/pair"
	"github.com/mailtwin/mailtwin/integration/tree"
)

// raid1 returns a directory on a btrfs that keeps each byte on two loop
// devices, and the files of those.
func raid1(t *testing.T) (dir string, members []string) {
	t.Helper()
	base := dovecot.StoreDir(t)
	dir = filepath.Join(base, "raid1")
	must(t, os.Mkdir(dir, 0o755))
	var devices []string
	for i := range 2 {
		file := filepath.Join(base, fmt.Sprintf("member%d.img", i))
		must(t, os.WriteFile(file, nil, 0o600))
		must(t, os.Truncate(file, 512<<20))
		out, err := exec.Command("losetup", "--find", "--show", file).CombinedOutput()
		if err != nil {
			t.Fatalf("losetup: %v: %s", err, out)
		}
		device := strings.TrimSpace(string(out))
		t.Cleanup(func() { _ = exec.Command("losetup", "--detach", device).Run() }) // the last thing that holds the file
		devices, members = append(devices, device), append(members, file)
	}
	mount(t, append([]string{"mkfs.btrfs", "-q", "-f", "-d", "raid1", "-m", "raid1"}, devices...)...)
	mount(t, "mount", "-o", "device="+devices[0]+",device="+devices[1], devices[0], dir)
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir, members
}

// wipe overwrites what is on a member, but for its beginning, as a disk that
// returns garbage.
func wipe(t *testing.T, file string) {
	t.Helper()
	mount(t, "dd", "if=/dev/zero", "of="+file, "bs=1M", "seek=1", "count=500", "conv=notrunc", "status=none")
	must(t, os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0))
}

// TestAnArrayIsDegraded loses a device of a btrfs RAID1 while a sync runs: the
// operator is told, the sync goes on at the floor, live mail as ever, and
// nothing is lost.
func TestAnArrayIsDegraded(t *testing.T) {
	array, members := raid1(t)
	_, mirror := stores(t)
	store := filepath.Join(array, "store")
	must(t, os.Mkdir(store, 0o755))
	_, err := tree.Generate(t.Context(), store, tree.Spec{Messages: 1500, Users: 6, MeanSize: 20_000})
	must(t, err)
	mount(t, "sync")
	p := pair.New(t, pair.Options{Binary: binary(t), PrimaryStore: store, MirrorStore: mirror, Profile: "gentle"})
	pace(t, p.Primary, "--reads", "30") // so that it is not done too soon
	wipe(t, members[1])
	// Which copy a process reads is chance: one that reads slowly may never meet
	// the damage, and a scrub does. It ends with an error for what it has found.
	_ = exec.Command("btrfs", "scrub", "start", "-B", "-r", array).Run()
	eventually(t, time.Minute, "the primary says that the array is degraded", func() bool {
		s, err := p.Primary.Status(t.Context())
		return err == nil && s.State == "needs-attention" && strings.Contains(string(s.Document), `"health":"degraded"`)
	})
	if got := pace(t, p.Primary); got.Allowed > 2 || !strings.Contains(got.Reason, "at the floor: the array is degraded: btrfs") {
		t.Errorf("the pace is %+v", got)
	}
	deliverTo(t, store, "example.org/live", 5, 2_000)
	eventually(t, 20*time.Second, "live mail reaches the mirror", func() bool {
		entries, err := os.ReadDir(filepath.Join(mirror, "example.org/live/Maildir/new"))
		return err == nil && len(entries) == 5
	})
	// Enough of the floor: the rest as fast as can be.
	must(t, exec.Command("btrfs", "scrub", "start", "-B", array).Run())
	mount(t, "btrfs", "device", "stats", "-z", array)
	pace(t, p.Primary, "evacuate", "--reads", "0")
	eventually(t, time.Minute, "the primary says that the array is well", func() bool {
		s, err := p.Primary.Status(t.Context())
		return err == nil && strings.Contains(string(s.Document), `"health":"healthy"`)
	})
	p.MustBeEqual(t, 2*time.Minute)
}

// paceOf is what `mailtwin pace --json` says, as far as tests look at it.
type paceOf struct {
	Allowed float64
	Reason  string
	Paused  bool
	ByHand  []string `json:"by_hand"`
}

func pace(t *testing.T, n *pair.Node, args ...string) (p paceOf) {
	t.Helper()
	out, err := n.Run(t.Context(), append([]string{"pace", "--json"}, args...)...)
	must(t, err)
	must(t, json.Unmarshal(out, &p))
	return p
}

// TestAPauseHoldsBulkAndNothingElse: what the operator holds back stays where
// it is, live mail goes on, and what was held back goes on when he lets it.
func TestAPauseHoldsBulkAndNothingElse(t *testing.T) {
	primary, mirror := stores(t)
	p := pair.New(t, pair.Options{Binary: binary(t), PrimaryStore: primary, MirrorStore: mirror, Profile: "gentle"})
	p.MustBeInSync(t, time.Minute)
	must(t, p.Mirror.Stop())
	_, err := p.Primary.Run(t.Context(), "hold")
	must(t, err)
	if got := pace(t, p.Primary); !got.Paused || got.Reason != "paused by the operator" {
		t.Errorf("the pace is %+v", got)
	}
	must(t, p.Mirror.Start())
	must(t, p.Mirror.WaitUntilAnswers(t.Context()))
	deliverTo(t, primary, "example.org/held", 20, 2_000)
	eventually(t, 20*time.Second, "live mail reaches the mirror", func() bool {
		entries, err := os.ReadDir(filepath.Join(mirror, "example.org/held/Maildir/new"))
		return err == nil && len(entries) == 20
	})
	must(t, p.Primary.Kill())
	must(t, p.Primary.Start())
	must(t, p.Primary.WaitUntilAnswers(t.Context()))
	if got := pace(t, p.Primary); !got.Paused || !slices.Contains(got.ByHand, "paused") {
		t.Errorf("after a restart the pace is %+v", got)
	}
	deliverTo(t, primary, "example.org/restarted", 20, 2_000)
	eventually(t, time.Minute, "live mail reaches the mirror after a restart", func() bool {
		entries, err := os.ReadDir(filepath.Join(mirror, "example.org/restarted/Maildir/new"))
		return err == nil && len(entries) == 20
	})
	_, err = p.Primary.Run(t.Context(), "release")
	must(t, err)
	pace(t, p.Primary, pair.Unbound)
	p.MustBeEqual(t, time.Minute)
}
