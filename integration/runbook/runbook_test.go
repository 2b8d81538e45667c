package runbook

import (
	"strings"
	"testing"
)

const document = `# What to do

<!-- story: power; by chance: All changes | Of the -->
` + "```" + `
mx2# mailtwin status
state   UNKNOWN
node    mx2, mirror of pair-aaaa, epoch 1
error   2026-01-01 10:00:00: dial: [...] no route to host
[exit code 3]
mx2# mailtwin failover
All changes are here.
new 1.2 KiB example.org/ann/cur/1795632961.M8P1.mx1,S=1:2,F
new 1.2 KiB example.org/ben/cur/1795632961.M8P1.mx1,S=1:2,F
[...]
after 1m2.5s
` + "```" + `
The end.
`

func TestBlocks(t *testing.T) {
	status := "state  UNKNOWN\nnode   mx2, mirror of pair-7, epoch 12\nerror  2027-02-02 11:11:11: dial: 192.0.2.2: no route to host\n[exit code 3]\n"
	failover := "new 12 B example.org/eva/cur/1800000000.M8P1.mx1\n  plan 1ms\n  crown 2s\nafter 3s\n"
	for _, c := range []struct {
		name, status, failover string
		wrong                  []string
	}{
		{name: "as it is", status: status, failover: failover},
		{name: "other state", status: strings.Replace(status, "UNKNOWN", "LOST", 1), failover: failover, wrong: []string{"mailtwin status: the document has\nstate"}},
		{name: "no exit code", status: strings.Replace(status, "[exit code 3]\n", "", 1), failover: failover, wrong: []string{"mailtwin status"}},
		{name: "by chance", status: status, failover: "Of the changes, 3 are not.\nA note.\n" + failover},
		{name: "a line less", status: status, failover: strings.Replace(failover, "after 3s\n", "", 1), wrong: []string{"mailtwin failover: the document has"}},
		{name: "never typed", status: status, wrong: []string{"line 10 of the document, mx2# mailtwin failover: it was not typed"}},
	} {
		d, err := Parse(document)
		if err != nil {
			t.Fatal(err)
		}
		typed := []Typed{{"mx2", "mailtwin status", c.status}, {"mx1", "mailtwin failover", failover}, {"mx2", "mailtwin failover", c.failover}}
		if c.failover == "" {
			typed = typed[:2]
		}
		wrong := d.Check("power", typed)
		if len(wrong) != len(c.wrong) || len(wrong) > 0 && !strings.Contains(wrong[0], c.wrong[0]) {
			t.Errorf("%s: %q", c.name, wrong)
		}
	}
}

func TestUpdate(t *testing.T) {
	d, err := Parse(document)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Update("power", []Typed{
		{"mx2", "mailtwin status", "state  KNOWN\n"},
		{"mx2", "mailtwin failover", "Of the changes, 3 are not.\nnew 5 B example.org/eva/cur/1800000000.M8P1.mx1\n  plan 1ms\nafter 3s\n"},
	}); err != nil {
		t.Fatal(err)
	}
	before, rest, _ := strings.Cut(document, "state ")
	_, after, _ := strings.Cut(rest, "2.5s\n")
	want := before + "state  KNOWN\nmx2# mailtwin failover\nOf the changes, 3 are not.\nnew 5 B example.org/eva/cur/1800000000.M8P1.mx1\n[...]\nafter 3s\n" + after
	if d.String() != want {
		t.Errorf("%s\nwant\n%s", d, want)
	}
}

func TestParseErrors(t *testing.T) {
	for text, words := range map[string]string{
		"```\nmx1# mailtwin status\n```": "no comment says of which story",
		"<!-- story: a -->\n```\na\n```": "does not begin with a command",
		"a\n```\nb":                      "line 2: the block does not end",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%q: %v, want %q", text, err, words)
		}
	}
}
