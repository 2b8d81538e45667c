package watch

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
)

const goldenTroubled = `mailtwin-troubled 1 0955551c ["dTEvY3VyLzEuaDoyLA==","dTIv/24="]`

func TestTroubled(t *testing.T) {
	paths := []journal.Path{"u1/cur/1.h:2,", "u2/\xffn"}
	text, err := troubledText(paths)
	if err != nil {
		t.Fatal(err)
	}
	list := string(text[strings.IndexByte(string(text), '['):])
	if string(text) != goldenTroubled {
		t.Errorf("%s, not %s", text, goldenTroubled)
	}
	for _, form := range []string{string(text), list} { // there were no versions at first
		got, err := parseTroubled([]byte(form))
		if err != nil || len(got) != len(paths) {
			t.Fatalf("%q: %v, %v", form, got, err)
		}
		for _, p := range paths {
			if _, ok := got[p]; !ok {
				t.Errorf("%q lacks %q", form, p)
			}
		}
	}
	many, _ := troubledText(slices.Repeat(paths, maxTroubled))
	absolute, _ := troubledText([]journal.Path{"/etc"})
	for form, want := range map[string]error{
		"":                         errTroubled,
		string(text[:20]):          errTroubled,
		string(text[:len(text)-1]): errTroubled,
		strings.Replace(string(text), "dT", "dR", 1):   errTroubled,
		strings.Replace(string(text), " 1 ", " 2 ", 1): errTroubledNewer,
		string(many):     errTroubled,
		string(absolute): errTroubled,
		`["dTEvY3Vy"`:    errTroubled,
	} {
		if _, err := parseTroubled([]byte(form)); !errors.Is(err, want) {
			t.Errorf("%.40q: %v, not %v", form, err, want)
		}
	}
}

func FuzzTroubled(f *testing.F) {
	text, _ := troubledText([]journal.Path{"u1/cur/1.h:2,"})
	f.Add(text)
	f.Add([]byte(`["dTEvY3Vy"]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := parseTroubled(text)
		if err != nil {
			return
		}
		var paths []journal.Path
		for p := range got {
			paths = append(paths, p)
		}
		again, err := troubledText(paths)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := parseTroubled(again); err != nil || len(back) != len(got) {
			t.Errorf("%q became %q: %v", text, again, err)
		}
	})
}
