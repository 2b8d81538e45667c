package content

import (
	"bytes"
	"fmt"
	"io"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/zeebo/blake3"
)

// Encoder turns contents into pieces for one stream. It is not safe for
// concurrent use: pieces must reach the mirror in the order in which they were
// emitted.
type Encoder struct {
	sent    *Sent
	comp    *Compressor
	chunker *Chunker
	hasher  *blake3.Hasher
	out     emitter
	plain   bool // no references
	hurried bool // somebody waits for what is encoded
	near    bool // and would wait longer if it were compressed
	whole   bool // the chunks are slices of what the caller gave away
}

// NewEncoder returns an Encoder of the stream that sent belongs to.
func NewEncoder(sent *Sent, comp *Compressor) *Encoder {
	return &Encoder{sent: sent, comp: comp, chunker: NewChunker(nil), hasher: blake3.New()}
}

// Result says what was encoded.
type Result struct {
	ID       journal.ContentID // of all that was read
	Size     int64             // bytes read
	Referred int64             // bytes of them that were sent as references
	Sent     int64             // bytes of chunks in the pieces
}

// Encode reads a content to its end and emits it as pieces; an empty content
// has none. With plain set there are no references among them, for a mirror
// that has lost a chunk. The slices of an emitted piece belong to emit. An error of the
// reader is wrapped in ErrRead: what was emitted before it keeps its numbers on
// both sides, and the stream goes on. An error of emit is returned as it is;
// the stream must end then. In either case the Result says what was done so
// far, without an ID.
func (e *Encoder) Encode(r io.Reader, plain bool, emit func(Piece) error) (Result, error) {
	e.chunker.Reset(r)
	e.plain, e.whole = plain, false
	return e.encode(emit)
}

// EncodeBytes is Encode of a content that is in memory. The pieces may be
// slices of data, which nobody may change any more.
func (e *Encoder) EncodeBytes(data []byte, plain bool, emit func(Piece) error) (Result, error) {
	e.chunker.ResetBytes(data)
	e.plain, e.whole = plain, true
	return e.encode(emit)
}

// Hurry says whether somebody waits for what is encoded from now on. Then the
// fastest level takes the place of the default one, which is for when there is
// time: a message of 20 KB becomes 8 % larger, in half the time. Where the mirror
// is near, nothing is compressed then: half of that time is still twice of what a
// gigabit line takes to carry the message as it is.
func (e *Encoder) Hurry(on, near bool) { e.hurried, e.near = on, on && near }

// Flush emits the references that are held back to be one Run. The reader may
// call it from within Read, and nobody else: then another Encoder of the same
// stream may be used before Read returns, for all chunks that have a number were
// emitted.
func (e *Encoder) Flush() error { return e.out.flush() }

func (e *Encoder) encode(emit func(Piece) error) (Result, error) {
	defer e.chunker.Reset(nil) // lets go of the content
	e.hasher.Reset()
	e.comp.begin()
	var res Result
	e.out = emitter{emit: emit}
	out := &e.out
	for {
		chunk, err := e.chunker.Next()
		if err != nil {
			if ferr := out.flush(); ferr != nil {
				return res, ferr
			}
			if err != io.EOF {
				return res, fmt.Errorf("%w: %w", ErrRead, err)
			}
			e.hasher.Sum(res.ID[:0])
			return res, nil
		}
		size := int64(len(chunk.Data))
		res.Size += size
		e.hasher.Write(chunk.Data) // never fails
		var id chunkID
		if chunk.Numbered {
			id = e.sent.hasher.id(chunk.Data)
			if n, ok := e.sent.lookup(id); ok && !e.plain {
				res.Referred += size
				if err := out.refer(n); err != nil {
					return res, err
				}
				continue
			}
			e.sent.add(id)
		}
		p, err := e.piece(chunk)
		if err != nil {
			return res, err
		}
		res.Sent += int64(p.Size())
		if err := out.chunk(p); err != nil {
			return res, err
		}
	}
}

// emitter makes one Run of references to consecutive numbers.
type emitter struct {
	emit func(Piece) error
	run  Run // not yet emitted
}

// refer emits, sooner or later, a reference.
func (e *emitter) refer(n uint64) error {
	if e.run.Count > 0 && n == e.run.First+e.run.Count {
		e.run.Count++
		return nil
	}
	err := e.flush()
	e.run = Run{First: n, Count: 1}
	return err
}

// chunk emits a new chunk, behind the references before it.
func (e *emitter) chunk(p Piece) error {
	if err := e.flush(); err != nil {
		return err
	}
	return e.emit(p)
}

// flush emits the references.
func (e *emitter) flush() error {
	if e.run.Count == 0 {
		return nil
	}
	p := Piece{Run: e.run}
	e.run = Run{}
	return e.emit(p)
}

// piece makes the piece of a new chunk.
func (e *Encoder) piece(chunk Chunk) (p Piece, err error) {
	p.Unnumbered = !chunk.Numbered
	if p.Unnumbered && len(chunk.Data) >= minCompress && e.comp.Level() > LevelOff && !e.near {
		e.comp.measure(chunk.Data, func() { p.Packed, err = e.sent.pack(chunk.Data) })
		return p, err
	}
	e.comp.hurried = e.hurried
	if !e.near {
		if z, ok := e.comp.compress(chunk.Data); ok {
			p.Zstd = bytes.Clone(z)
			return p, nil
		}
	}
	if p.Raw = chunk.Data; !e.whole {
		p.Raw = bytes.Clone(chunk.Data)
	}
	return p, nil
}
