package journal

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/mailtwin/mailtwin/journal/vfs/crashfs"
)

// place is where another journal led to.
func place() Position { return Position{Epoch: 2, Sequence: 0x1234, Digest: Digest{0xd1, 15: 0xd2}} }

func createOptions() Options {
	opt := testOptions()
	opt.Epoch = 3
	return opt
}

// TestCreateGolden: a journal that goes on where another was left is a segment
// whose epoch is above that of the record before it, and which names no segment
// before it.
func TestCreateGolden(t *testing.T) {
	h := header{epoch: 3, before: place(), created: 1772366400000000003}
	checkGolden(t, "header created", h.encode())
	got, err := decodeHeader(h.encode())
	if err != nil || got != h {
		t.Fatalf("decoded as %+v, %v", got, err)
	}
}

func TestCreate(t *testing.T) {
	fsys, opt := crashfs.New(), createOptions()
	opt.SegmentSize = 700
	fsys.Put(testDir+"/"+segmentName(place().Sequence+1)+tempSuffix, []byte("left behind"))
	l, err := Create(fsys, testDir, place(), opt)
	if err != nil {
		t.Fatal(err)
	}
	if l.Head() != place() || l.Start() != place() {
		t.Fatalf("it begins with %v, its head is %v", l.Start(), l.Head())
	}
	records := mustAppend(t, l, testEntries(0, 20)...)
	first := records[0].Position
	if first.Epoch != 3 || first.Sequence != place().Sequence+1 {
		t.Errorf("the first record is at %v", first)
	}
	for name, c := range map[string]struct {
		at   Position
		want error
	}{
		"the place before":            {place(), nil},
		"its first record":            {first, nil},
		"older":                       {Position{Epoch: 2, Sequence: place().Sequence - 1}, ErrTrimmed},
		"the same place elsewhere":    {Position{Epoch: 2, Sequence: place().Sequence, Digest: Digest{1}}, ErrDiverged},
		"what the old one wrote next": {Position{Epoch: 2, Sequence: first.Sequence, Digest: first.Digest}, ErrDiverged},
	} {
		if err := l.Contains(c.at); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	mustSetCursor(t, l, "m", place())
	if err := errors.Join(l.Check(), l.Close()); err != nil {
		t.Fatal(err)
	}
	again := mustOpen(t, fsys, testDir, opt)
	if again.Head() != records[19].Position || again.Start() != place() || again.Repaired() != nil {
		t.Errorf("opened again it goes from %v to %v, %v", again.Start(), again.Head(), again.Repaired())
	}
	if got := readAll(t, again, place().Sequence); len(got) != 20 {
		t.Errorf("%d records", len(got))
	}
	if c := again.Cursors(); len(c) != 1 || c[0].Behind {
		t.Errorf("cursors %+v", c)
	}
}

func TestCreateRefuses(t *testing.T) {
	fsys, opt := crashfs.New(), createOptions()
	opt.Epoch = 1
	if _, err := Create(fsys, testDir, place(), opt); err == nil {
		t.Error("a lower epoch may follow")
	}
	if names, _ := fsys.List(testDir); len(names) > 0 {
		t.Errorf("it left %v", names)
	}
	mustOpen(t, fsys, testDir, testOptions())
	if _, err := Create(fsys, testDir, place(), createOptions()); !errors.Is(err, fs.ErrExist) {
		t.Errorf("beside another journal: %v", err)
	}
	only := crashfs.New()
	only.Put(testDir+"/"+cursorsName, cursorState{}.encode())
	if _, err := Create(only, testDir, place(), createOptions()); !errors.Is(err, fs.ErrExist) {
		t.Errorf("beside another journal's cursors: %v", err)
	}
}

// TestCreateFailures makes each operation of the file system fail: what is left
// is a journal as asked for or none, in which Create works.
func TestCreateFailures(t *testing.T) {
	for n := 0; ; n++ {
		fsys, count := crashfs.New(), 0
		var failed crashfs.Op
		fsys.Before(func(op crashfs.Op) error {
			if count++; count == n+1 {
				failed = op
				return errInjected
			}
			return nil
		})
		_, err := Create(fsys, testDir, place(), createOptions())
		fsys.Before(nil)
		if count <= n {
			break
		}
		if !errors.Is(err, errInjected) {
			t.Fatalf("operation %d, %+v, failed: %v", n, failed, err)
		}
		checkCreated(t, fsys)
	}
}

// TestCreateCrash crashes at each operation that changes something.
func TestCreateCrash(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for n := 0; ; n++ {
		fsys, left := crashfs.New(), n
		fsys.Before(func(op crashfs.Op) error {
			if op.Kind.Changes() {
				if left--; left < 0 {
					return crashfs.ErrCrashed
				}
			}
			return nil
		})
		_, err := Create(fsys, testDir, place(), createOptions())
		for _, loss := range append(crashfs.Losses(), crashfs.LoseSome) {
			after := fsys.Crash(loss, rng)
			if err == nil {
				if l := mustOpen(t, after, testDir, createOptions()); l.Head() != place() {
					t.Fatalf("loss %d: it was created, and now its head is %v", loss, l.Head())
				}
			}
			checkCreated(t, after)
		}
		if err == nil {
			break
		}
	}
}

// checkCreated makes sure that there is the journal that was asked for, or none
// and that it can be created.
func checkCreated(t *testing.T, fsys *crashfs.FS) {
	t.Helper()
	l, err := Create(fsys, testDir, place(), createOptions())
	if errors.Is(err, fs.ErrExist) {
		l, err = Open(fsys, testDir, createOptions())
	}
	if err != nil {
		t.Fatal(err)
	}
	if l.Head() != place() {
		t.Fatalf("the head is %v", l.Head())
	}
	mustAppend(t, l, testEntry(1))
	if err := errors.Join(l.Check(), l.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestSeal: nothing is appended to a sealed journal, and all else goes on.
func TestSeal(t *testing.T) {
	fsys := crashfs.New()
	l := mustOpen(t, fsys, testDir, testOptions())
	reader, err := l.Read(0)
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for {
				if _, err := l.Append(testEntry(i)); err != nil {
					if !errors.Is(err, ErrSealed) {
						t.Error(err)
					}
					return
				}
			}
		})
	}
	for l.Head().Sequence < 20 { // some are under way
		if _, err := reader.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	head, err := l.Seal()
	if err != nil {
		t.Fatal(err)
	}
	group.Wait()
	if again, err := l.Seal(); l.Head() != head || again != head || err != nil {
		t.Errorf("sealed at %v, then at %v, %v; the head is %v", head, again, err, l.Head())
	}
	if got := len(readAll(t, l, 0)); got != int(head.Sequence) {
		t.Errorf("%d records are read of %d", got, head.Sequence)
	}
	mustSetCursor(t, l, "m", head)
	if err := errors.Join(l.SaveCursors(), l.Trim(head.Sequence), reader.Close(), l.Close()); err != nil {
		t.Error(err)
	}
	if _, err := l.Seal(); !errors.Is(err, ErrClosed) {
		t.Errorf("sealing a closed journal: %v", err)
	}
	if l = mustOpen(t, fsys, testDir, testOptions()); l.Head() != head {
		t.Errorf("opened again it ends with %v, not %v", l.Head(), head)
	}
	mustAppend(t, l, testEntry(1))
}
