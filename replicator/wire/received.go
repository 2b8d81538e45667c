package wire

import (
	"fmt"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	protobuf "google.golang.org/protobuf/proto"

	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
)

// Received is a message of a primary that lies in the memory in which it came:
// nearly all of a first sync is chunks, and to copy each of them once more would
// be a tenth of a mirror's work. It is received through a Codec.
type Received struct {
	*pb.ReplicateResponse
	memory mem.Buffer
}

// Free gives the memory back. Nobody may use a chunk of the message any more.
func (r *Received) Free() {
	if r.memory != nil {
		r.memory.Free()
		r.memory = nil
	}
}

// unmarshal takes the message that is in b, and b.
func (r *Received) unmarshal(b mem.Buffer) error {
	r.Free()
	r.ReplicateResponse = &pb.ReplicateResponse{}
	if lend(b.ReadOnlyData(), r.ReplicateResponse) {
		r.memory = b
		return nil
	}
	defer b.Free()
	protobuf.Reset(r.ReplicateResponse)
	if err := protobuf.Unmarshal(b.ReadOnlyData(), r.ReplicateResponse); err != nil {
		return fmt.Errorf("unmarshal a message of the primary: %w", err)
	}
	return nil
}

// The fields of the contract that lend knows.
const (
	responseBatch    = 2
	responseEpoch    = 15
	batchContents    = 1
	batchEntries     = 2
	batchEntriesSize = 3
	contentTransfer  = 1
	contentPieces    = 2
	contentEnd       = 3
	pieceRaw         = 1
	pieceZstd        = 2
	pieceRun         = 3
	pieceUnnumbered  = 4
	piecePacked      = 5
	piecePackedSize  = 6
)

// lend reads a batch whose raw and compressed chunks stay where they are in b. It
// returns false, with m half read, of what is anything else, or is not written as
// this version writes it: protocol buffers know what that means, if anything.
func lend(b []byte, m *pb.ReplicateResponse) bool {
	return fields(b, func(f field) bool {
		switch f.number {
		case responseEpoch:
			m.Epoch = f.varint
			return f.kind == protowire.VarintType
		case responseBatch:
			batch := &pb.Batch{}
			first := m.Message == nil
			m.Message = &pb.ReplicateResponse_Batch{Batch: batch}
			return first && lendBatch(f.bytes, batch)
		default:
			return false
		}
	}) && m.Message != nil
}

func lendBatch(b []byte, m *pb.Batch) bool {
	return fields(b, func(f field) bool {
		switch {
		case f.number == batchContents && f.bytes != nil:
			c := &pb.Content{}
			m.Contents = append(m.Contents, c)
			return lendContent(f.bytes, c)
		case f.number == batchEntries && f.bytes != nil:
			m.Entries = append([]byte{}, f.bytes...)
			return true
		case f.number == batchEntriesSize && f.kind == protowire.VarintType:
			m.EntriesSize = uint32(f.varint)
			return true
		}
		return false
	})
}

func lendContent(b []byte, m *pb.Content) bool {
	return fields(b, func(f field) bool {
		switch {
		case f.number == contentTransfer && f.kind == protowire.VarintType:
			m.Transfer = f.varint
			return true
		case f.number == contentPieces && f.bytes != nil:
			p := &pb.Piece{}
			m.Pieces = append(m.Pieces, p)
			return lendPiece(f.bytes, p)
		case f.number == contentEnd && f.bytes != nil && m.End == nil:
			m.End = &pb.ContentEnd{}
			return protobuf.Unmarshal(f.bytes, m.GetEnd()) == nil
		}
		return false
	})
}

func lendPiece(b []byte, m *pb.Piece) bool {
	return fields(b, func(f field) bool {
		switch f.number {
		case pieceUnnumbered:
			m.Unnumbered = f.varint != 0
			return f.kind == protowire.VarintType
		case piecePackedSize:
			m.PackedSize = uint32(f.varint)
			return f.kind == protowire.VarintType
		default:
		}
		if f.bytes == nil || m.Piece != nil {
			return false
		}
		switch f.number {
		case pieceRaw:
			m.Piece = &pb.Piece_Raw{Raw: f.bytes}
		case pieceZstd:
			m.Piece = &pb.Piece_Zstd{Zstd: f.bytes}
		case piecePacked:
			m.Piece = &pb.Piece_Packed{Packed: append([]byte{}, f.bytes...)}
		case pieceRun:
			run := &pb.ChunkRun{}
			m.Piece = &pb.Piece_Run{Run: run}
			return protobuf.Unmarshal(f.bytes, run) == nil
		default:
			return false
		}
		return true
	})
}

// field is one field of a message.
type field struct {
	number protowire.Number
	kind   protowire.Type
	varint uint64
	bytes  []byte // not nil, if that is what it has
}

// fields calls f with each field of a message, for as long as it returns true. It
// returns false if f did, or of what is no message of varints and bytes.
func fields(b []byte, f func(field) bool) bool {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false
		}
		b = b[n:]
		at := field{number: number, kind: kind}
		switch kind {
		case protowire.VarintType:
			at.varint, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			at.bytes, n = protowire.ConsumeBytes(b)
		default:
			return false
		}
		if n < 0 || !f(at) {
			return false
		}
		b = b[n:]
	}
	return true
}
