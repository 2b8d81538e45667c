package content

import (
	"fmt"
	"hash/maphash"
	"io"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/zeebo/blake3"
)

// Decoder puts one transfer together again. Several Decoders may share a
// window, as their pieces arrive; every piece of the stream must go through
// Write or Received.Skip in the order in which it came. It may be used again
// after Reset. It is not safe for concurrent use.
type Decoder struct {
	window *Received
	hasher *blake3.Hasher
	source Source
	size   int64
	err    error
}

// NewDecoder returns a Decoder of a transfer whose bytes, once written, can be
// read again from source; nil if they cannot.
func NewDecoder(window *Received, source Source) *Decoder {
	return &Decoder{window: window, hasher: blake3.New(), source: source}
}

// Reset begins another transfer.
func (d *Decoder) Reset(source Source) {
	d.hasher.Reset()
	d.source, d.size, d.err = source, 0, nil
}

// Write writes the bytes of a piece to w, in calls of at most MaxChunk. It
// returns ErrCorrupt (the stream must end), ErrChunkLost (the transfer is to be
// asked for anew) or the error of w. After an error the transfer is lost:
// further pieces are only counted, and answered with the same error.
func (d *Decoder) Write(p Piece, w io.Writer) error {
	if d.err != nil {
		if err := d.window.Skip(p); err != nil {
			d.err = err
		}
		return d.err
	}
	if p.Run.Count > 0 {
		d.err = d.writeRun(p, w)
	} else {
		d.err = d.writeChunk(p, w)
	}
	return d.err
}

// writeChunk takes a new chunk in and writes it.
func (d *Decoder) writeChunk(p Piece, w io.Writer) error {
	data, err := d.window.bytes(p)
	if err != nil {
		return err // corrupt: the stream ends
	}
	if p.numbered() {
		d.window.add(location{
			source: d.source,
			offset: d.size,
			size:   int32(len(data)),
			check:  maphash.Bytes(d.window.seed, data),
			cached: d.window.fresh.put(data),
		})
	}
	return d.write(data, w)
}

// writeRun writes chunks that came before. They are looked for in this
// transfer from then on: the newest place is the one that lasts longest.
func (d *Decoder) writeRun(p Piece, w io.Writer) error {
	if p.Size() > 0 || p.Unnumbered {
		return fmt.Errorf("%w: two kinds in one", ErrCorrupt)
	}
	if err := d.window.check(p.Run); err != nil {
		return err
	}
	for n := p.Run.First; n < p.Run.First+p.Run.Count; n++ {
		data, l, err := d.window.find(n)
		if err != nil {
			return err
		}
		offset := d.size
		if err := d.write(data, w); err != nil {
			return err
		}
		if d.source != nil {
			l.source, l.offset = d.source, offset
		}
	}
	return nil
}

func (d *Decoder) write(data []byte, w io.Writer) error {
	d.hasher.Write(data) // never fails
	d.size += int64(len(data))
	n, err := w.Write(data)
	if err == nil && n < len(data) {
		err = io.ErrShortWrite
	}
	return err
}

// Sum returns the id of all that was written.
func (d *Decoder) Sum() (id journal.ContentID) {
	d.hasher.Sum(id[:0])
	return id
}

// Size returns the bytes written.
func (d *Decoder) Size() int64 { return d.size }
