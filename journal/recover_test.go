package journal

import (
	"bytes"
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/mailtwin/mailtwin/journal/vfs"
	"github.com/mailtwin/mailtwin/journal/vfs/crashfs"
)

const testDir = "journal"

// brokenJournal is a journal on a crashfs that a test may damage.
type brokenJournal struct {
	fs      *crashfs.FS
	opt     Options
	records []Record
	paths   []string // of the segments
	ends    []int    // where in the last segment each record ends
}

// newBrokenJournal makes a journal of three segments: each call of Append has
// perCall entries, and the journal is not closed.
func newBrokenJournal(t testing.TB, perCall int) *brokenJournal {
	j := &brokenJournal{fs: crashfs.New(), opt: testOptions()}
	j.opt.SegmentSize = 600
	l := mustOpen(t, j.fs, testDir, j.opt)
	for len(l.segments) < 3 {
		j.records = append(j.records, mustAppend(t, l, testEntry(len(j.records)))...)
	}
	last := l.segments[2]
	j.ends = append(j.ends, int(last.size))
	for len(j.ends) < 4 {
		for i, r := range mustAppend(t, l, testEntries(len(j.records), perCall)...) {
			j.records = append(j.records, r)
			if i < perCall-1 {
				e := r.Entry
				j.ends = append(j.ends, j.ends[len(j.ends)-1]+frameSize+len(e.appendTo(nil)))
			}
		}
		j.ends = append(j.ends, int(last.size))
	}
	for _, s := range l.segments {
		j.paths = append(j.paths, s.path)
	}
	return j
}

func (j *brokenJournal) last() string { return j.paths[len(j.paths)-1] }

// closed opens the journal and closes it cleanly.
func (j *brokenJournal) closed(t *testing.T) *brokenJournal {
	t.Helper()
	l := mustOpen(t, j.fs, testDir, j.opt)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	j.paths = nil
	for _, s := range l.segments {
		j.paths = append(j.paths, s.path)
	}
	return j
}

// edit changes a file.
func (j *brokenJournal) edit(path string, f func([]byte) []byte) { j.fs.Put(path, f(j.fs.Bytes(path))) }

// open expects n records, and that the journal goes on from there.
func (j *brokenJournal) open(t *testing.T, n int) *Log {
	t.Helper()
	l := mustOpen(t, j.fs, testDir, j.opt)
	if got := readAll(t, l, 0); !reflect.DeepEqual(got, j.records[:n]) {
		t.Fatalf("%d records are left, not %d", len(got), n)
	}
	if torn := n < len(j.records); torn != errors.Is(l.Repaired(), ErrTornTail) {
		t.Fatalf("%d of %d records are left, repaired: %v", n, len(j.records), l.Repaired())
	}
	mustAppend(t, l, testEntry(4711))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, j.fs, testDir, j.opt)
	if got := readAll(t, l, 0); len(got) != n+1 || l.Repaired() != nil {
		t.Fatalf("%d records after the repair, %v", len(got), l.Repaired())
	}
	return l
}

func (j *brokenJournal) refuse(t *testing.T, want error, words ...string) {
	t.Helper()
	_, err := Open(j.fs, testDir, j.opt)
	if !errors.Is(err, want) {
		t.Fatalf("opened with %v, not %v", err, want)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not say %q", err, word)
		}
	}
}

func TestTornTailIsCutAtEveryByte(t *testing.T) {
	whole := newBrokenJournal(t, 1)
	n := len(whole.records)
	from, to := whole.ends[2], whole.ends[3]
	for end := from; end <= to; end++ {
		for _, fill := range []int{0, 40, 600} {
			if end == from && fill == 0 || end == to {
				continue
			}
			j := newBrokenJournal(t, 1)
			j.edit(j.last(), func(b []byte) []byte { return append(b[:end:end], make([]byte, fill)...) })
			j.open(t, n-1)
		}
	}
	j := newBrokenJournal(t, 1)
	j.edit(j.last(), func(b []byte) []byte { return append(b, "garbage"...) })
	l := mustOpen(t, j.fs, testDir, j.opt)
	if len(readAll(t, l, 0)) != n || !errors.Is(l.Repaired(), ErrTornTail) {
		t.Fatal("garbage at the end")
	}
}

func TestDamageBeforeDurableRecordIsCorrupt(t *testing.T) {
	whole := newBrokenJournal(t, 1)
	for i := whole.ends[0]; i < whole.ends[2]; i++ {
		j := newBrokenJournal(t, 1)
		j.edit(j.last(), func(b []byte) []byte { b[i] ^= 0x10; return b })
		j.refuse(t, ErrCorrupt, j.last(), "offset", "restore this file", "move the whole directory away")
	}
}

// A disk may keep the end of a write and lose its middle.
func TestWriteTornOutOfOrderIsCut(t *testing.T) {
	j := newBrokenJournal(t, 5)
	at := j.ends[len(j.ends)-5]
	j.edit(j.last(), func(b []byte) []byte { b[at] ^= 0x10; return b })
	j.open(t, len(j.records)-4)
}

// After a clean close, or once cursors were saved, it is known what was durable.
func TestDamageBeforeSavedHeadIsCorrupt(t *testing.T) {
	for _, cut := range []bool{false, true} {
		j := newBrokenJournal(t, 5).closed(t)
		j.edit(j.last(), func(b []byte) []byte {
			if cut {
				return b[:len(b)-1]
			}
			b[len(b)-1] ^= 0x10
			return b
		})
		j.refuse(t, ErrCorrupt, j.last(), "was durable")
	}
}

func TestTornHeader(t *testing.T) {
	for n := range headerSize + 1 {
		j := newBrokenJournal(t, 1)
		lost := 0
		for i, r := range j.records {
			if segmentName(r.Position.Sequence) == filepath.Base(j.last()) {
				lost = len(j.records) - i
			}
		}
		j.edit(j.last(), func(b []byte) []byte {
			if n == headerSize {
				return make([]byte, n)
			}
			return b[:n]
		})
		l := mustOpen(t, j.fs, testDir, j.opt)
		if !errors.Is(l.Repaired(), ErrTornTail) || len(readAll(t, l, 0)) != len(j.records)-lost {
			t.Fatalf("header cut to %d: %v", n, l.Repaired())
		}
	}
	j := newBrokenJournal(t, 1)
	j.edit(j.last(), func(b []byte) []byte { b[30] ^= 1; return b })
	j.refuse(t, ErrCorrupt, j.last())

	first := crashfs.New()
	first.Put(filepath.Join(testDir, segmentName(1)), []byte(segmentMagic))
	l := mustOpen(t, first, testDir, testOptions())
	if !errors.Is(l.Repaired(), ErrTornTail) {
		t.Errorf("torn first segment: %v", l.Repaired())
	}
	mustAppend(t, l, testEntry(1))
	later := crashfs.New()
	later.Put(filepath.Join(testDir, segmentName(2)), nil)
	if _, err := Open(later, testDir, testOptions()); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a lonely segment without a header: %v", err)
	}
}

func TestMissingSegmentIsCorrupt(t *testing.T) {
	j := newBrokenJournal(t, 1)
	if err := j.fs.Remove(j.paths[1]); err != nil {
		t.Fatal(err)
	}
	j.refuse(t, ErrCorrupt, filepath.Base(j.paths[1]), "missing")

	j = newBrokenJournal(t, 1).closed(t)
	l := mustOpen(t, j.fs, testDir, j.opt)
	mustAppend(t, l, testEntry(1))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for i := len(j.paths) - 1; i >= 0; i-- {
		if err := j.fs.Remove(j.paths[i]); err != nil {
			t.Fatal(err)
		}
		j.refuse(t, ErrCorrupt)
	}
}

func TestDamageInOlderSegment(t *testing.T) {
	j := newBrokenJournal(t, 1)
	j.edit(j.paths[0], func(b []byte) []byte { return b[:len(b)-1] })
	j.refuse(t, ErrCorrupt, j.paths[0], "the end of it is missing")

	j = newBrokenJournal(t, 1)
	j.edit(j.paths[0], func(b []byte) []byte { b[20] ^= 1; return b })
	j.refuse(t, ErrCorrupt, j.paths[0])

	// Within an older segment it is found by who reads it, and only by them.
	j = newBrokenJournal(t, 1)
	j.edit(j.paths[1], func(b []byte) []byte { b[headerSize+60] ^= 1; return b })
	l := mustOpen(t, j.fs, testDir, j.opt)
	mustAppend(t, l, testEntry(1))
	if err := l.Check(); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), j.paths[1]) {
		t.Errorf("check: %v", err)
	}
	readAll(t, l, l.Head().Sequence-2)
}

func TestNewerFormatIsRefused(t *testing.T) {
	for i := range 3 {
		j := newBrokenJournal(t, 1)
		j.edit(j.paths[i], func(b []byte) []byte { b[11] = 2; return b })
		j.refuse(t, ErrNewer, j.paths[i], "version 2")
	}
	j := newBrokenJournal(t, 1)
	j.fs.Put(filepath.Join(testDir, cursorsName), append([]byte(cursorsMagic), 0, 0, 0, 9, 1, 2, 3))
	j.refuse(t, ErrNewer, cursorsName, "version 9")
	j.fs.Put(filepath.Join(testDir, cursorsName), []byte("nonsense"))
	j.refuse(t, ErrCorrupt, cursorsName, "remove it")
}

func TestForeignAndTemporaryFiles(t *testing.T) {
	j := newBrokenJournal(t, 1)
	temps := []string{cursorsName + tempSuffix, segmentName(99) + tempSuffix}
	others := []string{"README", "x.tmp", "1.seg", "00000000000000AA.seg"}
	for _, name := range append(temps, others...) {
		j.fs.Put(filepath.Join(testDir, name), []byte("x"))
	}
	j.open(t, len(j.records))
	for _, name := range temps {
		if j.fs.Bytes(filepath.Join(testDir, name)) != nil {
			t.Errorf("%q is still there", name)
		}
	}
	for _, name := range others {
		if j.fs.Bytes(filepath.Join(testDir, name)) == nil {
			t.Errorf("%q is gone", name)
		}
	}
}

// A journal that is made anew is not taken for the one before it.
func TestNewJournalHasItsOwnHistory(t *testing.T) {
	clock := newTestClock()
	opt := Options{Now: clock.Now, Epoch: 1}
	one := mustOpen(t, crashfs.New(), testDir, opt)
	two := mustOpen(t, crashfs.New(), testDir, opt)
	if err := two.Contains(one.Head()); !errors.Is(err, ErrDiverged) {
		t.Errorf("%v", err)
	}
	if err := one.Contains(Position{}); !errors.Is(err, ErrDiverged) {
		t.Errorf("%v", err)
	}
}

func TestOpenRefusals(t *testing.T) {
	if _, err := Open(vfs.OS(), t.TempDir(), Options{}); err == nil {
		t.Error("no clock")
	}
	if _, err := Open(vfs.OS(), filepath.Join(t.TempDir(), "none"), testOptions()); err == nil {
		t.Error("no directory")
	}
}

func FuzzRecover(f *testing.F) {
	j := newBrokenJournal(f, 2)
	last := j.fs.Bytes(j.last())
	f.Add(last)
	f.Add(last[:len(last)-7])
	f.Add(last[:headerSize])
	f.Add(append(bytes.Clone(last), make([]byte, 100)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		fsys := crashfs.New()
		for _, path := range j.paths[:len(j.paths)-1] {
			fsys.Put(path, j.fs.Bytes(path))
		}
		fsys.Put(j.last(), b)
		l, err := Open(fsys, testDir, j.opt)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewer) {
				t.Fatal(err)
			}
			if !bytes.Equal(fsys.Bytes(j.last()), b) {
				t.Fatal("refused, and changed")
			}
			return
		}
		head := l.Head()
		if err := l.Check(); err != nil {
			// A record whose checksum and digest are right is taken as it is.
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		mustAppend(t, l, testEntry(1))
		again := mustOpen(t, fsys, testDir, j.opt)
		if again.Head().Sequence != head.Sequence+1 || again.Repaired() != nil {
			t.Fatalf("recovered to %v, then %v: %v", head, again.Head(), again.Repaired())
		}
	})
}
