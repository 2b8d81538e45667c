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
// has none. The slices of an emitted piece belong to emit. An error of the
// reader is wrapped in ErrRead: what was emitted before it keeps its numbers on
// both sides, and the stream goes on. An error of emit is returned as it is;
// the stream must end then. In either case the Result says what was done so
// far, without an ID.
func (e *Encoder) Encode(r io.Reader, emit func(Piece) error) (Result, error) {
	return e.encode(r, true, emit)
}

// EncodePlain is Encode without references, for a mirror that has lost a chunk.
func (e *Encoder) EncodePlain(r io.Reader, emit func(Piece) error) (Result, error) {
	return e.encode(r, false, emit)
}

func (e *Encoder) encode(r io.Reader, refer bool, emit func(Piece) error) (Result, error) {
	e.chunker.Reset(r)
	defer e.chunker.Reset(nil) // lets go of the reader
	e.hasher.Reset()
	e.comp.begin()
	var res Result
	var run Run // found, not yet emitted
	flush := func() error {
		if run.Count == 0 {
			return nil
		}
		p := Piece{Run: run}
		run = Run{}
		return emit(p)
	}
	for {
		chunk, err := e.chunker.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			if ferr := flush(); ferr != nil {
				return res, ferr
			}
			return res, fmt.Errorf("%w: %w", ErrRead, err)
		}
		size := int64(len(chunk.Data))
		res.Size += size
		e.hasher.Write(chunk.Data) // never fails
		var id chunkID
		if chunk.Numbered {
			id = e.sent.hasher.id(chunk.Data)
			if n, ok := e.sent.lookup(id); ok && refer {
				if run.Count > 0 && n != run.First+run.Count {
					if err := flush(); err != nil {
						return res, err
					}
				}
				if run.Count == 0 {
					run.First = n
				}
				run.Count++
				res.Referred += size
				continue
			}
		}
		if err := flush(); err != nil {
			return res, err
		}
		p := e.piece(chunk)
		if chunk.Numbered {
			e.sent.add(id)
		}
		res.Sent += int64(p.Size())
		if err := emit(p); err != nil {
			return res, err
		}
	}
	if err := flush(); err != nil {
		return res, err
	}
	e.hasher.Sum(res.ID[:0])
	return res, nil
}

// piece makes the piece of a new chunk.
func (e *Encoder) piece(chunk Chunk) Piece {
	p := Piece{Unnumbered: !chunk.Numbered}
	if z, ok := e.comp.compress(chunk.Data); ok {
		p.Zstd = bytes.Clone(z)
	} else {
		p.Raw = bytes.Clone(chunk.Data)
	}
	return p
}
