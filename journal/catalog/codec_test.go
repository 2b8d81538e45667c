package catalog

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
)

func samples() map[string]*record {
	full := file(4711)
	full.Missing, full.Link = true, 4711
	full.Facts.Attr.Xattrs = []journal.Xattr{{Name: "user.a", Value: []byte{0, 1}}, {Name: "user.b", Value: []byte{}}}
	strange := file(1)
	strange.Facts.Attr = journal.Attributes{Mode: math.MaxUint32, UID: math.MaxUint32, GID: math.MaxUint32, MTime: math.MinInt64}
	strange.Facts.Size = math.MaxInt64
	strange.Stamp = journal.Stamp{Device: math.MaxUint64, Inode: math.MaxUint64, Birth: math.MaxInt64, Change: math.MinInt64}
	guess := file(2)
	guess.Guess, guess.Facts.Content, guess.Stamp = guess.Facts.Content, journal.ContentID{}, journal.Stamp{}
	above := newRecord(directory(0))
	above.Dir, above.Totals = 3, Totals{Files: 1, Unread: 1, Guessed: 1}
	dir := newRecord(directory(0o2750))
	dir.Dir, dir.Observed, dir.Stamp = 300, -5, journal.Stamp{Inode: 9}
	dir.Digest = Digest{1, 31: 255}
	dir.Totals = Totals{Files: 1000, Directories: 3, Symlinks: 1, Bytes: 1 << 40, Unread: 2, Missing: 4}
	return map[string]*record{
		"file":      newRecord(file(3)),
		"full":      newRecord(full),
		"strange":   newRecord(strange),
		"derived":   newRecord(Item{Facts: journal.Facts{Type: journal.TypeFile, Size: 5}, Missing: true, Derived: true}),
		"unread":    newRecord(Item{Facts: journal.Facts{Type: journal.TypeFile, Size: 5}}),
		"symlink":   newRecord(Item{Facts: journal.Facts{Type: journal.TypeSymlink, Target: "sieve/a\n"}, Link: 7}),
		"directory": dir,
		"guess":     newRecord(guess),
		"above":     above,
	}
}

func TestRecordGolden(t *testing.T) {
	golden := map[string]string{
		"file":      "010131" + "8003" + "e807" + "e807" + "03002a36fe9c9717" + "03" + "636f6e74656e7420330000000000000000000000000000000000000000000000" + "8110" + "03" + "faa7d6b907" + "80a8d6b907",
		"derived":   "010142" + "000000" + "0000000000000000" + "05",
		"unread":    "010100" + "000000" + "0000000000000000" + "05",
		"symlink":   "010304" + "000000" + "0000000000000000" + "08" + "73696576652f610a" + "07",
		"guess":     "010180" + "8003" + "e807" + "e807" + "02002a36fe9c9717" + "02" + "636f6e74656e7420320000000000000000000000000000000000000000000000",
		"above":     "010280" + "000000" + "03" + strings.Repeat("00", 32) + "00" + "010000000100" + "01",
		"directory": "010210" + "e80b0000" + "ac02" + "01" + "000000000000000000000000000000000000000000000000000000000000" + "ff" + "09" + "e807" + "03" + "01" + "808080808020" + "02" + "04" + "00" + "09" + "00",
	}
	all := samples()
	for name, want := range golden {
		if got := hex.EncodeToString(appendRecord(nil, all[name])); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

func TestRecordRoundTrip(t *testing.T) {
	for name, r := range samples() {
		b := appendRecord(nil, r)
		got, err := parseRecord(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !reflect.DeepEqual(got, r) {
			t.Errorf("%s: got %+v, want %+v", name, got, r)
		}
		for n := range b {
			if _, err := parseRecord(b[:n]); !errors.Is(err, errRecord) {
				t.Errorf("%s cut to %d bytes: %v", name, n, err)
			}
		}
		if _, err := parseRecord(append(b, 0)); !errors.Is(err, errRecord) {
			t.Errorf("%s with a byte more: %v", name, err)
		}
	}
	if _, err := parseRecord([]byte{recordVersion + 1, 1, 0}); !errors.Is(err, errVersion) {
		t.Error(err)
	}
}

func FuzzParseRecord(f *testing.F) {
	for _, r := range samples() {
		f.Add(appendRecord(nil, r))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRecord(b)
		if err != nil {
			return
		}
		if again := appendRecord(nil, r); !bytes.Equal(again, b) {
			t.Fatalf("%x is written as %x", b, again)
		}
	})
}

func FuzzParseState(f *testing.F) {
	f.Add(appendState(nil, state{next: 300, trash: queue{1, 2}, position: journal.Position{Epoch: 1, Sequence: 9}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseState(b)
		if err != nil {
			return
		}
		if again := appendState(nil, s); !bytes.Equal(again, b) {
			t.Fatalf("%x is written as %x", b, again)
		}
	})
}

func TestDigestAddition(t *testing.T) {
	var a, b Digest
	for i := range a {
		a[i], b[i] = 255, byte(i)
	}
	sum := a
	sum.add(b)
	sum.sub(b)
	if sum != a {
		t.Fatalf("got %v", sum)
	}
	sum.add(Digest{1}) // wraps around
	if sum != (Digest{}) {
		t.Fatalf("got %v", sum)
	}
	sum.sub(Digest{1})
	if sum != a {
		t.Fatalf("got %v", sum)
	}
}

func TestAfter(t *testing.T) {
	for _, x := range [][2][]byte{
		{{'a'}, {'b'}},
		{{'a', 255, 255}, {'b'}},
		{{'a', 1, 255}, {'a', 2}},
		{{255, 255}, nil},
	} {
		if got := after(x[0]); !bytes.Equal(got, x[1]) {
			t.Errorf("after %x: %x", x[0], got)
		}
	}
}
