package mirror

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/content"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// mount mounts a small file system, or another directory, at dir.
func mount(t *testing.T, source, dir, fstype string, flags uintptr, options string) {
	t.Helper()
	if err := unix.Mount(source, dir, fstype, flags, options); err != nil {
		if os.Getuid() != 0 {
			t.Skipf("only root can mount: %v", err)
		}
		t.Fatal(err)
	}
	if flags&unix.MS_REMOUNT == 0 {
		t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	}
}

// While the store takes nothing, nothing is acknowledged, a person is told, and
// when it takes something again all goes on.
func TestStoreTakesNothing(t *testing.T) {
	large := text(strings.Repeat("0123456789abcdef", 1<<17))
	for _, tt := range []struct {
		name          string
		broken, whole string // options of the mount
		flags         uintptr
		want          error
		entry         entry
	}{
		{"full", "size=1m", "size=16m", 0, syscall.ENOSPC, put("d/large", large)},
		{"no inodes", "size=16m,nr_inodes=8", "size=16m,nr_inodes=1000", 0, syscall.ENOSPC, put("a/b/c/d/e/f/g", large)},
		{"read-only", "size=16m", "size=16m", unix.MS_RDONLY, syscall.EROFS, put("d/large", large)},
		{"read-only, a removal", "size=16m", "size=16m", unix.MS_RDONLY, syscall.EROFS, does(journal.KindRemove, "d/small", large)},
		{"read-only, a rename", "size=16m", "size=16m", unix.MS_RDONLY, syscall.EROFS, named(journal.KindMove, "d/small", "d/other")},
	} {
		t.Run(strings.ReplaceAll(tt.name, " ", "_"), func(t *testing.T) {
			dir := t.TempDir()
			mount(t, "tmpfs", dir, "tmpfs", 0, "size=16m")
			f := newFixtureIn(t, dir)
			p := f.whole()
			p.journal(put("d/small", text("small")))
			p.untilAcked(1)
			mount(t, "tmpfs", dir, "tmpfs", unix.MS_REMOUNT|tt.flags, tt.broken)
			p.journal(tt.entry)
			if err := p.end(); !errors.Is(err, tt.want) {
				t.Fatalf("the stream ended with: %v", err)
			}
			if s := f.m.Status(); s.Attention == "" || s.Acked != 1 || f.position() != at(1, 1) {
				t.Errorf("attention %q, acknowledged %d, position %v", s.Attention, s.Acked, f.position())
			}
			if tt.flags != 0 {
				p = f.connect()
				if err := p.end(); !errors.Is(err, tt.want) {
					t.Errorf("the next stream ended with: %v", err)
				}
			}
			mount(t, "tmpfs", dir, "tmpfs", unix.MS_REMOUNT, tt.whole)
			p = f.connect()
			p.welcome(p.hello.Position, "")
			if f.m.Status().Attention == "" {
				t.Error("a connection alone proves nothing")
			}
			p.journal(tt.entry)
			p.untilAcked(2)
			if s := f.m.Status(); s.Attention != "" || s.Totals.Missing > 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// What would be written beside an unmounted store would be lost when it is
// mounted again.
func TestStoreIsNotMounted(t *testing.T) {
	dir, disk := t.TempDir(), t.TempDir()
	mount(t, disk, dir, "", unix.MS_BIND, "")
	f := newFixtureIn(t, dir)
	p := f.whole()
	p.journal(put("d/a", text("a")))
	p.untilAcked(1)
	p.hangUp()
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	p = f.connect()
	if err := p.end(); !errors.Is(err, errOtherStore) {
		t.Errorf("the stream ended with: %v", err)
	}
	if names, _ := os.ReadDir(dir); len(names) > 0 || f.m.Status().Attention == "" {
		t.Errorf("in the empty directory: %v; attention %q", names, f.m.Status().Attention)
	}
	mount(t, disk, dir, "", unix.MS_BIND, "")
	p = f.connect()
	p.welcome(p.hello.Position, "")
	p.journal(put("d/b", text("b")))
	p.untilAcked(2)
	f.holds(map[string]file{"d/a": text("a"), "d/b": text("b")})
}

// A place within a batch is kept too: what was applied is not applied again.
func TestGoesOnWithinABatch(t *testing.T) {
	for _, same := range []bool{true, false} {
		f := newFixture(t)
		p := f.whole()
		p.journal(put("keep", text("kept")))
		p.untilAcked(1)
		p.hangUp()
		err := f.m.cfg.Catalog.UpdateDurably(func(tx *catalog.Tx) error {
			return writeProgress(tx, progressMeta{Epoch: 1, Applied: 2, Open: true})
		})
		if err != nil {
			t.Fatal(err)
		}
		p = f.connect()
		if !same {
			p.epoch = 2 // another history may have another entry 2
		}
		p.welcome(p.hello.Position, "")
		if !same {
			if err := p.end(); err == nil {
				t.Error("the stream goes on")
			}
			if p = f.connect(); p.hello.Whole {
				t.Error("no comparison")
			}
			p.epoch = 2
			p.welcome(at(2, 1), "compare")
			p.until("comparing", func() bool { return len(p.compares) > 0 })
			p.serve(map[string]file{"z": text("z")}, 10)
			f.holds(map[string]file{"z": text("z")})
			continue
		}
		p.journal(does(journal.KindRemove, "keep", file{}), put("z", text("z")))
		p.untilAcked(3)
		f.holds(map[string]file{"keep": text("kept"), "z": text("z")})
	}
}

// A content that refers to a chunk which the mirror has lost is asked for
// without references.
func TestLostChunk(t *testing.T) {
	f := newFixture(t)
	p := f.whole()
	var data strings.Builder
	for i := range 10 << 20 / 16 {
		_, _ = data.WriteString(string([]byte{byte(i), byte(i >> 8), byte(i >> 16)}) + "0123456789abc")
	}
	big := text(data.String())
	p.journal(put("d/big", big))
	p.journal(does(journal.KindRemove, "d/big", big))
	p.untilAcked(2)
	first := text(big.data[:64<<10])
	run := func(number uint64) *pb.Batch {
		return &pb.Batch{Contents: []*pb.Content{{
			Transfer: number, End: wire.ContentEndMessage(wire.ContentEnd{Outcome: wire.OK, Facts: first.facts()}),
			Pieces: []*pb.Piece{wire.Piece(content.Piece{Run: content.Run{First: 0, Count: 1}})},
		}}}
	}
	e := without("d/first", first, wire.OK)
	e.Transfer = wire.PrimaryTransfer | 3
	b := p.batch(e)
	b.Contents = run(e.Transfer).GetContents()
	p.send(asBatch(b))
	p.until("asked for plain", func() bool { return len(p.fetches) == 1 && p.fetches[0].Plain })
	if p.acked != 2 {
		t.Errorf("acknowledged %d", p.acked)
	}
	// An answer may do the same.
	number := p.fetches[0].Transfer
	p.fetches = nil
	p.send(asBatch(run(number)))
	p.brings("d/first", first)
	p.untilAcked(3)
	f.holds(map[string]file{"d/first": first})
}

// A large content goes to the disk as it comes.
func TestLargeContentInBoundedMemory(t *testing.T) {
	const size, chunk = 64 << 20, 128 << 10
	f := newFixture(t)
	p := f.whole()
	piece := content.Piece{Raw: []byte(strings.Repeat("m", chunk)), Unnumbered: true}
	large := text(strings.Repeat("m", size))
	facts := large.facts()
	large.data = ""
	number := uint64(wire.PrimaryTransfer | 1)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var most uint64
	for sent := 0; sent < size; sent += chunk {
		p.send(asBatch(&pb.Batch{Contents: []*pb.Content{{Transfer: number, Pieces: []*pb.Piece{wire.Piece(piece)}}}}))
		if sent%(8<<20) == 0 {
			runtime.GC() // what is not needed any more is no use of memory
			runtime.ReadMemStats(&after)
			most = max(most, after.HeapAlloc)
		}
	}
	e := without("d/large", large, wire.OK)
	e.Facts, e.Transfer = facts, number
	b := p.batch(e)
	b.Contents = []*pb.Content{{Transfer: number, End: wire.ContentEndMessage(wire.ContentEnd{Outcome: wire.OK, Facts: facts})}}
	p.send(asBatch(b))
	p.untilAcked(1)
	if info, err := os.Stat(filepath.Join(f.store, "d/large")); err != nil || info.Size() != size {
		t.Errorf("%v, %v", info, err)
	}
	if grown := int64(most) - int64(before.HeapAlloc); grown > 24<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
}

// clock is a clock that a test sets forward.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

func TestSilence(t *testing.T) {
	f := newFixture(t)
	var c clock
	f.m.cfg.Now = c.now
	p := f.whole()
	p.journal(put("a", text("a")))
	p.untilAcked(1)
	c.ahead.Store(int64(time.Minute))
	if err := p.end(); !errors.Is(err, errSilent) {
		t.Errorf("the stream ended with: %v", err)
	}
}

// TestWordsThatComeLate: how old a heartbeat can be is known by what it answers.
func TestWordsThatComeLate(t *testing.T) {
	f := newFixture(t)
	var c clock
	f.m.cfg.Now = c.now
	began := c.now()
	p := f.whole()
	if said := f.m.Status().Said; !said.IsZero() {
		t.Errorf("before the first beat it was said at %v", said)
	}
	c.ahead.Store(int64(3 * time.Second))
	p.send(wire.HeartbeatMessage(wire.Heartbeat{Head: 1, State: "watching"}))
	p.until("told", func() bool { return f.m.Status().Beat.Head == 1 })
	if said := f.m.Status().Said; said.Before(began) || said.After(began.Add(3*time.Second)) {
		t.Errorf("what answers nothing was said at %v; the stream began at %v", said, began)
	}
	p.send(wire.HeartbeatMessage(wire.Heartbeat{Head: 2, State: "watching", Heard: 3 * time.Second}))
	p.until("told again", func() bool { return f.m.Status().Beat.Head == 2 })
	if said := f.m.Status().Said; said.Before(began.Add(3 * time.Second)) {
		t.Errorf("what answers a report of 3s after the beginning, %v, was said at %v", began, said)
	}
}

// TestSlowMessageIsNoSilence: while bytes come, the primary is there.
func TestSlowMessageIsNoSilence(t *testing.T) {
	f := newFixture(t)
	var c clock
	f.m.cfg.Now, f.m.cfg.Arrived = c.now, c.now
	conn := &connection{m: f.m, lastHeard: c.now(), listening: c.now()}
	c.ahead.Store(int64(time.Hour))
	ctx, cancel := context.WithTimeout(t.Context(), 3*wire.HeartbeatInterval)
	defer cancel()
	if err := conn.watchSilence(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ended with: %v", err)
	}
}

// A mirror that does not listen, because its disk is slow, has heard nothing
// for that reason.
func TestSlowDiskIsNoSilence(t *testing.T) {
	f := newFixture(t)
	var c clock
	f.m.cfg.Now = c.now
	conn := &connection{m: f.m, lastHeard: c.now()}
	c.ahead.Store(int64(time.Hour))
	ctx, cancel := context.WithTimeout(t.Context(), 3*wire.HeartbeatInterval)
	defer cancel()
	if err := conn.watchSilence(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ended with: %v", err)
	}
}

// Debts beyond those that are known by name are found in the catalog.
func TestManyDebts(t *testing.T) {
	var d debts
	d.begin(0)
	for i := range maxDebts + 10 {
		d.owe(journal.Path(strings.Repeat("x", 1+i%200)).Join(strings.Repeat("y", 1+i/200)), journal.Sequence(i+5))
	}
	if len(d.files) != maxDebts || d.oldest() != 5 || d.next != maxDebts+5 {
		t.Errorf("%d by name, oldest %d, next %d", len(d.files), d.oldest(), d.next)
	}
	d.files = map[journal.Path]journal.Sequence{"d/a": 7, "d/e/b": 9, "f": 8}
	if d.next = 0; d.oldest() != 7 {
		t.Errorf("oldest %d", d.oldest())
	}
	if moved := d.move("d", "g"); len(moved) != 2 || d.files["g/e/b"] != 9 {
		t.Errorf("%v, %v", moved, d.files)
	}
	if d.forget("g"); len(d.files) != 1 || d.oldest() != 8 {
		t.Errorf("%v", d.files)
	}
}

// More missing files than are asked for at one time are all asked for.
func TestRoundAsksForAllMissing(t *testing.T) {
	f := newFixture(t)
	p := f.whole()
	const n = 3 * missingPage
	var entries []entry
	want := make(map[string]file)
	for i := range n {
		name := "d/" + string([]byte{'a' + byte(i/26/26), 'a' + byte(i/26%26), 'a' + byte(i%26)})
		entries = append(entries, without(name, text(name), wire.Unreadable))
		want[name] = text(name)
	}
	p.journal(entries...)
	p.untilAcked(n)
	p.hangUp()
	p = f.connect()
	p.welcome(p.hello.Position, "")
	for f.totals().Missing > 0 {
		p.until("asked", func() bool { return len(p.fetches) > 0 || f.totals().Missing == 0 })
		if len(p.fetches) > 0 {
			path := string(p.fetches[0].Path)
			p.brings(path, want[path])
		}
	}
	f.holds(want)
}
