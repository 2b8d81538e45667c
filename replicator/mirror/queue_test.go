package mirror

import (
	"slices"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
)

// TestWhatCameLatelyGoesBeforeTheRest of what waits to be asked for, but not before
// what is owed.
func TestWhatCameLatelyGoesBeforeTheRest(t *testing.T) {
	var r resync
	for _, step := range []struct {
		owed, late bool
		paths      []journal.Path
	}{
		{false, false, []journal.Path{"old/1", "old/2"}}, {false, true, []journal.Path{"late/1"}},
		{true, false, []journal.Path{"owed"}}, {false, true, []journal.Path{"late/2", "late/3"}}, {false, false, []journal.Path{"old/3"}},
	} {
		for i, p := range step.paths {
			w := &want{path: p, owed: step.owed, late: step.late, turn: uint64(i)}
			if step.owed {
				r.enqueue(w)
			} else {
				r.held = append(r.held, w)
			}
		}
		r.queueHeld()
	}
	var got []journal.Path
	for _, w := range r.queue {
		got = append(got, w.path)
	}
	if want := []journal.Path{"owed", "late/1", "late/2", "late/3", "old/1", "old/2", "old/3"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
