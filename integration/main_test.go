package integration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/integration/dovecot"
	"github.com/mailtwin/mailtwin/integration/load"
	"github.com/mailtwin/mailtwin/integration/pair"
)

// programs are the binaries that the tests run, built once.
type programs struct {
	dir   string
	build func() (string, error) // as the tests are built, with the race detector or without
	plain func() (string, error) // without it: where memory is measured
}

var built programs

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "mailtwin")
	if err != nil {
		panic(err) // nothing can be tested then
	}
	defer func() { _ = os.RemoveAll(dir) }() // a directory of the tests' own is left behind at worst
	builder := func(name string, race bool) func() (string, error) {
		return sync.OnceValues(func() (string, error) {
			sub := filepath.Join(dir, name)
			if err := os.Mkdir(sub, 0o755); err != nil {
				return "", err
			}
			return pair.Build(context.Background(), sub, race)
		})
	}
	built = programs{dir: dir, build: builder("same", raced), plain: builder("plain", false)}
	m.Run()
}

// binary returns the mailtwin command to test.
func binary(t *testing.T) string {
	t.Helper()
	path, err := built.build()
	must(t, err)
	return path
}

// plainBinary returns the command without the race detector, which makes a
// daemon ten times slower: where many restarts or many messages take the time.
func plainBinary(t *testing.T) string {
	t.Helper()
	path, err := built.plain()
	must(t, err)
	return path
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// stores returns the paths of a primary's store, which is there and empty,
// and of a mirror's, which is not there.
func stores(t *testing.T) (primary, mirror string) {
	t.Helper()
	dir := dovecot.StoreDir(t)
	primary = filepath.Join(dir, "primary")
	must(t, os.Mkdir(primary, 0o755))
	return primary, filepath.Join(dir, "mirror")
}

// traffic is load on a store that goes on beside a test.
type traffic struct {
	generators []*load.Generator
	stop       context.CancelFunc
	running    sync.WaitGroup
	mu         sync.Mutex
	err        error
}

// start makes that many users whose mail changes, each so many times a
// second.
func start(t *testing.T, store string, users, perSecond int) *traffic {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	tr := &traffic{stop: cancel}
	t.Cleanup(func() {
		cancel()
		tr.running.Wait()
	})
	for i := range users {
		g, err := load.New(load.Options{Store: store, User: fmt.Sprintf("example.org/load%d", i), Seed: uint64(i + 1)})
		must(t, err)
		tr.generators = append(tr.generators, g)
		tr.running.Go(func() {
			if err := g.Run(ctx, perSecond); err != nil {
				tr.mu.Lock()
				defer tr.mu.Unlock()
				tr.err = err
			}
		})
	}
	return tr
}

// end stops the traffic and returns how many changes there were.
func (tr *traffic) end(t *testing.T) int {
	t.Helper()
	tr.stop()
	tr.running.Wait()
	must(t, tr.err)
	total := 0
	for _, g := range tr.generators {
		total += g.Counts().Total()
	}
	return total
}

// finish ends the traffic, waits until the pair is equal, and checks on the
// mirror that what was done is what is there.
func (tr *traffic) finish(t *testing.T, p *pair.Pair, within time.Duration) {
	t.Helper()
	t.Logf("%d changes", tr.end(t))
	p.MustBeEqual(t, within)
	tr.check(t, p.Mirror.Store)
}

func (tr *traffic) check(t *testing.T, store string) {
	t.Helper()
	for _, g := range tr.generators {
		found, err := g.Check(store, 10)
		must(t, err)
		for _, line := range found {
			t.Error(line)
		}
	}
}

// after waits for a while of the test's script, which is part of what is
// tested: there is no event to wait for.
func after(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}

// eventually polls until f is true.
func eventually(t *testing.T, within time.Duration, what string, f func() bool) {
	t.Helper()
	timeout := time.NewTimer(within)
	defer timeout.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-timeout.C:
			t.Fatalf("%s: not within %v", what, within)
		case <-tick.C:
		}
	}
}
