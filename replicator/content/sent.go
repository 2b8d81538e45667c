package content

import "hash/maphash"

// DefaultWindow is the number of chunks that both sides remember: about 4 GiB
// of new content.
const DefaultWindow = 1 << 16

// chunkID names a chunk within one window: a hash with a random seed, so that
// nobody who writes mail can know which chunks collide. Two of one full window of
// chunks do so once in 2^33 times, and with each further window that a stream sends
// once in 2^32. Nothing rests on that they do not: the content's id shows it, and the
// stream begins anew with another seed.
type chunkID uint64

// chunkHasher makes chunkIDs.
type chunkHasher maphash.Seed

func newChunkHasher() chunkHasher { return chunkHasher(maphash.MakeSeed()) }

func (c chunkHasher) id(data []byte) chunkID {
	return chunkID(maphash.Bytes(maphash.Seed(c), data))
}

// Sent is the primary's window: it knows the newest chunks sent on a stream.
// It takes about 40 bytes a chunk. It is not safe for concurrent use.
type Sent struct {
	hasher chunkHasher
	ring   []chunkID // by number modulo its length
	number map[chunkID]uint64
	next   uint64
	packer *StreamCompressor // made when it is first needed
}

// NewSent returns the window of a new stream, of at most window chunks. With a
// window of 0 nothing is ever found.
func NewSent(window int) *Sent {
	return &Sent{
		hasher: newChunkHasher(),
		ring:   make([]chunkID, max(window, 0)),
		number: make(map[chunkID]uint64),
	}
}

// pack compresses an unnumbered chunk in the stream's context. Its block has to
// be sent then.
func (s *Sent) pack(chunk []byte) (Packed, error) {
	if s.packer == nil {
		var err error
		if s.packer, err = NewStreamCompressor(); err != nil {
			return Packed{}, err
		}
	}
	block, err := s.packer.Compress(chunk)
	return Packed{Block: block, Size: len(chunk)}, err
}

// lookup returns the number of a chunk that the mirror still remembers.
func (s *Sent) lookup(id chunkID) (uint64, bool) {
	n, ok := s.number[id]
	return n, ok
}

// add gives the next number to a chunk that is being sent; the oldest one is
// forgotten. The number of a chunk added again is the newer one.
func (s *Sent) add(id chunkID) uint64 {
	n := s.next
	s.next++
	if size := uint64(len(s.ring)); size > 0 {
		slot := &s.ring[n%size]
		if n >= size && s.number[*slot] == n-size {
			delete(s.number, *slot)
		}
		*slot = id
		s.number[id] = n
	}
	return n
}
