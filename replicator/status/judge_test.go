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
