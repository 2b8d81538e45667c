package engine_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/mailtwin/mailtwin/integration/compare"
	"github.com/mailtwin/mailtwin/integration/faultfs"
	"github.com/mailtwin/mailtwin/integration/port"
	"github.com/mailtwin/mailtwin/replicator"
	"github.com/mailtwin/mailtwin/replicator/config"
	"github.com/mailtwin/mailtwin/replicator/governor"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/operator"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// systemClock is the real time.
type systemClock struct{}

func (systemClock) Now() time.Time                         { return time.Now() }
func (systemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// testPair is a pair in one process.
type testPair struct {
	t                       testing.TB
	primary, mirror         config.Config
	stopPrimary, stopMirror func()
	clock                   replicator.Clock // of nodes that are started from now on
	log                     logged
}

// logged is what the nodes have said.
type logged struct {
	mu   sync.Mutex
	said strings.Builder
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.said.Write(b)
}

func (l *logged) has(words string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.said.String(), words)
}

func newPair(t testing.TB) *testPair { return newPairAfter(t, func(*testPair) {}) }

// newPairAfter calls prepare before the primary begins.
func newPairAfter(t testing.TB, prepare func(*testPair)) *testPair {
	t.Helper()
	dir := t.TempDir()
	addresses, err := port.Free(2)
	if err != nil {
		t.Fatal(err)
	}
	address := addresses[0]
	p := &testPair{t: t, clock: systemClock{}}
	make := func(name, listen string) config.Config {
		cfg := config.Default()
		cfg.StateDir = filepath.Join(dir, name+"-state")
		cfg.Store.Path = filepath.Join(dir, name+"-store")
		cfg.Node.Name = name
		cfg.Node.Listen = listen
		cfg.Pace.Profile = governor.Evacuate // no other load on the machine holds it up
		for _, d := range []string{cfg.StateDir, cfg.Store.Path} {
			if err := os.MkdirAll(d, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		return cfg
	}
	p.primary, p.mirror = make("mx1", addresses[0]), make("mx2", addresses[1])
	p.mirror.Node.Peer = address
	id, err := identity.Create(p.primary.StateDir, "pair-test", "mx1", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := id.Invite(time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	p.save(p.primary, identity.Primary, 1)
	prepare(p)
	p.start()
	if _, _, err := identity.Enrol(t.Context(), identity.Enrolment{
		StateDir: p.mirror.StateDir, Address: address, Token: token, Name: "mx2", Listen: addresses[1],
	}, time.Now); err != nil {
		t.Fatal(err)
	}
	p.save(p.mirror, identity.Mirror, 0)
	return p
}

func (p *testPair) save(cfg config.Config, role identity.Role, epoch int) {
	p.t.Helper()
	s := identity.State{Role: role, Pair: "pair-test", Name: cfg.Node.Name}
	if epoch > 0 {
		s.Epoch, s.Leader = 1, cfg.Node.Name
	}
	if err := identity.SaveState(cfg.StateDir, s); err != nil {
		p.t.Fatal(err)
	}
}

// run runs one node until the returned function is called.
func (p *testPair) run(cfg config.Config) func() {
	p.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	ready := make(chan struct{})
	output, clock := io.MultiWriter(p.t.Output(), &p.log), p.clock
	go func() {
		done <- replicator.Run(ctx, cfg, replicator.Options{
			Log:   hclog.New(&hclog.LoggerOptions{Name: cfg.Node.Name, Level: hclog.Info, Output: output}),
			Clock: clock, Ready: func() { close(ready) },
		})
	}()
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			p.t.Errorf("%s ended: %v", cfg.Node.Name, err)
		}
	}
	p.t.Cleanup(stop)
	select {
	case <-ready:
	case err := <-done:
		stopped = true
		p.t.Fatalf("%s did not start: %v", cfg.Node.Name, err)
	case <-time.After(20 * time.Second):
		p.t.Fatalf("%s did not start in time", cfg.Node.Name)
	}
	return stop
}

func (p *testPair) start()       { p.stopPrimary = p.run(p.primary) }
func (p *testPair) startMirror() { p.stopMirror = p.run(p.mirror) }

// inSync waits until the primary says that the mirror has everything.
func (p *testPair) inSync() status.Document {
	p.t.Helper()
	return p.until(p.primary, "in sync", func(d status.Document) bool { return d.State == status.InSync })
}

func (p *testPair) until(cfg config.Config, what string, ok func(status.Document) bool) status.Document {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	client, err := operator.Dial(cfg.StateDir)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	var last status.Document
	err = client.Follow(ctx, 10*time.Millisecond, func(d status.Document, _ []byte) error {
		if last = d; ok(d) {
			return errFound
		}
		return nil
	})
	if err != errFound {
		p.t.Fatalf("not %s: %v; state %s: %s\n%+v", what, err, last.State, last.Detail, last)
	}
	return last
}

var errFound = fmt.Errorf("found")

// equal waits until both stores are equal: a node that is in sync may not have
// been told of the last change yet.
func (p *testPair) equal() {
	p.t.Helper()
	late := time.After(10 * time.Second)
	for {
		result, err := compare.Trees(p.t.Context(), p.primary.Store.Path, p.mirror.Store.Path, compare.Options{})
		if err != nil {
			p.t.Fatal(err)
		}
		if result.Equal() {
			return
		}
		select {
		case <-late:
			p.t.Fatalf("the stores differ: %v", result)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (p *testPair) write(path, content string) {
	p.t.Helper()
	p.writeTo(p.primary.Store.Path, path, content)
}

// writeTo puts a file into a store, all of it at once.
func (p *testPair) writeTo(store, path, content string) {
	p.t.Helper()
	full := filepath.Join(store, path)
	if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
		p.t.Fatal(err)
	}
	temp := filepath.Join(store, "..mailtwin-test")
	if err := os.WriteFile(temp, []byte(content), 0o600); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Rename(temp, full); err != nil {
		p.t.Fatal(err)
	}
}

func TestPairFirstSyncAndLive(t *testing.T) {
	p := newPair(t)
	for i := range 200 {
		p.write(fmt.Sprintf("d/u/Maildir/cur/%d.M1P1.host,S=10:2,S", i), fmt.Sprintf("Subject: %d\n\nbody %d\n", i, i))
	}
	store := p.primary.Store.Path
	mark := func(i int) { // an extended attribute, as an access control list is
		t.Helper()
		name := filepath.Join(store, fmt.Sprintf("d/u/Maildir/cur/%d.M1P1.host,S=10:2,S", i))
		if err := unix.Setxattr(name, "user.mark", []byte{byte(i)}, 0); err != nil {
			t.Fatal(err)
		}
	}
	mark(198)
	p.startMirror()
	p.inSync()
	p.equal()
	mark(199)
	p.write("d/u/Maildir/new/new.M1P1.host", "Subject: live\n\nlive\n")
	p.until(p.mirror, "following", func(status.Document) bool { return p.mirrorHas("d/u/Maildir/new/new.M1P1.host") })
	for i := range 50 {
		name := filepath.Join(store, fmt.Sprintf("d/u/Maildir/cur/%d.M1P1.host,S=10:2,S", i))
		if err := os.Rename(name, name+"T"); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(filepath.Join(store, "d/u/Maildir"), filepath.Join(store, "d/u/Mail")); err != nil {
		t.Fatal(err)
	}
	p.inSync()
	p.equal()
	p.stopMirror()
	p.write("d/v/Maildir/new/while-away", "Subject: away\n\naway\n")
	p.stopPrimary()
	p.write("d/v/Maildir/new/while-down", "Subject: down\n\ndown\n")
	p.start()
	p.startMirror()
	p.inSync()
	p.equal()
}

// TestMirrorStoreThatIsNotEmpty: an old copy is used, and what the primary
// does not have goes.
func TestMirrorStoreThatIsNotEmpty(t *testing.T) {
	p := newPair(t)
	for i := range 100 {
		name, content := fmt.Sprintf("d/u/Maildir/cur/%d.M1P1.host:2,", i), fmt.Sprintf("Subject: %d\n\nbody\n", i)
		p.write(name, content)
		old := filepath.Join(p.mirror.Store.Path, name)
		if err := os.MkdirAll(filepath.Dir(old), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(old+"S", []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stale := filepath.Join(p.mirror.Store.Path, "d/u/Maildir/cur/expunged.M1P1.host:2,")
	if err := os.WriteFile(stale, []byte("expunged long ago"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.startMirror()
	p.inSync()
	p.equal()
}

// TestOlderCopyWithBadSectors: of an older copy, two files cannot be read. One is asked
// for; nothing can be put in the place of the one that cannot even be looked at until
// the disk is well.
func TestOlderCopyWithBadSectors(t *testing.T) {
	p := newPair(t)
	array, backing := p.failing(&p.mirror)
	p.mirror.Store.RetryInterval = config.Duration(50 * time.Millisecond)
	const unread, unseen = "d/u/Maildir/cur/7.M1P1.host:2,", "d/u/Maildir/cur/8.M1P1.host:2,"
	for i := range 10 {
		name, content := fmt.Sprintf("d/u/Maildir/cur/%d.M1P1.host:2,", i), fmt.Sprintf("Subject: %d\n\nbody\n", i)
		p.write(name, content)
		p.writeTo(backing, name, content)
	}
	array.Fail(faultfs.Read, unread)
	array.Fail(faultfs.Look, unseen)
	p.startMirror()
	p.write("d/u/Maildir/new/live.M1P1.host", "Subject: live\n\nlive\n")
	p.until(p.mirror, "following", func(d status.Document) bool {
		_, err := os.Stat(filepath.Join(backing, "d/u/Maildir/new/live.M1P1.host"))
		return err == nil && d.Store.Missing == 1 && d.State == status.Attention
	})
	array.Heal()
	p.inSync()
	p.equal()
}

// TestInterruptedAdoption: what was read of an older copy is not read again when the
// mirror could not go on for a while.
func TestInterruptedAdoption(t *testing.T) {
	p := newPair(t)
	array, backing := p.failing(&p.mirror)
	const files, size = 1000, 1000
	for i := range files {
		name, content := fmt.Sprintf("d/%d.sieve", i), fmt.Sprintf("Subject: %d\n\n%*d\n", i, size, i)
		p.write(name, content)
		p.writeTo(backing, name, content)
	}
	p.write("d/b/Maildir/cur/1.M1P1.host:2,", "Subject: 1\n\nbody\n")
	p.writeTo(backing, "d/b/Maildir/cur/1.M1P1.host:2,", "Subject: 1\n\nbody\n")
	array.Fail(faultfs.List, "d/b/Maildir/cur") // after what is in d itself
	p.startMirror()
	p.until(p.mirror, "stopped", func(d status.Document) bool { return strings.Contains(d.Detail, "d/b/Maildir/cur") })
	array.Heal()
	p.inSync()
	if read := array.Bytes(); read > files*size*19/10 { // those that were hashed and not in the catalog yet are read twice
		t.Errorf("%d bytes were read of %d", read, files*size)
	}
	p.equal()
}

// TestHardLinks: names of one file are names of one file on the mirror, found
// by the first comparison and live, also after they were renamed.
func TestHardLinks(t *testing.T) {
	p := newPair(t)
	store := p.primary.Store.Path
	link := func(from, to string) {
		t.Helper()
		full := filepath.Join(store, to)
		if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Link(filepath.Join(store, from), full); err != nil {
			t.Fatal(err)
		}
	}
	p.write("a/Maildir/cur/1.M1P1.host:2,S", "Subject: one\n\nbody\n")
	link("a/Maildir/cur/1.M1P1.host:2,S", "b/Maildir/new/1.M1P1.host")
	p.startMirror()
	p.inSync()
	p.equal()
	link("a/Maildir/cur/1.M1P1.host:2,S", "a/Maildir/.Archive/cur/1.M1P1.host:2,S")
	p.write("a/Maildir/new/2.M2P1.host", "Subject: two\n\nbody\n")
	link("a/Maildir/new/2.M2P1.host", "b/Maildir/new/2.M2P1.host")
	p.inSync()
	p.write("b/Maildir/cur/3.M3P1.host:2,", "Subject: three\n\nbody\n")
	if err := os.Rename(filepath.Join(store, "b/Maildir/new/2.M2P1.host"), filepath.Join(store, "b/Maildir/cur/2.M2P1.host:2,S")); err != nil {
		t.Fatal(err)
	}
	p.inSync()
	p.equal()
}
