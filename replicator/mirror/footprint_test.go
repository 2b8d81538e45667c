package mirror

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/journal"
)

const goldenFootprint = "mailtwin-footprint 1 00000000000000000007 00000000000000000042 "

func TestFootprintComesBack(t *testing.T) {
	f := newFixture(t)
	root := f.m.cfg.Root
	if _, err := readFootprint(root); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("where there is none: %v", err)
	}
	want := footprint{stream: 7, applied: 42}
	if line := want.line(); len(line) != footprintSize || !strings.HasPrefix(line, goldenFootprint) {
		t.Errorf("%q", line)
	}
	for range 2 {
		if err := want.make(root); err != nil {
			t.Fatal(err)
		}
		if got, err := readFootprint(root); err != nil || got != want {
			t.Errorf("%+v, %v", got, err)
		}
		want.applied++
		if err := want.overwrite(root); err != nil {
			t.Fatal(err)
		}
		if got, err := readFootprint(root); err != nil || got != want {
			t.Errorf("%+v, %v", got, err)
		}
	}
	path := filepath.Join(f.store, string(staging), footprintName)
	for content, wants := range map[string]error{
		"": errFootprint, want.line()[:40]: errFootprint, want.line() + "x": errFootprint,
		strings.Replace(want.line(), "44 ", "54 ", 1):                 errFootprint,
		strings.Replace(want.line(), "footprint 1", "footprint 2", 1): errFootprintNewer,
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readFootprint(root); !errors.Is(err, wants) {
			t.Errorf("%q: %v", content, err)
		}
	}
}

func FuzzFootprint(f *testing.F) {
	f.Add(footprint{stream: 7, applied: 42}.line())
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := parseFootprint(text); err == nil && got.line() != text {
			t.Errorf("%q is %+v", text, got)
		}
	})
}

// TestApart: a crash leaves the catalog and the footprint of one moment, or the one of
// the stream before; an older state of one of them does not pass for that.
func TestApart(t *testing.T) {
	for _, c := range []struct {
		what    string
		stream  uint64 // of the catalog
		applied uint64
		open    bool
		print   footprint
		err     error
		apart   bool
	}{
		{"a new mirror", 0, 0, false, footprint{}, fs.ErrNotExist, false},
		{"one that was a mirror before", 0, 10, false, footprint{9, 70}, nil, false},
		{"the same moment", 5, 10, false, footprint{5, 10}, nil, false},
		{"the same moment of a stream", 5, 10, true, footprint{5, 10}, nil, false},
		{"a footprint that lags", 5, 10, true, footprint{5, 3}, nil, false},
		{"one that lags though the stream has ended", 5, 10, false, footprint{5, 3}, nil, true},
		{"a crash before the footprint", 6, 10, true, footprint{5, 10}, nil, false},
		{"the one of the stream before, though this one has ended", 6, 10, false, footprint{5, 10}, nil, true},
		{"another epoch since", 6, 0, true, footprint{5, 10}, nil, false},
		{"an older catalog", 4, 10, false, footprint{5, 10}, nil, true},
		{"an older catalog of the same stream", 5, 10, true, footprint{5, 11}, nil, true},
		{"an older store", 7, 10, true, footprint{5, 10}, nil, true},
		{"no footprint any more", 5, 10, true, footprint{}, fs.ErrNotExist, true},
		{"a damaged one", 5, 10, true, footprint{}, errFootprint, true},
	} {
		why := apart(progressMeta{Stream: c.stream, Open: c.open}, journal.Sequence(c.applied), c.print, c.err)
		if (why != "") != c.apart {
			t.Errorf("%s: %q", c.what, why)
		}
	}
}

// TestTheStoreIsLookedAtOnce: while the primary cannot be reached, the next attempt
// does not look at the whole store again.
func TestTheStoreIsLookedAtOnce(t *testing.T) {
	f := newFixture(t)
	p := f.whole()
	p.journal(put("d/a", text("a")))
	p.untilAcked(1)
	p.hangUp()
	if err := (footprint{stream: 9, applied: 9}).make(f.m.cfg.Root); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := f.m.recognize(t.Context()); err != nil || f.stocks != 1 {
			t.Errorf("looked at it %d times, %v", f.stocks, err)
		}
	}
}

// TestTheStoreIsLookedAtOnceWhereNothingCanBeLeft: neither does it where no footprint
// can be left, as on a disk that is full; but once more where the footprint is another.
func TestTheStoreIsLookedAtOnceWhereNothingCanBeLeft(t *testing.T) {
	f := newFixture(t)
	p := f.whole()
	p.journal(put("d/a", text("a")))
	p.untilAcked(1)
	p.hangUp()
	leave := func(stream uint64) {
		if err := (footprint{stream: stream, applied: 9}).make(f.m.cfg.Root); err != nil {
			t.Fatal(err)
		}
	}
	inTheWay := filepath.Join(f.store, string(staging), footprintName+".new")
	for stocks, stream := range []uint64{9, 10} {
		leave(stream)
		if err := os.MkdirAll(filepath.Join(inTheWay, "x"), 0o700); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := f.m.recognize(t.Context()); err == nil || f.stocks != stocks+1 {
				t.Errorf("stream %d: looked at it %d times, %v", stream, f.stocks, err)
			}
		}
		if err := os.RemoveAll(inTheWay); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := f.m.recognize(t.Context()); err != nil || f.stocks != 2 {
			t.Errorf("in the end: looked at it %d times, %v", f.stocks, err)
		}
	}
}

// TestStoreTime: it is that of the stamps of the store's files, and nothing is left.
func TestStoreTime(t *testing.T) {
	f := newFixture(t)
	if _, err := StoreTime(f.m.cfg.Root); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("where no mirror was: %v", err)
	}
	if err := (footprint{}).make(f.m.cfg.Root); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		at, err := StoreTime(f.m.cfg.Root)
		if err != nil || time.Since(at).Abs() > time.Hour {
			t.Errorf("%v, %v", at, err)
		}
		left, err := os.ReadDir(filepath.Join(f.store, string(staging)))
		if err != nil || len(left) != 1 {
			t.Errorf("it leaves %v, %v", left, err)
		}
	}
}
