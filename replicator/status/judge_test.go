package status

import (
	"strings"
	"testing"
)

func TestLost(t *testing.T) {
	for want, l := range map[string]Loss{
		"nothing": {},
		"unknown: nothing that is known of, but mx2 is not heard of":             {Why: "mx2 is not heard of"},
		"unknown: nothing that is known of, but the primary cannot read 3 files": {Unreadable: 3},
		"unknown: at least 2 changes, 1.0 KiB, of the last 1.5s; the primary cannot read 3 files": {
			Unreadable: 3, Entries: 2, Bytes: 1 << 10, Seconds: 1.5,
		},
		"2 changes and 4 files that were never copied, 1.0 KiB":                   {Entries: 2, Files: 4, Bytes: 1 << 10},
		"unknown: nothing that is known of, but what mx1 says is 1m30s old":       {Why: "what mx1 says is 1m30s old", Seconds: 90},
		"nothing; 5 messages are assumed equal, by name and size, not yet proven": {Assumed: 5},
		"unknown: nothing that is known of, but " + Polled("no watches are left"): {Why: Polled("no watches are left")},
	} {
		if got := Lost(l); got.Words != want || got.Known != (l.Why == "" && l.Unreadable == 0) {
			t.Errorf("%+v, want %q", got, want)
		}
	}
}

func TestDoubts(t *testing.T) {
	all := []Doubt{{"a", "it is gone"}, {"b", "it is another"}, {"c", "it is empty"}, {"d", "x"}, {"e", "x"}}
	words := DoubtWords(all)
	if !strings.HasSuffix(words, ": a (it is gone), b (it is another), c (it is empty), and 2 more") || DoubtWords(nil) != "" {
		t.Errorf("%q", words)
	}
	d := Document{Role: "primary", Store: Store{State: "watching", Doubtful: all, DoubtWords: words}, Mirrors: []Mirror{{Name: "mx2", State: InSync}}}
	if Judge(&d); d.State != Attention || d.State.ExitCode() != 2 || !strings.Contains(d.Detail, "b (it is another)") || !strings.Contains(d.Detail, "accept store") {
		t.Errorf("%s: %s", d.State, d.Detail)
	}
	var out strings.Builder
	if err := Render(&out, &d); err != nil || !strings.Contains(out.String(), "in doubt") || !strings.Contains(out.String(), "d: x") {
		t.Errorf("%v:\n%s", err, out.String())
	}
}

// TestJudgeJournal: a primary that cannot journal needs a person, and whose
// changes are found by scans is not said to have everything on its mirror.
func TestJudgeJournal(t *testing.T) {
	good := Document{Role: "primary", Store: Store{State: "watching"}, Mirrors: []Mirror{{Name: "mx2", State: InSync}}}
	for _, c := range []struct {
		name   string
		change func(*Document)
		state  State
		words  string
	}{
		{"good", func(*Document) {}, InSync, "all that is known"},
		{"a full disk", func(d *Document) { d.Journal = &Journal{Error: "no space left on device"} }, Attention, "no space left on device"},
		{"scans", func(d *Document) { d.Loss.Why = Polled("no watches are left") }, InSync, "no watches are left"},
	} {
		d := good
		c.change(&d)
		if Judge(&d); d.State != c.state || !strings.Contains(d.Detail, c.words) {
			t.Errorf("%s: %s, %q", c.name, d.State, d.Detail)
		}
	}
}

// TestHeldBackIsHinted: what is held back counts among what cannot be read, and is told
// with what settles it.
func TestHeldBackIsHinted(t *testing.T) {
	d := Document{Role: "primary"}
	d.Store.Unreadable = 2
	if Judge(&d); d.State != Attention || !strings.Contains(d.Detail, "2 files") || !strings.Contains(d.Detail, "accept store") {
		t.Errorf("%s: %s", d.State, d.Detail)
	}
}
