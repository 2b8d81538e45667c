package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/mailtwin/mailtwin/replicator/status"
)

// TestStatusOfMailboxes: in words and as JSON, whatever the state of the node is.
func TestStatusOfMailboxes(t *testing.T) {
	s := serving(t, status.Syncing)
	out := s.run(0, "status", "--mailboxes", "--under", "/example.org/")
	for _, words := range []string{
		"mx2 has of what mx1 has", "example.org", "99 %", "999 of 1000 messages", "2.0 KiB of 4.0 KiB", "1 of 2 mailboxes complete",
		"users", "and 20 more, which lack no more than these",
	} {
		if !strings.Contains(out, words) {
			t.Errorf("%q is not in\n%s", words, out)
		}
	}
	var doc status.Mailboxes
	if err := json.Unmarshal([]byte(s.run(0, "status", "--mailboxes", "--json", "--limit", "3")), &doc); err != nil || doc.UsersOmitted != 3 || doc.Mirror != "mx2" {
		t.Errorf("%+v, %v", doc, err)
	}
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{3, "no mirror has joined", []string{"--mailboxes", "--under", "nowhere"}},
		{3, "path", []string{"--mailboxes", "--under", "a/../b"}},
		{3, "mailboxes watch", []string{"--mailboxes", "--watch"}},
	} {
		if out := s.run(c.code, append([]string{"status"}, c.args...)...); out != "" || !strings.Contains(s.err.String(), c.says) {
			t.Errorf("%q: printed %q and %q", c.args, out, &s.err)
		}
	}
}
