package content

import (
	"fmt"
	"hash/maphash"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Source is where the bytes of a transfer can be read again: while it is being
// staged, and later from the store. It must give all that Decoder.Write has
// written so far. It answers with an error, or with other bytes, when they are
// gone: either is found out. It should be small (a window holds up to one for
// each chunk) and hold no descriptor open.
type Source interface {
	ReadAt(p []byte, off int64) (int, error)
}

// DefaultCache is the size in bytes of a Received window's cache.
const DefaultCache = 8 << 20

// freshCache is how much of the cache is for chunks that nothing has referred to
// yet: enough for those that the transfers under way have not written out. Most
// are never referred to, and must not push out those that are again and again.
const freshCache = 1 << 20

// Received is the mirror's window: it knows where the newest chunks of a
// stream can be found again. It takes 48 bytes a chunk and its cache. It is
// not safe for concurrent use, nor are the Decoders of one window with each
// other.
type Received struct {
	seed    maphash.Seed
	ring    []location // by number modulo its length
	next    uint64
	fresh   cache // chunks as they come
	kept    cache // chunks that were referred to
	zstd    *zstd.Decoder
	packed  *StreamDecompressor // made when it is first needed
	scratch []byte
}

// location is where a chunk can be found again.
type location struct {
	source Source // nil: nowhere
	offset int64
	size   int32
	kept   bool   // cached is in the cache of chunks that were referred to
	check  uint64 // of the bytes; it finds accidents, the content's id everything else
	cached uint64 // place in a cache
}

// NewReceived returns the window of a new stream, of window chunks: the number
// that the mirror told the primary. cacheBytes bounds the memory for bytes of
// recent chunks; at least MaxChunk, or 0 for no cache.
func NewReceived(window, cacheBytes int) *Received {
	dec, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderMaxMemory(MaxChunk),
		zstd.WithDecoderMaxWindow(MaxChunk),
		zstd.WithDecodeAllCapLimit(true), // never more than fits into scratch
	)
	if err != nil {
		panic(err) // only for options that contradict each other
	}
	fresh := min(cacheBytes, freshCache)
	return &Received{
		seed:    maphash.MakeSeed(),
		ring:    make([]location, max(window, 0)),
		fresh:   newCache(fresh),
		kept:    newCache(cacheBytes - fresh),
		zstd:    dec,
		scratch: make([]byte, 0, MaxChunk),
	}
}

// Skip takes note of a piece that is not wanted (of a transfer that was given
// up): its number counts, its bytes are not to be had again. Those behind it
// may still be packed with what was in it: it may be ErrCorrupt.
func (r *Received) Skip(p Piece) error {
	if p.numbered() {
		r.add(location{})
	}
	if len(p.Packed.Block) == 0 {
		return nil
	}
	_, err := r.unpack(p.Packed)
	return err
}

// Close lets go of what the window holds beside memory.
func (r *Received) Close() {
	if r.packed != nil {
		r.packed.Close()
	}
}

// unpack returns the bytes of a packed chunk.
func (r *Received) unpack(p Packed) ([]byte, error) {
	if r.packed == nil {
		var err error
		if r.packed, err = NewStreamDecompressor(MinChunk); err != nil {
			return nil, err
		}
	}
	return r.packed.Decompress(p.Block, p.Size)
}

// add gives the next number to a chunk and returns where it is kept, nil in a
// window of none.
func (r *Received) add(l location) *location {
	n := r.next
	r.next++
	if len(r.ring) == 0 {
		return nil
	}
	slot := &r.ring[n%uint64(len(r.ring))]
	*slot = l
	return slot
}

// bytes returns the bytes of a new chunk, valid until the next call.
func (r *Received) bytes(p Piece) ([]byte, error) {
	data := p.Raw
	var err error
	switch {
	case p.Size() != max(len(p.Raw), len(p.Zstd), len(p.Packed.Block)):
		return nil, fmt.Errorf("%w: two kinds in one", ErrCorrupt)
	case len(p.Zstd) > 0:
		if data, err = r.zstd.DecodeAll(p.Zstd, r.scratch[:0]); err != nil {
			return nil, fmt.Errorf("%w: decompressing %d bytes: %w", ErrCorrupt, len(p.Zstd), err)
		}
	case len(p.Packed.Block) > 0:
		if p.numbered() {
			return nil, fmt.Errorf("%w: a packed chunk with a number", ErrCorrupt)
		}
		if data, err = r.unpack(p.Packed); err != nil {
			return nil, err
		}
	}
	if len(data) == 0 || len(data) > MaxChunk {
		return nil, fmt.Errorf("%w: a chunk of %d bytes", ErrCorrupt, len(data))
	}
	return data, nil
}

// check refuses a run that is not wholly within the window.
func (r *Received) check(run Run) error {
	window := uint64(len(r.ring))
	oldest := r.next - min(r.next, window)
	if run.First < oldest || run.First >= r.next || run.Count > r.next-run.First {
		return fmt.Errorf("%w: refers to %d chunks from %d on, known are those from %d to before %d",
			ErrCorrupt, run.Count, run.First, oldest, r.next)
	}
	return nil
}

// find returns the bytes of a chunk within the window, valid until the next
// call, and where it is kept.
func (r *Received) find(n uint64) ([]byte, *location, error) {
	l := &r.ring[n%uint64(len(r.ring))]
	if l.size > 0 {
		if data := r.cached(l); data != nil {
			return data, l, nil
		}
	}
	if l.source == nil {
		return nil, nil, fmt.Errorf("%w: number %d was not kept", ErrChunkLost, n)
	}
	data := r.scratch[:l.size]
	if got, err := l.source.ReadAt(data, l.offset); got < len(data) {
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		return nil, nil, fmt.Errorf("%w: number %d: %w", ErrChunkLost, n, err)
	}
	if maphash.Bytes(r.seed, data) != l.check {
		return nil, nil, fmt.Errorf("%w: number %d: other bytes are there", ErrChunkLost, n)
	}
	r.keep(l, data)
	return data, l, nil
}

// cached returns the bytes of a chunk that is referred to; nil if they are in
// no cache.
func (r *Received) cached(l *location) []byte {
	if l.kept {
		return r.kept.get(l.cached, int(l.size))
	}
	data := r.fresh.get(l.cached, int(l.size))
	if data != nil {
		r.keep(l, data)
	}
	return data
}

// keep puts a chunk that is referred to where it lasts.
func (r *Received) keep(l *location, data []byte) {
	if place := r.kept.put(data); place != 0 {
		l.cached, l.kept = place, true
	}
}

// cache keeps the bytes of recent chunks in a ring. A place is the count of
// bytes that went in up to the chunk's end; it is good for as long as the ring
// has not come round to it.
type cache struct {
	ring []byte
	end  uint64
}

func newCache(size int) cache {
	if size < MaxChunk {
		return cache{}
	}
	return cache{ring: make([]byte, size)}
}

// put returns the place of a copy of data; 0 without a cache.
func (c *cache) put(data []byte) uint64 {
	size := uint64(len(c.ring))
	if size == 0 {
		return 0
	}
	if room := size - c.end%size; room < uint64(len(data)) {
		c.end += room // a chunk is never in two parts
	}
	copy(c.ring[c.end%size:], data)
	c.end += uint64(len(data))
	return c.end
}

// get returns the chunk at a place, nil if it is no longer there. It is valid
// until the next put.
func (c *cache) get(place uint64, length int) []byte {
	if place == 0 {
		return nil
	}
	begin := place - uint64(length)
	if c.end-begin > uint64(len(c.ring)) {
		return nil
	}
	at := begin % uint64(len(c.ring))
	return c.ring[at:][:length:length]
}
