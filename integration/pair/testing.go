package pair

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/integration/compare"
)

// New makes a pair for a test, which ends with the test; the logs of both
// daemons are shown when the test failed, or the stores were once found to differ
// though every change was sent. A Dir or a MirrorStore that is not
// given is a directory of the test's own. The pace, where a test does not set it, is
// no gentler than the machine: on one that is busy with other tests the governor
// would rightly step back, and is tested elsewhere.
func New(t testing.TB, opt Options) *Pair {
	t.Helper()
	if opt.Dir == "" {
		opt.Dir = shortDir(t)
	}
	if opt.MirrorStore == "" {
		opt.MirrorStore = filepath.Join(t.TempDir(), "mirror")
	}
	if opt.Profile == "" {
		opt.Profile = Unbound
	}
	p, err := Start(t.Context(), opt)
	if p != nil {
		t.Cleanup(func() {
			differed := bytes.Contains(p.Mirror.Log(), []byte("the digests of the stores differ"))
			if t.Failed() || differed { // it is mended, but ought not to have happened
				t.Logf("log of the primary:\n%s\nlog of the mirror:\n%s", p.Primary.Log(), p.Mirror.Log())
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

// MustBeInSync waits until the pair is in sync, at most that long.
func (p *Pair) MustBeInSync(t testing.TB, within time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	err := p.WaitInSync(ctx)
	if err == nil {
		return
	}
	// Whether it is the stores or only the word that fails is worth to know.
	result, compareErr := compare.Trees(t.Context(), p.Primary.Store, p.Mirror.Store, compare.Options{})
	t.Fatalf("%v; the stores: %v %v", err, result, compareErr)
}

// tellLinks logs which names are one file on the primary and not on the
// mirror. That is no error here: under load a name may become a file of its
// own, equal in all else, which the README says. Where nothing races, the
// tests of the engine demand the links.
func (p *Pair) tellLinks(t testing.TB) {
	t.Helper()
	result, err := compare.Trees(t.Context(), p.Primary.Store, p.Mirror.Store, compare.Options{})
	if err != nil || !result.Equal() {
		t.Logf("hard links: %v %v", result, err)
	}
}

// MustBeEqual waits until the pair is in sync, at most that long, and then
// compares both stores in everything but hard links. A pair that says it is in sync has a
// moment more to be so, for no watcher can know what the kernel has not told
// it yet; a difference that stays is an error.
func (p *Pair) MustBeEqual(t testing.TB, within time.Duration) {
	t.Helper()
	p.MustBeInSync(t, within)
	claimed := time.Now()
	for {
		began := time.Now()
		result, err := compare.Trees(t.Context(), p.Primary.Store, p.Mirror.Store, compare.Options{IgnoreLinks: true})
		if err == nil && result.Equal() {
			t.Logf("%v after both nodes said so %s", began.Sub(claimed).Round(time.Millisecond), result)
			p.tellLinks(t)
			break
		}
		if began.Sub(claimed) > p.unseen {
			t.Fatalf("both nodes say that they are in sync, but %v %v", result, err)
		}
	}
	doubled, err := compare.Duplicates(p.Mirror.Store, compare.DefaultLimit)
	if err != nil || len(doubled) != 0 {
		t.Fatalf("doubled on the mirror: %q, %v", doubled, err)
	}
}

// shortDir is a temporary directory whose path leaves room for that of a Unix
// socket, which t.TempDir with its long names does not.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
