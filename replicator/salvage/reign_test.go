package salvage

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
)

func TestReignComesBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "salvage")
	start := journal.Position{Epoch: 1, Sequence: 7, Digest: journal.Digest{1, 2}}
	other := journal.Position{Epoch: 1, Sequence: 9}
	want := Reign{Epoch: 2, Start: start, Whole: true}
	if got := LoadReign(dir, 2, other); got != (Reign{Epoch: 2, Start: other, Guess: true}) {
		t.Errorf("nothing written down: %+v", got)
	}
	if got := LoadReign(dir, 2, journal.Position{}); got.Guess {
		t.Errorf("nothing written down, and the journal is whole: %+v", got)
	}
	if got := LastReign(dir); got != 1 {
		t.Errorf("the first primary was one of epoch %d", got)
	}
	if err := SaveReign(dir, want); err != nil {
		t.Fatal(err)
	}
	if got := LoadReign(dir, 2, other); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := LoadReign(dir, 3, other); got != (Reign{Epoch: 3, Start: start, Whole: true}) {
		t.Errorf("taken back: %+v", got)
	}
	if got := LoadReign(dir, 1, other); got.Whole || got.Start != other || !got.Guess {
		t.Errorf("of a later epoch: %+v", got)
	}
	if got := LastReign(dir); got != 2 {
		t.Errorf("it was primary of epoch %d", got)
	}
	path := filepath.Join(dir, reignFile)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const golden = "mailtwin-reign 1 2 1 7 01020000000000000000000000000000 1 "
	if string(data[:len(data)-9]) != golden {
		t.Errorf("%q, want %q", data, golden)
	}
	for i := range data {
		bad := append([]byte{}, data...)
		bad[i] ^= 1
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := LoadReign(dir, 2, other); got.Whole {
			t.Errorf("damaged at %d: %+v", i, got)
		}
	}
}

func FuzzReign(f *testing.F) {
	f.Add(Reign{Epoch: 2, Start: journal.Position{Epoch: 1, Sequence: 7}, Whole: true}.line())
	f.Fuzz(func(t *testing.T, text string) {
		if r, err := parseReign(text); err == nil && r.line() != text {
			t.Errorf("%q is %q", text, r.line())
		}
	})
}
