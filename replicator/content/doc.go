// Package content carries the bytes of messages from a primary to a mirror:
// cut into chunks, each new chunk sent once and compressed, and each chunk
// that was sent before referred to by its number. It knows no network and no
// files; both sides hand it readers and writers.
//
// # Chunks
//
// A content of at most MinChunk bytes is one chunk. A larger one is cut behind
// its header, at MIME boundaries, and inside large parts where the bytes
// themselves say so (a hash of the end of a line, or a rolling hash where there
// are no lines), so that one body delivered with many different headers is always
// cut in the same places. The cuts are the sender's own affair: nothing on disk and nothing in the protocol depends on
// them.
//
// # Numbers
//
// The chunks of a stream that are worth referring to are numbered from 0 in
// the order in which they are sent. The primary keeps the newest N in a Sent
// window (by a keyed hash), the mirror the same N in a Received window (by
// where their bytes can be read again). Both must see the same pieces in the
// same order; both windows die with the stream. An old chunk that falls out of
// the window is sent once more when it comes again.
//
// A reading error in the middle of a content leaves its first chunks numbered
// on both sides, and the windows go on. An error of whoever takes the pieces
// does not: the stream must end then, for the mirror may not have seen them.
//
// # Lost chunks
//
// The mirror may find that a chunk is no longer where it was (its message was
// removed, or altered on disk). What it reads back is checked by a 64-bit
// hash (and by the id of the whole content at the end); a mismatch is
// ErrChunkLost, and the mirror asks for that content anew, to be sent without
// references. Its chunks are numbered as any, so that others
// waiting for the same bytes may then be retried with references.
//
// # Compression
//
// Chunks are zstd frames without a checksum: the content's id is checked at
// the end. Chunks without a number, which are the tops of headers and messages
// too small to be cut, are blocks of one zstd context that lasts for the stream:
// such text is much alike. A Compressor finds its level from what holds the sender up, see
// there; what somebody waits for may go without (see Encoder.Hurry). Batches of entries go through a zstd context of their own that lasts for
// the stream (StreamCompressor), so that names repeated from batch to batch cost
// little.
//
// # Memory
//
// A primary holds for each stream a Chunker's buffer (512 KiB), the Sent
// window (about 40 bytes a chunk: 2.5 MiB at DefaultWindow) and the
// compressors' tables (see Compressor); a mirror the Received window (48 bytes
// a chunk: 3 MiB, and its Sources) with its cache (8 MiB by default) and
// 256 KiB for each stream, and about 10 KiB for each transfer under way. Nothing
// grows with the size of a content.
package content
