package content

import (
	"bytes"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// streamWindow is how far back, in bytes, a block may refer to those before it.
const streamWindow = 512 << 10

// StreamCompressor compresses the blocks of a stream in one zstd context, so
// that what was in earlier blocks costs little in later ones. Both ends together
// take about 4 MiB. It is not safe for concurrent use.
type StreamCompressor struct {
	enc *zstd.Encoder
	out bytes.Buffer
}

// NewStreamCompressor returns the compressor of a new stream.
func NewStreamCompressor() (*StreamCompressor, error) {
	c := &StreamCompressor{}
	enc, err := zstd.NewWriter(&c.out,
		zstd.WithEncoderLevel(zstd.SpeedDefault),
		zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(streamWindow),
		zstd.WithEncoderCRC(false),
	)
	if err != nil {
		return nil, fmt.Errorf("making the stream's compressor: %w", err)
	}
	c.enc = enc
	return c, nil
}

// Compress returns the block of plain, which belongs to the caller. Blocks
// must be decompressed in the same order, none left out. After an error the
// stream must end.
func (c *StreamCompressor) Compress(plain []byte) ([]byte, error) {
	c.out.Reset()
	if _, err := c.enc.Write(plain); err != nil {
		return nil, fmt.Errorf("compressing a block: %w", err)
	}
	if err := c.enc.Flush(); err != nil {
		return nil, fmt.Errorf("compressing a block: %w", err)
	}
	return bytes.Clone(c.out.Bytes()), nil
}

// StreamDecompressor is the other end of a StreamCompressor. It is not safe
// for concurrent use.
type StreamDecompressor struct {
	dec *zstd.Decoder
	in  *feed
	max int
	err error
}

// feed gives the decoder one block at a time. It is not a bytes.Reader, which
// the decoder would take for the whole of the stream.
type feed struct{ block []byte }

// errStarved says that a block decompresses to less than it should.
var errStarved = fmt.Errorf("%w: a block ends early", ErrCorrupt)

// Read gives what is left of the block.
func (f *feed) Read(p []byte) (int, error) {
	if len(f.block) == 0 {
		return 0, errStarved
	}
	n := copy(p, f.block)
	f.block = f.block[n:]
	return n, nil
}

// NewStreamDecompressor returns the decompressor of a new stream, whose blocks
// are of at most maxSize bytes decompressed.
func NewStreamDecompressor(maxSize int) (*StreamDecompressor, error) {
	in := &feed{}
	dec, err := zstd.NewReader(in,
		zstd.WithDecoderConcurrency(1), // decodes in Read, never ahead
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(streamWindow),
	)
	if err != nil {
		return nil, fmt.Errorf("making the stream's decompressor: %w", err)
	}
	return &StreamDecompressor{dec: dec, in: in, max: maxSize}, nil
}

// Decompress returns the size bytes that block was made of; they belong to the
// caller. Anything else is ErrCorrupt, from then on for every block: the stream
// must end.
func (d *StreamDecompressor) Decompress(block []byte, size int) ([]byte, error) {
	if d.err != nil {
		return nil, d.err
	}
	plain, err := d.decompress(block, size)
	d.err = err
	return plain, err
}

func (d *StreamDecompressor) decompress(block []byte, size int) ([]byte, error) {
	if size < 0 || size > d.max {
		return nil, fmt.Errorf("%w: a block of %d bytes, at most %d are allowed", ErrCorrupt, size, d.max)
	}
	d.in.block = block
	// One byte more than is expected: a block must not have it. The decoder
	// reads on only when it has nothing to give, so it never asks for more
	// than this block when it is right.
	plain, got := make([]byte, size+1), 0
	for got < size {
		n, err := d.dec.Read(plain[got:])
		got += n
		if err != nil {
			return nil, fmt.Errorf("%w: decompressing a block: %w", ErrCorrupt, err)
		}
	}
	if got > size {
		return nil, fmt.Errorf("%w: a block of more than %d bytes", ErrCorrupt, size)
	}
	if len(d.in.block) > 0 {
		return nil, fmt.Errorf("%w: %d bytes behind a block", ErrCorrupt, len(d.in.block))
	}
	return plain[:size:size], nil
}

// Close lets go of the context.
func (d *StreamDecompressor) Close() { d.dec.Close() }
