package ranked

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestFirst: what is kept is what sorting all of it would put first.
func TestFirst(t *testing.T) {
	for _, tt := range []struct{ limit, of int }{{0, 3}, {1, 1}, {5, 3}, {10, 1000}} {
		f, all := NewFirst(tt.limit, cmp.Compare[int]), rand.Perm(tt.of)
		for _, v := range all {
			f.Add(v)
		}
		slices.Sort(all)
		want := all[:min(tt.limit, tt.of)]
		if kept, omitted := f.Sorted(); !slices.Equal(kept, want) || int(omitted) != tt.of-len(want) {
			t.Errorf("%d of %d: %v, %d omitted", tt.limit, tt.of, kept, omitted)
		}
	}
}
