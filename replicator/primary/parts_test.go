package primary

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

func TestLedger(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	var l ledger
	if b, d := l.lag(1, 9, start); b != 0 || d != 0 {
		t.Errorf("an empty ledger tells %d bytes, %v", b, d)
	}
	for i := 1; i <= 10; i++ {
		l.add(journal.Sequence(100+i), 10, at(i))
	}
	for _, c := range []struct {
		acked, head journal.Sequence
		bytes       int64
		age         time.Duration
	}{
		{110, 110, 0, 0},
		{109, 110, 10, 10 * time.Second},
		{105, 110, 50, 14 * time.Second},
		{100, 110, 100, 19 * time.Second},
		{3, 110, 100, 19 * time.Second}, // older than the ledger: at least this
		{110, 111, 0, 0},                // newer than it
	} {
		if b, d := l.lag(c.acked, c.head, at(20)); b != c.bytes || d != c.age {
			t.Errorf("from %d to %d: %d bytes, %v", c.acked, c.head, b, d)
		}
	}
	if _, d := l.lag(100, 110, start); d != 0 {
		t.Errorf("an age below nothing: %v", d)
	}
}

// TestLedgerThins: however many entries, the size is bounded, and what is told
// is never less than the truth.
func TestLedgerThins(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(seq journal.Sequence) time.Time { return start.Add(time.Duration(seq) * time.Millisecond) }
	const head = 10*ledgerSize + 17
	var l ledger
	for seq := journal.Sequence(1); seq <= head; seq++ {
		l.add(seq, 3, at(seq))
	}
	if len(l.spans) > ledgerSize {
		t.Fatalf("%d spans", len(l.spans))
	}
	for _, acked := range []journal.Sequence{0, 1, 77, head / 2, head - ledgerSize, head - 2, head - 1} {
		bytes, age := l.lag(acked, head, at(head))
		wantBytes, wantAge := int64(head-acked)*3, at(head).Sub(at(acked+1))
		if bytes < wantBytes || age < wantAge {
			t.Errorf("from %d: %d bytes, %v; the truth is %d, %v", acked, bytes, age, wantBytes, wantAge)
		}
		if float64(bytes) > float64(wantBytes)*1.1+200 {
			t.Errorf("from %d: %d bytes; the truth is %d", acked, bytes, wantBytes)
		}
	}
}

// TestEarlyMarks: a few in a row, then one in each interval.
func TestEarlyMarks(t *testing.T) {
	now := time.Unix(1000, 0)
	var m marked
	early := func(want int, step time.Duration) {
		t.Helper()
		got := 0
		for range 20 {
			if wait, ok := m.early(now); ok {
				now = now.Add(wait)
				m.sent(now, 1, catalog.Digest{})
				got++
			}
			now = now.Add(step)
		}
		if got != want {
			t.Errorf("%d marks were early, want %d", got, want)
		}
	}
	early(earlyMarks+1, 0)
	early(2, wire.HeartbeatInterval/10)
	now = now.Add(wire.HeartbeatInterval)
	early(20, wire.HeartbeatInterval)
	now = now.Add(time.Hour)
	if wait, ok := m.early(now); wait != 0 || !ok {
		t.Errorf("after a pause: wait %v, %v", wait, ok)
	}
	m.sent(now, 2, catalog.Digest{})
	if wait, ok := m.early(now); wait != earlyMark || !ok {
		t.Errorf("at once: wait %v, %v", wait, ok)
	}
	now = now.Add(-time.Hour)
	if wait, ok := m.early(now); wait != 0 || !ok {
		t.Errorf("with a clock that was set back: wait %v, %v", wait, ok)
	}
}

func TestDamageList(t *testing.T) {
	d := damageList{paths: make(map[journal.Path]Damage)}
	first := time.Unix(1_700_000_000, 0)
	for i := range maxDamaged + 10 {
		d.add(journal.Path(fmt.Sprintf("u/%04d", i)), "EIO", first)
	}
	d.add("u/0000", "worse", first.Add(time.Hour))
	want := Damage{Path: "u/0000", Err: "worse", Since: first, tries: 2}
	if list := d.list(); len(list) != maxDamaged || list[0] != want || d.tries("u/0000") != 2 || d.tries("u/none") != 0 {
		t.Errorf("%d: %v", len(list), list[:1])
	}
	d.journaled(&journal.Entry{Kind: journal.KindPut, Path: "u/0001"})
	d.journaled(&journal.Entry{Kind: journal.KindRemove, Path: "u/0001"})
	d.journaled(&journal.Entry{Kind: journal.KindMove, Path: "v", From: "u/0002"})
	d.remove("u/0003")
	if n := d.len(); n != maxDamaged-3 {
		t.Errorf("%d are left", n)
	}
	d.journaled(&journal.Entry{Kind: journal.KindMoveDir, Path: "w", From: "u"})
	if n := d.len(); n != 0 {
		t.Errorf("%d are left of a folder that was renamed", n)
	}
}

// TestBatchesAreBounded: with the largest entries that there can be, in the
// worst order, a batch stays within the limits of the wire.
func TestBatchesAreBounded(t *testing.T) {
	xattrs := journal.Attributes{}
	for i := range journal.MaxXattrs {
		name := fmt.Sprintf("user.%02d", i)
		xattrs.Xattrs = append(xattrs.Xattrs, journal.Xattr{Name: name, Value: make([]byte, journal.MaxXattrSize/journal.MaxXattrs-len(name))})
	}
	path := journal.Path("")
	for len(path) < journal.MaxPath-201 {
		path += journal.Path(fmt.Sprintf("%0199d/", 7))
	}
	path += "x"
	held := journal.Entry{Kind: journal.KindPut, Path: path, Held: &journal.Held{Data: make([]byte, journal.MaxHeld)},
		Facts: journal.Facts{Type: journal.TypeFile, Attr: xattrs, Size: journal.MaxHeld, Content: journal.ContentID{1}}}
	small := journal.Entry{Kind: journal.KindSetAttributes, Path: path, Facts: journal.Facts{Type: journal.TypeFile, Attr: xattrs}}
	var b batch
	largest := 0
	for i := range 40 {
		e := small
		if i%8 == 7 {
			e = held
		}
		b.entries = append(b.entries, wire.Entry{Entry: e, Outcome: wire.OK, Transfer: wire.PrimaryTransfer | 1<<62})
		b.bytes += entrySize(&e)
		if !b.full(wire.MaxBatchBytes) {
			continue
		}
		plain, err := wire.MarshalEntries(wire.Entries{First: 1 << 62, Entries: b.entries})
		if err != nil {
			t.Fatal(err)
		}
		if len(plain) > b.bytes {
			t.Errorf("a batch of %d bytes was taken for %d", len(plain), b.bytes)
		}
		largest = max(largest, b.bytes)
		b = batch{}
	}
	if largest <= journal.MaxHeld || largest > wire.MaxEntriesSize {
		t.Errorf("the largest batch has %d bytes", largest)
	}
}

// TestReading: what becomes of a content whose file is not as the catalog says.
func TestReading(t *testing.T) {
	data := []byte("the content of a message\n")
	for _, c := range []struct {
		name   string
		known  bool
		change func(p *primaryStore, path string)
		want   error
	}{
		{"as it was", true, func(*primaryStore, string) {}, nil},
		{"as it was, unread", false, func(*primaryStore, string) {}, nil},
		{"grown, known", true, func(p *primaryStore, path string) { appendFile(p, path) }, nil},
		{"grown, unread", false, func(p *primaryStore, path string) { appendFile(p, path) }, errChanged},
		{"truncated", true, func(p *primaryStore, path string) { p.must(os.Truncate(path, 3)) }, errChanged},
		{"gone", true, func(p *primaryStore, path string) { p.must(os.Remove(path)) }, errGone},
		{"replaced", true, func(p *primaryStore, path string) { p.write("m", []byte("another message of its size")[:len(data)]) }, errChanged},
		{"a directory", true, func(p *primaryStore, path string) { p.must(os.Remove(path)); p.must(os.Mkdir(path, 0o700)) }, errChanged},
		{"damaged", true, func(p *primaryStore, path string) { damage(p, path) }, errDamaged},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newStore(t)
			p.write("m", data)
			info := p.info("m")
			item := catalog.Item{Facts: info.Facts, Stamp: info.Stamp}
			if c.known {
				item.Facts.Content = contentID(data)
			}
			item.Stamp.Device++ // the machine was started since
			c.change(p, p.full("m"))
			src, err := p.server.openItem("m", item)
			if err == nil {
				var b []byte
				b, err = os.ReadFile(p.full("m"))
				p.must(err)
				b = b[:min(len(b), int(item.Facts.Size))]
				err = src.check(contentID(b), int64(len(b)))
			}
			if !errors.Is(err, c.want) {
				t.Errorf("the error is %v, not %v", err, c.want)
			}
		})
	}
}

// TestEvacuation: an array that is about to be lost is asked twice for what it
// cannot read, and no more.
func TestEvacuation(t *testing.T) {
	p := newStore(t)
	data := []byte("the content of a message\n")
	p.unread("d/m", data)
	evacuating := true
	p.server.cfg.Evacuating = func() bool { return evacuating }
	ask := func() error {
		return p.server.prepare(t.Context(), request{fetch: &wire.FetchItem{Path: "d/m"}}).err
	}
	for range evacuationTries {
		if err := ask(); err != nil {
			t.Errorf("not read: %v", err)
		}
		p.server.damaged.add("d/m", "input/output error", time.Now())
	}
	if err := ask(); !errors.Is(err, errGivenUp) {
		t.Errorf("the error is %v", err)
	}
	if evacuating = false; ask() != nil {
		t.Error("not read when the array is well")
	}
}

// TestPartialPages: a page says whether there may be names that it lacks.
func TestPartialPages(t *testing.T) {
	p := newStore(t)
	p.unread("d/m", []byte("a"))
	p.server.cfg.Unseen = func(dir journal.Path, observed int64) bool { return dir == "d" && observed == 0 }
	for dir, want := range map[journal.Path]bool{"d": true, journal.Root: false} {
		p.must(p.catalog.View(func(tx *catalog.Tx) error {
			page, err := p.server.pageOf(tx, &wire.CompareItem{Path: dir}, "", false)
			if page.Partial != want || len(page.Items) != 1 {
				t.Errorf("%q: %+v", dir, page)
			}
			return err
		}))
	}
}

func appendFile(p *primaryStore, path string) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	p.must(err)
	_, err = f.WriteString("more")
	p.must(errors.Join(err, f.Close()))
}

// damage changes a byte as a failing disk does: the times stay.
func damage(p *primaryStore, path string) {
	info, err := os.Stat(path)
	p.must(err)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	p.must(err)
	_, err = f.WriteAt([]byte("T"), 0)
	p.must(errors.Join(err, f.Close(), os.Chtimes(path, info.ModTime(), info.ModTime())))
}

// TestRenamedSince: the content of an entry is found under the name that the
// file has by now.
func TestRenamedSince(t *testing.T) {
	p := newStore(t)
	data := []byte("content")
	e := p.put("cur/1:2,", data).Entry
	p.move(journal.KindMove, "cur/1:2,", "cur/1:2,S")
	src, err := p.server.openEntry(&e)
	if err != nil {
		t.Fatal(err)
	}
	defer src.settle()
	if src.path != "cur/1:2,S" || src.check(contentID(data), int64(len(data))) != nil {
		t.Errorf("found at %q", src.path)
	}
	p.remove(journal.KindRemove, "cur/1:2,S")
	if _, err := p.server.openEntry(&e); !errors.Is(err, errGone) {
		t.Errorf("when it is gone the error is %v", err)
	}
}

// countingPace gives leave at once, and counts.
type countingPace struct {
	mu       sync.Mutex
	out      int
	leaves   int
	bulk     int64
	live     int64
	measured int
}

func (p *countingPace) Read(ctx context.Context, bytes int64) (func(bool), error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out++
	p.leaves++
	p.bulk += bytes
	return func(fromDevice bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.out--
		if fromDevice {
			p.measured++
		}
	}, ctx.Err()
}

func (p *countingPace) Live(bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.live += bytes
}

// TestBulkAsksForLeave: a content that can wait is read with leave, piece by
// piece where it is not in memory, and every leave is given back.
func TestBulkAsksForLeave(t *testing.T) {
	p := newStore(t)
	pace := &countingPace{}
	p.server.cfg.Pace = pace
	data := bytes.Repeat([]byte("a line of mail\n"), 30_000) // in memory
	p.write("m", data)
	info := p.info("m")
	item := catalog.Item{Facts: info.Facts, Stamp: info.Stamp}
	src, err := p.server.openBulk(t.Context(), "m", item)
	p.must(err)
	got, err := io.ReadAll(src.reader())
	p.must(err)
	src.settle()
	if !bytes.Equal(got, data) || src.check(contentID(data), int64(len(data))) != nil {
		t.Errorf("%d bytes were read of %d", len(got), len(data))
	}
	if pace.leaves != 1 || pace.out != 0 || pace.bulk != pieceOfBulk || pace.measured != 0 {
		t.Errorf("in memory: %+v", pace)
	}
	src, err = p.server.openBulk(t.Context(), "m", item)
	p.must(err)
	src.settle() // given up before anything was read
	if _, err := p.server.openBulk(t.Context(), "none", item); !errors.Is(err, errGone) {
		t.Errorf("%v", err)
	}
	if pace.out != 0 {
		t.Errorf("%d leaves are out", pace.out)
	}
	p.server.cfg.Evacuating = func() bool { return true }
	*pace = countingPace{}
	src, err = p.server.openBulk(t.Context(), "m", item)
	p.must(err)
	n, err := src.reader().Read(make([]byte, len(data)))
	src.settle()
	if err != nil || n != len(data) || pace.leaves != 1 || pace.out != 0 || pace.bulk != int64(len(data)) {
		t.Errorf("while the array is evacuated: %d bytes at once, %v, %+v", n, err, pace)
	}
}

// TestProofs: what a mirror only wants proven is read when that is allowed, and
// what is known already is told at any time.
func TestProofs(t *testing.T) {
	p := newStore(t)
	data := []byte("the content of a message\n")
	p.unread("d/unread", data)
	p.put("d/known", data)
	allowed := false
	p.server.cfg.Proving = func() bool { return allowed }
	ask := func(path journal.Path, have journal.ContentID) *answer {
		return p.server.prepare(t.Context(), request{fetch: &wire.FetchItem{Path: path, Have: have, Proof: true}})
	}
	if a := ask("d/unread", contentID(data)); !errors.Is(a.err, errLater) {
		t.Errorf("the error is %v", a.err)
	}
	if a := ask("d/known", contentID(data)); a.err != nil || !a.have.Known() {
		t.Errorf("what is known is not told: %v", a.err)
	}
	if a := ask("d/known", journal.ContentID{1}); a.err != nil || a.have.Known() || string(a.data) != string(data) {
		t.Errorf("a wrong guess is answered with %q, %v", a.data, a.err)
	}
	allowed = true
	if a := ask("d/unread", contentID(data)); a.err != nil || a.have != contentID(data) {
		t.Errorf("not proven: %v", a.err)
	}
	if a := ask("d/unread", journal.ContentID{1}); a.err != nil || a.have.Known() || string(a.data) != string(data) {
		t.Errorf("a wrong guess is answered with %q, %v", a.data, a.err)
	}
}
