package watch

import (
	"testing"
	"time"
)

func TestMomentComesBack(t *testing.T) {
	both := Moment{Store: time.Unix(7, 8), Node: time.Unix(-9, 1)}
	if text := string(both.text()); text != "7000000008 -8999999999" {
		t.Errorf("%q", text)
	}
	for text, want := range map[string]Moment{
		string(both.text()): both,
		"7000000008":        {Store: time.Unix(7, 8), Node: time.Unix(7, 8)},
	} {
		if got, err := parseMoment(text); err != nil || got != want {
			t.Errorf("%q is %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", " ", "7 ", "7 8 9", "x", "7 x"} {
		if got, err := parseMoment(text); err == nil {
			t.Errorf("%q is %+v", text, got)
		}
	}
}

func FuzzMoment(f *testing.F) {
	f.Add("7 8")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseMoment(text)
		if err != nil {
			return
		}
		if again, err := parseMoment(string(got.text())); err != nil || again != got {
			t.Errorf("%q is %+v, and then %+v, %v", text, got, again, err)
		}
	})
}
