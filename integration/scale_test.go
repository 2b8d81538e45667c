package integration

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/integration/load"
	"github.com/mailtwin/mailtwin/integration/pair"
	"github.com/mailtwin/mailtwin/integration/tree"
)

// TestQueueOverflow makes the kernel's queue of events so short that it
// overflows again and again.
func TestQueueOverflow(t *testing.T) {
	const limit = "/proc/sys/fs/inotify/max_queued_events"
	before, err := os.ReadFile(limit)
	must(t, err)
	primary, mirror := stores(t)
	// The limit counts when the daemon starts, so it is restored at once.
	must(t, os.WriteFile(limit, []byte("8"), 0o644))
	restore := func() { must(t, os.WriteFile(limit, before, 0o644)) }
	t.Cleanup(restore)
	p := pair.New(t, pair.Options{Binary: binary(t), PrimaryStore: primary, MirrorStore: mirror})
	p.MustBeInSync(t, time.Minute)
	restore()
	load := start(t, primary, 4, 0)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var last pair.Status
	must(t, p.Primary.Watch(ctx, func(s pair.Status) bool {
		last = s
		return s.Store.Watch.Overflows < 3
	}))
	load.finish(t, p, 2*time.Minute)
	if last.Store.Watch.Overflows < 3 {
		t.Errorf("the queue has overflowed %d times only: nothing was shown", last.Store.Watch.Overflows)
	}
}

// TestTooFewWatches lets the primary have watches for some of its directories
// only: it says so, and loses nothing.
func TestTooFewWatches(t *testing.T) {
	primary, mirror := stores(t)
	if _, err := tree.Generate(t.Context(), primary, tree.Spec{Messages: 200, Users: 4, MeanSize: 2000}); err != nil {
		t.Fatal(err)
	}
	p := pair.New(t, pair.Options{
		Binary: binary(t), PrimaryStore: primary, MirrorStore: mirror, Unseen: 15 * time.Second,
		// A user namespace has a limit of its own, and nobody else notices.
		Wrap: []string{"unshare", "--user", "--map-root-user", "sh", "-c",
			`echo 20 > /proc/sys/user/max_inotify_watches && exec "$@"`, "sh"},
	})
	load := start(t, primary, 2, 50)
	after(t, 3*time.Second)
	s, err := p.Primary.Status(t.Context())
	must(t, err)
	if s.Store.Watch.Complete {
		t.Errorf("the primary says that every directory is watched: %s", s.Document)
	}
	load.finish(t, p, 2*time.Minute)
}

// TestManyWhileAway delivers 50,000 messages while the mirror is away.
func TestManyWhileAway(t *testing.T) {
	messages := 50_000
	if testing.Short() {
		messages = 2_000
	}
	primary, mirror := stores(t)
	p := pair.New(t, pair.Options{Binary: plainBinary(t), PrimaryStore: primary, MirrorStore: mirror})
	p.MustBeInSync(t, time.Minute)
	must(t, p.Mirror.Kill())
	const users = 20
	delivered := &traffic{stop: func() {}}
	for i := range users {
		g, err := load.New(load.Options{Store: primary, User: fmt.Sprintf("example.org/away%d", i), Seed: uint64(i + 100), MeanSize: 1000})
		must(t, err)
		delivered.generators = append(delivered.generators, g)
	}
	for i := range messages {
		must(t, delivered.generators[i%users].Deliver())
	}
	must(t, p.Mirror.Start())
	delivered.finish(t, p, 5*time.Minute)
}

// TestMessageLargerThanMemory sends a message of 2 GiB between daemons that
// have 256 MiB.
func TestMessageLargerThanMemory(t *testing.T) {
	const limit = 256 << 20
	size := int64(2 << 30)
	if testing.Short() {
		size = 512 << 20
	}
	path, err := built.plain()
	must(t, err)
	primary, mirror := stores(t)
	p := pair.New(t, pair.Options{Binary: path, PrimaryStore: primary, MirrorStore: mirror, Wrap: limitMemory(t, limit)})
	p.MustBeInSync(t, time.Minute)
	box := filepath.Join(primary, "example.org/big/Maildir")
	for _, sub := range []string{"cur", "new", "tmp"} {
		must(t, os.MkdirAll(filepath.Join(box, sub), 0o700))
	}
	writeRandom(t, filepath.Join(box, "tmp/1.M1P1.mx1"), size)
	must(t, os.Rename(filepath.Join(box, "tmp/1.M1P1.mx1"), filepath.Join(box, "new/1.M1P1.mx1")))
	// A flag change of it must not wait for the content to be sent twice.
	p.MustBeEqual(t, 4*time.Minute)
	for _, n := range []*pair.Node{p.Primary, p.Mirror} {
		peak, err := n.PeakMemory()
		must(t, err)
		t.Logf("%s had %d MiB resident at most", n.Name, peak>>20)
		if peak > limit {
			t.Errorf("%s had %d MiB resident, more than %d", n.Name, peak>>20, limit>>20)
		}
	}
}

// limitMemory returns the command that runs a daemon in a cgroup of its own
// that has so much memory. Where cgroups of version 1 are not to be had, the
// peak that is checked afterwards must do.
func limitMemory(t *testing.T, limit int) []string {
	t.Helper()
	const root = "/sys/fs/cgroup/memory"
	group := filepath.Join(root, fmt.Sprintf("mailtwin-test-%d", os.Getpid()))
	if os.Mkdir(group, 0o755) != nil {
		return nil
	}
	t.Cleanup(func() {
		if err := os.Remove(group); err != nil {
			t.Logf("the cgroup %q is left behind: %v", group, err)
		}
	})
	// Both daemons are in the group, so it has the memory of both.
	must(t, os.WriteFile(filepath.Join(group, "memory.limit_in_bytes"), []byte(strconv.Itoa(2*limit)), 0o644))
	return []string{"sh", "-c", `echo $$ > "$0/cgroup.procs" && exec "$@"`, group}
}

// writeRandom writes a file that cannot be compressed, in lines as mail has
// them.
func writeRandom(t *testing.T, path string, size int64) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	_, err = io.WriteString(w, "From: a@example.org\nSubject: large\n\n")
	must(t, err)
	_, err = io.CopyN(w, rand.NewChaCha8([32]byte([]byte(strings.Repeat("x", 32)))), size)
	must(t, err)
	must(t, w.Flush())
	must(t, f.Close())
}
