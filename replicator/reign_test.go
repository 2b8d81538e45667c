package replicator

import (
	"testing"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/mirror"
)

// TestReign: a mirror that lacks anything, or has only guessed that it has it, did
// not have all when it is promoted.
func TestReign(t *testing.T) {
	for name, c := range map[string]struct {
		standing mirror.Standing
		whole    bool
	}{
		"all":     {mirror.Standing{Whole: true, Totals: catalog.Totals{Files: 9, Unread: 3}}, true},
		"not yet": {mirror.Standing{}, false},
		"missing": {mirror.Standing{Whole: true, Totals: catalog.Totals{Files: 9, Missing: 1}}, false},
		"assumed": {mirror.Standing{Whole: true, Totals: catalog.Totals{Files: 9, Unread: 1, Guessed: 1}}, false},
	} {
		at := journal.Position{Epoch: 1, Sequence: 7}
		if r := reign(2, at, c.standing); r.Whole != c.whole || r.Epoch != 2 || r.Start != at {
			t.Errorf("%s: %+v", name, r)
		}
	}
}
