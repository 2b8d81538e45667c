package status

import (
	"strings"
	"testing"
)

func TestLost(t *testing.T) {
	for want, l := range map[string]Loss{
		"nothing": {Known: true},
		"unknown: nothing that is known of, but the other side is not heard of":        {},
		"unknown: nothing that is known of, but the primary cannot read 3 files":       {Known: true, Unreadable: 3},
		"unknown: at least 2 changes, 1.0 KiB, of the last 1.5s":                       {Known: true, Unreadable: 3, Entries: 2, Bytes: 1 << 10, Seconds: 1.5},
		"2 changes and 4 files that were never copied, 1.0 KiB":                        {Known: true, Entries: 2, Files: 4, Bytes: 1 << 10},
		"unknown: nothing that is known of, but what the other side says is 1m30s old": {Seconds: 90},
		"unknown: nothing that is known of, but " + DoubtWords([]Doubt{{"a", "b"}}):    {Known: true, Doubtful: DoubtWords([]Doubt{{"a", "b"}})},
		"nothing; 5 messages are assumed equal, by name and size, not yet proven":      {Known: true, Assumed: 5},
	} {
		if got := Lost(l); got.Words != want || got.Known && (l.Unreadable > 0 || l.Doubtful != "") {
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
