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

// TestTake: what is taken out comes first of what is there at that time, and what is
// left is bounded as ever.
func TestTake(t *testing.T) {
	f := NewFirst(5, cmp.Compare[int])
	if got := f.Take(3); len(got) != 0 {
		t.Errorf("of nothing %v", got)
	}
	for _, step := range []struct {
		add  []int
		take int
		want []int
	}{
		{[]int{9, 4, 7}, 2, []int{4, 7}},
		{[]int{8, 1, 3, 6, 2}, 2, []int{1, 2}},
		{nil, 0, nil},
		{[]int{5}, 9, []int{3, 5, 6, 8}},
	} {
		for _, v := range step.add {
			f.Add(v)
		}
		if got := f.Take(step.take); !slices.Equal(got, step.want) {
			t.Errorf("after %v came %v, want %v", step.add, got, step.want)
		}
	}
	if _, omitted := f.Sorted(); omitted != 1 {
		t.Errorf("%d were omitted, want that one which came last", omitted)
	}
}

// TestTakeSortsOnce: taking a few at a time does not look at all that are left.
func TestTakeSortsOnce(t *testing.T) {
	compared := 0
	f := NewFirst(1000, func(a, b int) int { compared++; return cmp.Compare(a, b) })
	for i := range 1000 {
		f.Add(i * 7919 % 1000)
	}
	take := func(want ...int) {
		t.Helper()
		if got := f.Take(len(want)); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	take(0, 1, 2, 3)
	compared = 0
	take(4, 5, 6, 7)
	take(8, 9)
	if compared > 0 {
		t.Errorf("%d were compared though none was added", compared)
	}
	f.Add(3)
	take(3, 10)
}
