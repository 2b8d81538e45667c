package replicator

import (
	"testing"
	"time"
)

// TestSuspicion: a store with some files that cannot be read is tried now and then,
// and at once when there are more of them.
func TestSuspicion(t *testing.T) {
	var tr trial
	begin := time.Now()
	for _, ask := range []struct {
		after      time.Duration
		suspicious int
		want       bool
	}{
		{0, 0, false}, {0, 1, true}, {3 * time.Second, 1, false}, {6 * time.Second, 2, true},
		{9 * time.Second, 1, false}, {9 * time.Second, 1, false}, {35 * time.Second, 1, false},
		{36 * time.Second, 1, true}, {100 * time.Second, 0, false}, {101 * time.Second, 1, true},
	} {
		if got := tr.suspects(ask.suspicious, begin.Add(ask.after)); got != ask.want {
			t.Errorf("after %v, with %d files: %t", ask.after, ask.suspicious, got)
		}
	}
}
