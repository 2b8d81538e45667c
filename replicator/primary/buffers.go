package primary

import (
	"math/bits"
	"sync"
)

// smallestBuffer is the size of the smallest buffer; each further size is twice
// the one before, up to prefetchSize.
const smallestBuffer = 4 << 10

// buffers lends memory for the contents that are read ahead: else each message
// would be a piece of memory to be cleared, and to be collected again. It may
// be used concurrently; the zero value is ready.
type buffers struct {
	sizes [9]sync.Pool // of *[]byte
}

// sizeOf returns the place in sizes of the buffers for n bytes.
func sizeOf(n int64) int {
	return bits.Len64(uint64(max(n, 1)-1) / smallestBuffer)
}

// lend returns n bytes, no more than prefetchSize, that hold anything.
func (b *buffers) lend(n int64) []byte {
	i := sizeOf(n)
	if p, ok := b.sizes[i].Get().(*[]byte); ok {
		return (*p)[:n]
	}
	return make([]byte, n, smallestBuffer<<i)
}

// takeBack takes back what was lent. Nobody may use it any more.
func (b *buffers) takeBack(lent []byte) {
	b.sizes[sizeOf(int64(cap(lent)))].Put(&lent)
}
