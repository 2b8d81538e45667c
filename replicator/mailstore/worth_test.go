package mailstore

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
)

func TestParseFirst(t *testing.T) {
	got, err := ParseFirst(" example.com/anna/ ,, /b c,example.org")
	if want := []journal.Path{"example.com/anna", "b c", "example.org"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := ParseFirst(""); err != nil || len(got) > 0 {
		t.Errorf("nothing is %q, %v", got, err)
	}
	for _, list := range []string{"a/../b", "a, ..", "a\x00", strings.Repeat("a,", maxFirst+1)} {
		if _, err := ParseFirst(list); !errors.Is(err, ErrFirst) {
			t.Errorf("%.20q: %v", list, err)
		}
	}
}

func TestArchive(t *testing.T) {
	for p, want := range map[journal.Path]bool{
		"anna/.Archive": true, "anna/.Archive.2020": true, "anna/Archives/2020": true, "anna/.Deleted Messages": true,
		"anna/.INBOX.Trash": true, "anna/.Archived by me": false, "anna/.Sent": false, "anna": false, ".": false,
	} {
		if got := (Maildir{}).Archive(p); got != want {
			t.Errorf("%q: %v", p, got)
		}
	}
}
