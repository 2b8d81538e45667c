package primary

import "testing"

func TestBuffers(t *testing.T) {
	var b buffers
	for _, n := range []int64{0, 1, smallestBuffer - 1, smallestBuffer, smallestBuffer + 1, 100_000, prefetchSize - 1, prefetchSize} {
		lent := b.lend(n)
		if int64(len(lent)) != n || cap(lent) > prefetchSize || int64(cap(lent)) > max(2*n, smallestBuffer) {
			t.Errorf("%d bytes: a buffer of %d with room for %d", n, len(lent), cap(lent))
		}
		b.takeBack(lent)
		// Whatever is lent again is large enough.
		if again := b.lend(int64(cap(lent))); len(again) != cap(lent) {
			t.Errorf("%d bytes are lent again as %d", cap(lent), len(again))
		}
	}
}
