package content

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/bits"
)

// Sizes of chunks in bytes.
const (
	MinChunk = 16 << 10  // contents up to this are not cut; a cut is this far from the one before, save behind a header
	MaxChunk = 256 << 10 // no chunk is larger

	// minNumbered is the size from which a chunk is worth a number.
	minNumbered = 256
	// chunkBuffer is what a Chunker holds: with twice MaxChunk each byte is
	// moved at most once on its way through.
	chunkBuffer = 2 * MaxChunk
)

// Where hashes cut: rarely before normalChunk and often behind it, which keeps
// chunks of text and base64 near 64 KiB. The limits are those of a byte's hash,
// and times its length those of a line's.
const (
	normalChunk = 48 << 10
	rareCut     = ^uint64(0) / (128 << 10)
	oftenCut    = ^uint64(0) / (24 << 10)
)

// longestLine is how long a line of mail may be, with its end (RFC 5322), and
// lineTail how many bytes at the end of a line are hashed.
const (
	longestLine = 1000
	lineTail    = 32
)

// Chunk is a piece of a content.
type Chunk struct {
	Data     []byte // after Reset valid until the next call of Next or Reset
	Numbered bool   // worth referring to again
}

// Chunker cuts a content into chunks. It holds one buffer of 512 KiB whatever
// the size of the content. It is not safe for concurrent use.
type Chunker struct {
	r          io.Reader
	gear       [256]uint64
	own        []byte // what a reader is read into
	buf        []byte // own, or a content that is in memory
	start, end int    // what of buf is not yet given out
	err        error  // from r, io.EOF at the end
	first      bool   // nothing was given out yet
	trace      int    // bytes of the header to be given out next: its top,
	origin     int    // and the rest of it
}

// NewChunker returns a Chunker of what r yields.
func NewChunker(r io.Reader) *Chunker {
	c := &Chunker{own: make([]byte, chunkBuffer)}
	c.Reset(r)
	for i := range c.gear {
		c.gear[i] = mix(uint64(i) + 1)
	}
	return c
}

// mix spreads the bits of x (an odd-constant multiply and xor-shift cascade):
// the table of the rolling hash is the images of 1 to 256.
func mix(x uint64) uint64 {
	x *= 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Reset begins with another content.
func (c *Chunker) Reset(r io.Reader) {
	c.r, c.buf, c.start, c.end, c.err, c.first = r, c.own, 0, 0, nil, true
	c.trace, c.origin = 0, 0
}

// ResetBytes begins with another content, which is in memory: the chunks are
// slices of it.
func (c *Chunker) ResetBytes(data []byte) {
	c.Reset(nil)
	c.buf, c.end, c.err = data, len(data), io.EOF
}

// Next returns the next chunk, which is never empty; io.EOF behind the last.
// An error of the reader is returned as it is as soon as it is met; bytes read
// just before it are not given out then.
func (c *Chunker) Next() (Chunk, error) {
	c.fill()
	if c.err != nil && c.err != io.EOF {
		return Chunk{}, c.err
	}
	data := c.buf[c.start:c.end]
	if len(data) == 0 {
		return Chunk{}, io.EOF
	}
	if c.first {
		c.first = false
		if len(data) <= MinChunk {
			c.start = c.end
			return Chunk{Data: data}, nil
		}
		c.trace, c.origin = cutHeader(data[:min(len(data), MaxChunk)])
	}
	n, numbered := 0, true
	switch {
	case c.trace > 0:
		n, c.trace = c.trace, 0
		numbered = n > MinChunk // else it is of one recipient alone
	case c.origin > 0:
		n, c.origin = c.origin, 0
	default:
		n = c.cut(data)
	}
	c.start += n
	return Chunk{Data: data[:n:n], Numbered: numbered && n >= minNumbered}, nil
}

// fill reads until a whole chunk is there or the content ends.
func (c *Chunker) fill() {
	if c.end-c.start >= MaxChunk || c.err != nil {
		return
	}
	c.end = copy(c.buf, c.buf[c.start:c.end])
	c.start = 0
	for empty := 0; c.end < MaxChunk && c.err == nil; {
		var n int
		n, c.err = c.r.Read(c.buf[c.end:])
		c.end += n
		if n > 0 {
			empty = 0
		} else if empty++; empty == 100 && c.err == nil {
			c.err = io.ErrNoProgress
		}
	}
}

// cutHeader returns the lengths of a header's two parts: what the stations on
// the way put on top, to the end of the last Received field, differs from one
// recipient to the next; what the sender wrote below is often the same. The
// second part is 0 where there is no use in it, both are if there is no header.
func cutHeader(data []byte) (trace, origin int) {
	end := headerEnd(data)
	trace = bytes.LastIndex(data[:end], []byte("\nReceived:")) + 1
	if trace == 0 && !bytes.HasPrefix(data[:end], []byte("Received:")) {
		return end, 0
	}
	for trace < end {
		trace += bytes.IndexByte(data[trace:end], '\n') + 1
		if trace == end || data[trace] != ' ' && data[trace] != '\t' {
			break
		}
	}
	if end-trace < minNumbered {
		return end, 0
	}
	return trace, end - trace
}

// headerEnd returns where the body begins: behind the first empty line; 0 if
// data has none or begins with one.
func headerEnd(data []byte) int {
	for i := 0; ; {
		line := bytes.IndexByte(data[i:], '\n')
		if line < 0 {
			return 0
		}
		if i > 0 && (line == 0 || line == 1 && data[i] == '\r') {
			return i + line + 1
		}
		i += line + 1
	}
}

// cut returns the length of the chunk at the beginning of data, which is the
// rest of the content or at least MaxChunk long. It depends on nothing but
// those bytes: that makes equal bodies fall into equal chunks.
//
// Where there are lines it cuts between them, and looks at nothing but their
// ends, which is several times faster than to hash every byte.
func (c *Chunker) cut(data []byte) int {
	if len(data) <= MinChunk {
		return len(data)
	}
	data = data[:min(len(data), MaxChunk)]
	if bytes.IndexByte(data[MinChunk:min(len(data), MinChunk+longestLine)], '\n') >= 0 {
		return lineCut(data)
	}
	n := c.hashCut(data)
	if b := boundary(data[:n]); b > 0 {
		return b
	}
	return n
}

// lineCut returns the end of the first line, at least MinChunk from the beginning
// of data, whose hash says so or behind which a MIME boundary is; len(data) if
// there is none.
func lineCut(data []byte) int {
	limit := rareCut
	for i := MinChunk - 1; ; {
		n := bytes.IndexByte(data[i:], '\n')
		if n < 0 {
			return len(data)
		}
		i += n + 1
		if i > normalChunk {
			limit = oftenCut
		}
		if isBoundary(data[i:]) || lineHash(data[i-lineTail:i]) < limit*uint64(min(n+1, longestLine)) {
			return i
		}
	}
}

// lineHash hashes the last lineTail bytes of a line.
func lineHash(tail []byte) (h uint64) {
	for ; len(tail) >= 8; tail = tail[8:] {
		h = bits.RotateLeft64(h, 29) ^ binary.LittleEndian.Uint64(tail)
		h *= 0x9fb21c651e98df25
	}
	return mix(h)
}

// hashCut returns where the rolling hash cuts, len(data) if nowhere.
func (c *Chunker) hashCut(data []byte) int {
	normal := min(len(data), normalChunk)
	n, h := c.scan(data[MinChunk:normal], 0, rareCut)
	if n > 0 {
		return MinChunk + n
	}
	if n, _ = c.scan(data[normal:], h, oftenCut); n > 0 {
		return normal + n
	}
	return len(data)
}

// scan rolls the hash h over data up to the first byte behind which it is
// below limit, and returns the length up to there; 0 if it never is. The hash
// is of the last 64 bytes. Four bytes a turn are a third faster than one.
func (c *Chunker) scan(data []byte, h, limit uint64) (int, uint64) {
	gear := &c.gear
	i := 0
	for ; i+4 <= len(data); i += 4 {
		d := data[i : i+4 : i+4]
		if h = h<<1 + gear[d[0]]; h < limit {
			return i + 1, h
		}
		if h = h<<1 + gear[d[1]]; h < limit {
			return i + 2, h
		}
		if h = h<<1 + gear[d[2]]; h < limit {
			return i + 3, h
		}
		if h = h<<1 + gear[d[3]]; h < limit {
			return i + 4, h
		}
	}
	for ; i < len(data); i++ {
		if h = h<<1 + gear[data[i]]; h < limit {
			return i + 1, h
		}
	}
	return 0, h
}

// boundary returns where in data, at least MinChunk from its beginning, the
// first line begins that looks like a MIME boundary; 0 if none does.
func boundary(data []byte) int {
	for i := MinChunk - 1; ; {
		j := bytes.Index(data[i:], []byte("\n--"))
		if j < 0 {
			return 0
		}
		i += j + 1
		if isBoundary(data[i:]) {
			return i
		}
	}
}

// isBoundary reports whether a line begins like a MIME boundary.
func isBoundary(line []byte) bool {
	return len(line) > 2 && line[0] == '-' && line[1] == '-' && line[2] > ' '
}
