package status

import (
	"bytes"
	"strings"
	"testing"
)

// TestMailboxesInTheFirstScan: what is complete is so only as far as is known.
func TestMailboxesInTheFirstScan(t *testing.T) {
	h := Holding{Name: "ex.org", Mailboxes: 2, Complete: 2, Proven: 2, Messages: 3, Here: 3}
	m := &Mailboxes{Primary: "mx1", Mirror: "mx2", Total: h, Domains: []Holding{h}, FirstScan: true}
	render := func() string {
		var b bytes.Buffer
		if err := RenderMailboxes(&b, m); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	out := render()
	for _, words := range []string{"complete, proven so far", "2 of 2 mailboxes complete so far"} {
		if strings.Count(out, words) != 2 {
			t.Errorf("%q is not twice in\n%s", words, out)
		}
	}
	if !strings.HasPrefix(out, "mx1 is still looking at its store for the first time") {
		t.Errorf("printed\n%s", out)
	}
	m.Total, m.Domains = Holding{}, nil
	if out = render(); strings.Contains(out, "complete") || !strings.Contains(out, "none is known yet") {
		t.Errorf("of nothing it printed\n%s", out)
	}
	if m.FirstScan = false; strings.Contains(render(), "so far") {
		t.Errorf("when all is known it printed\n%s", render())
	}
}
