package content

import "errors"

// Piece is what is sent of a content: exactly one of Raw, Zstd, Packed and Run.
type Piece struct {
	Raw    []byte // one new chunk as it is
	Zstd   []byte // one new chunk, a zstd frame
	Packed Packed // one new chunk, a block of the stream's own context
	Run    Run    // chunks sent before
	// Unnumbered chunks cannot be referred to. Runs have no number either.
	Unnumbered bool
}

// Run refers to Count chunks from the number First on.
type Run struct {
	First, Count uint64
}

// Packed is an unnumbered chunk that was compressed behind those before it, so
// that what small messages and headers have in common costs next to nothing.
type Packed struct {
	Block []byte
	Size  int // bytes of the chunk
}

// Size returns the bytes of chunks that the piece carries; 0 for a Run.
func (p Piece) Size() int { return len(p.Raw) + len(p.Zstd) + len(p.Packed.Block) }

// numbered reports whether the piece takes the next number.
func (p Piece) numbered() bool { return p.Run.Count == 0 && !p.Unnumbered }

var (
	// ErrRead says that the content could not be read. It wraps what the
	// reader said.
	ErrRead = errors.New("reading the content")
	// ErrCorrupt says that what came is not what this package sends. The
	// stream it came on must end.
	ErrCorrupt = errors.New("corrupt piece of a content")
	// ErrChunkLost says that a chunk referred to is no longer to be had. The
	// content must be asked for anew, to be sent without references.
	ErrChunkLost = errors.New("a chunk sent before is lost")
)
