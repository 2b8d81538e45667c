package pair

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/integration/compare"
)

// New makes a pair for a test, which ends with the test; the logs of both
// daemons are shown when the test failed. A Dir or a MirrorStore that is not
// given is a directory of the test's own.
func New(t testing.TB, opt Options) *Pair {
	t.Helper()
	if opt.Dir == "" {
		opt.Dir = t.TempDir()
	}
	if opt.MirrorStore == "" {
		opt.MirrorStore = filepath.Join(t.TempDir(), "mirror")
	}
	p, err := Start(t.Context(), opt)
	if p != nil {
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("%s\nlog of the primary:\n%s\nlog of the mirror:\n%s", p.describe(), p.Primary.Log(), p.Mirror.Log())
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// MustBeEqual waits until the pair is in sync, at most that long, and then
// compares both stores in everything. A pair that says it is in sync has a
// moment more to be so, for no watcher can know what the kernel has not told
// it yet; a difference that stays is an error.
func (p *Pair) MustBeEqual(t testing.TB, within time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	if err := p.WaitInSync(ctx); err != nil {
		t.Fatal(err)
	}
	const moment = 2 * time.Second
	claimed := time.Now()
	for {
		began := time.Now()
		result, err := compare.Trees(t.Context(), p.Primary.Store, p.Mirror.Store, compare.Options{})
		if err == nil && result.Equal() {
			if late := began.Sub(claimed); late > 0 {
				t.Logf("equal %v after both nodes said so: %s", late.Round(time.Millisecond), result)
			}
			break
		}
		if began.Sub(claimed) > moment {
			t.Fatalf("both nodes say that they are in sync, but %v %v", result, err)
		}
	}
	doubled, err := compare.Duplicates(p.Mirror.Store, compare.DefaultLimit)
	if err != nil || len(doubled) != 0 {
		t.Fatalf("doubled on the mirror: %q, %v", doubled, err)
	}
}
