package journal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

// checkGolden compares b with what testdata/format.golden has under a name, in
// hexadecimal. The file is not made by a program: what it says is on disks.
func checkGolden(t *testing.T, name string, b []byte) {
	t.Helper()
	data, err := os.ReadFile("testdata/format.golden")
	if err != nil {
		t.Fatal(err)
	}
	got := hex.EncodeToString(b)
	for line := range strings.Lines(string(data)) {
		if want, ok := strings.CutPrefix(strings.TrimSpace(line), name+": "); ok {
			if got != want {
				t.Errorf("%s is encoded as\n%s, not\n%s", name, got, want)
			}
			return
		}
	}
	t.Errorf("no golden bytes for\n%s: %s", name, got)
}

func goldenHeader() header {
	return header{
		epoch:    3,
		before:   Position{Epoch: 2, Sequence: 0x1234, Digest: Digest{0xd1, 15: 0xd2}},
		created:  1772366400000000003,
		previous: 0x1000,
		length:   0x56789,
	}
}

func TestHeaderGolden(t *testing.T) {
	h := goldenHeader()
	b := h.encode()
	if len(b) != headerSize {
		t.Fatalf("%d bytes", len(b))
	}
	checkGolden(t, "header", b)
	got, err := decodeHeader(b)
	if err != nil || got != h {
		t.Fatalf("decoded as %+v, %v", got, err)
	}
	for i := range b {
		other := bytes.Clone(b)
		other[i] ^= 0x40
		if _, err := decodeHeader(other); err == nil {
			t.Errorf("byte %d may be changed", i)
		}
	}
}

func TestRecordGolden(t *testing.T) {
	h := goldenHeader()
	h.encode()
	at := Position{Epoch: h.epoch, Sequence: h.before.Sequence, Digest: h.before.Digest}
	now := time.Unix(0, 1772366400000000004)
	for pending, c := range goldenEntries() {
		b, next := appendRecord(nil, h.sum, at, now, uint32(pending), encode(t, c.entry))
		checkGolden(t, "record "+c.name, b)
		f := decodeFrame(b)
		want := frame{length: len(b) - frameSize, sum: f.sum, at: next, time: now.UnixNano(), pending: uint32(pending)}
		if f != want || frameSum(h.sum, b) != f.sum {
			t.Errorf("%s: decoded as %+v, not %+v", c.name, f, want)
		}
		if err := f.follows(at, b); err != nil {
			t.Error(err)
		}
		at = next
	}
}

func goldenCursors() cursorState {
	return cursorState{
		head: Position{Epoch: 3, Sequence: 0x1240, Digest: Digest{1, 15: 2}},
		cursors: map[string]Position{
			"mx2.example.net": {Epoch: 3, Sequence: 0x1239, Digest: Digest{3, 15: 4}},
			"a":               {},
		},
	}
}

func TestCursorsGolden(t *testing.T) {
	for name, s := range map[string]cursorState{"cursors": goldenCursors(), "cursors none": {cursors: map[string]Position{}}} {
		b := s.encode()
		checkGolden(t, name, b)
		got, err := decodeCursors(b)
		if err != nil || !reflect.DeepEqual(got, s) {
			t.Errorf("%s: decoded as %+v, %v", name, got, err)
		}
		for i := range b {
			other := bytes.Clone(b)
			other[i] ^= 0x40
			if _, err := decodeCursors(other); err == nil {
				t.Errorf("%s: byte %d may be changed", name, i)
			}
			if _, err := decodeCursors(b[:i]); err == nil {
				t.Errorf("%s: may end at byte %d", name, i)
			}
		}
	}
}

func TestNewerIsNotCorrupt(t *testing.T) {
	h := goldenHeader()
	segment, cursors := h.encode(), goldenCursors().encode()
	segment[11], cursors[11] = 2, 2 // and the checksums do not match, as those of a newer format need not
	if _, err := decodeHeader(segment); !errors.Is(err, ErrNewer) {
		t.Errorf("segment: %v", err)
	}
	if _, err := decodeCursors(cursors); !errors.Is(err, ErrNewer) {
		t.Errorf("cursors: %v", err)
	}
}

func FuzzDecodeCursors(f *testing.F) {
	f.Add(goldenCursors().encode())
	f.Add(cursorState{}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeCursors(b)
		if err != nil {
			return
		}
		if again := s.encode(); !bytes.Equal(again, b) {
			t.Fatalf("%x is also %x", b, again)
		}
	})
}
