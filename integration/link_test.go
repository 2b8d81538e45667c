package integration

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/integration/pair"
	"github.com/mailtwin/mailtwin/integration/tree"
)

// TestBadLink cuts, breaks, stalls, throttles and corrupts the link at random
// under load.
func TestBadLink(t *testing.T) {
	primary, mirror := stores(t)
	p := pair.New(t, pair.Options{Binary: binary(t), PrimaryStore: primary, MirrorStore: mirror})
	load := start(t, primary, 3, 50)
	rng := rand.New(rand.NewPCG(1, 2))
	evils := []func(){
		p.Link.Cut,
		p.Link.Break,
		p.Link.Stall,
		func() { p.Link.Throttle(20_000) },
		func() { p.Link.Corrupt(50_000) },
		func() { p.Link.Corrupt(500) },
	}
	for i := range 36 {
		evils[i%len(evils)]()
		after(t, time.Duration(100+rng.IntN(700))*time.Millisecond)
		p.Link.Mend()
		after(t, time.Duration(rng.IntN(700))*time.Millisecond)
	}
	load.finish(t, p, time.Minute)
}

// TestCorruptedFirstSync corrupts the link while a first sync runs, again and
// again: it goes on from where it was, and ends equal.
func TestCorruptedFirstSync(t *testing.T) {
	primary, mirror := stores(t)
	if _, err := tree.Generate(t.Context(), primary, tree.Spec{Messages: 2000, Users: 20, MeanSize: 20_000}); err != nil {
		t.Fatal(err)
	}
	p := pair.New(t, pair.Options{Binary: binary(t), PrimaryStore: primary, MirrorStore: mirror})
	for range 12 {
		p.Link.Corrupt(2_000_000)
		after(t, 300*time.Millisecond)
		p.Link.Break()
		p.Link.Mend()
		after(t, 200*time.Millisecond)
	}
	p.MustBeEqual(t, 2*time.Minute)
}

// TestSilentPeer stalls the link: within 10 seconds neither node says that it
// is in sync, or knows how the other one is.
func TestSilentPeer(t *testing.T) {
	primary, mirror := stores(t)
	p := pair.New(t, pair.Options{Binary: binary(t), PrimaryStore: primary, MirrorStore: mirror})
	p.MustBeInSync(t, time.Minute)
	p.Link.Stall()
	eventually(t, 10*time.Second, "both nodes call a silent peer unknown", func() bool {
		s, err := p.Primary.Status(t.Context())
		if err != nil || len(s.Mirrors) != 1 || s.Mirrors[0].State != "unknown" || s.InSync() {
			return false
		}
		s, err = p.Mirror.Status(t.Context())
		return err == nil && s.State == "unknown"
	})
	must(t, os.WriteFile(filepath.Join(primary, "later"), []byte("mail\n"), 0o600))
	p.Link.Mend()
	p.MustBeEqual(t, time.Minute)
}

// TestDeadPeer kills the mirror: within 10 seconds the primary does not say
// that it is in sync.
func TestDeadPeer(t *testing.T) {
	primary, mirror := stores(t)
	p := pair.New(t, pair.Options{Binary: binary(t), PrimaryStore: primary, MirrorStore: mirror})
	p.MustBeInSync(t, time.Minute)
	must(t, p.Mirror.Kill())
	eventually(t, 10*time.Second, "the primary calls a dead mirror unknown", func() bool {
		s, err := p.Primary.Status(t.Context())
		return err == nil && len(s.Mirrors) == 1 && s.Mirrors[0].State == "unknown"
	})
	must(t, p.Mirror.Start())
	p.MustBeEqual(t, time.Minute)
	must(t, p.Primary.Kill())
	eventually(t, 10*time.Second, "the mirror of a dead primary calls itself unknown", func() bool {
		s, err := p.Mirror.Status(t.Context())
		return err == nil && s.State == "unknown"
	})
	must(t, p.Primary.Start())
	p.MustBeEqual(t, time.Minute)
}

// TestSlowLink makes a first sync over a slow link: new mail does not wait for
// what the kernel and the primary have taken for it before.
func TestSlowLink(t *testing.T) {
	// Bytes of other mail that may come before it, which is three seconds. Without
	// bounds it would be as many megabytes as the kernel's buffers hold.
	const most = 3 << 20
	primary, mirror := stores(t)
	if _, err := tree.Generate(t.Context(), primary, tree.Spec{Messages: 600, Users: 1, MeanSize: 120_000}); err != nil {
		t.Fatal(err)
	}
	p := pair.New(t, pair.Options{Binary: binary(t), PrimaryStore: primary, MirrorStore: mirror})
	p.Link.Throttle(1 << 20)
	p.Link.Break() // and the next connection is slow from the beginning
	arrived := func() int64 { _, n := p.Link.Bytes(); return n }
	for i := range 3 {
		before := arrived()
		eventually(t, time.Minute, "the first sync goes on", func() bool { return arrived() > before+2<<20 })
		before = arrived()
		name := filepath.Join("ann", "new", fmt.Sprintf("180000000%d.M1P1.mx", i))
		must(t, os.MkdirAll(filepath.Join(primary, "ann", "new"), 0o700))
		must(t, os.WriteFile(filepath.Join(primary, name), []byte("Subject: new\n\nmail\n"), 0o600))
		eventually(t, time.Minute, "the new mail is on the mirror", func() bool {
			_, err := os.Stat(filepath.Join(mirror, name))
			return err == nil
		})
		if n := arrived() - before; n > most {
			t.Errorf("%d bytes came before new mail, want %d at most", n, most)
		}
	}
	if s, err := p.Primary.Status(t.Context()); err != nil || s.InSync() {
		t.Fatalf("the first sync ended before the mail came (%v): the test shows nothing", err)
	}
	p.Link.Mend()
	p.MustBeEqual(t, time.Minute)
}
