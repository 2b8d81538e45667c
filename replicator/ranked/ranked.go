package ranked

import (
	"container/heap"
	"slices"
)

// First keeps those that come first, up to a limit, of all that it is given. It
// is for one goroutine.
type First[T any] struct {
	limit   int
	omitted uint64
	kept    lastOnTop[T]
	sorted  bool // those kept are in their order, the last in front
}

// NewFirst returns a First that keeps limit of them; compare says which of two
// comes first, as for slices.SortFunc, and of no two that they are equal.
func NewFirst[T any](limit int, compare func(a, b T) int) *First[T] {
	return &First[T]{limit: limit, kept: lastOnTop[T]{all: []T{}, compare: compare}}
}

// Add takes one more.
func (f *First[T]) Add(v T) {
	f.sorted = false
	heap.Push(&f.kept, v)
	if len(f.kept.all) > f.limit {
		heap.Pop(&f.kept)
		f.omitted++
	}
}

// Sorted returns those that were kept, in their order and never nil, and how many
// were not.
// Nothing may be added behind it.
func (f *First[T]) Sorted() (kept []T, omitted uint64) {
	slices.SortFunc(f.kept.all, f.kept.compare)
	f.sorted = false
	return f.kept.all, f.omitted
}

// Take takes out those that come first, no more than n, in their order. What is added
// behind it competes with what is left. It sorts them if one was added since it was
// called last, and else costs nothing but what it returns.
func (f *First[T]) Take(n int) []T {
	all := f.kept.all
	if !f.sorted { // with the last in front it is a heap as well
		slices.SortFunc(all, func(a, b T) int { return f.kept.compare(b, a) })
		f.sorted = true
	}
	left := max(len(all)-n, 0)
	taken := slices.Clone(all[left:])
	clear(all[left:])
	f.kept.all = all[:left]
	slices.Reverse(taken)
	return taken
}

// lastOnTop is a heap with the one on top that comes last.
type lastOnTop[T any] struct {
	all     []T
	compare func(a, b T) int
}

func (h *lastOnTop[T]) Len() int           { return len(h.all) }
func (h *lastOnTop[T]) Less(i, j int) bool { return h.compare(h.all[i], h.all[j]) > 0 }
func (h *lastOnTop[T]) Swap(i, j int)      { h.all[i], h.all[j] = h.all[j], h.all[i] }

// Push implements heap.Interface.
func (h *lastOnTop[T]) Push(x any) {
	if v, ok := x.(T); ok {
		h.all = append(h.all, v)
	}
}

// Pop implements heap.Interface.
func (h *lastOnTop[T]) Pop() any {
	last := len(h.all) - 1
	v := h.all[last]
	h.all = h.all[:last]
	return v
}
