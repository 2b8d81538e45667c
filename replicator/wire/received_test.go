package wire

import (
	"bytes"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
)

// batchOfAll has a piece of each kind.
func batchOfAll() *pb.ReplicateResponse {
	return &pb.ReplicateResponse{Epoch: 3, Message: &pb.ReplicateResponse_Batch{Batch: &pb.Batch{
		Contents: []*pb.Content{
			{Transfer: 1, Pieces: []*pb.Piece{
				{Piece: &pb.Piece_Packed{Packed: []byte("packed")}, PackedSize: 20, Unnumbered: true},
				{Piece: &pb.Piece_Raw{Raw: bytes.Repeat([]byte("raw"), 1000)}},
				{Piece: &pb.Piece_Zstd{Zstd: []byte("zstd")}},
				{Piece: &pb.Piece_Run{Run: &pb.ChunkRun{First: 7, Count: 300}}},
			}},
			{Transfer: 1, End: &pb.ContentEnd{Outcome: pb.Outcome_OUTCOME_OK, Facts: &pb.Facts{Type: 1, Size: 12}}},
			{Transfer: PrimaryTransfer | 9, End: &pb.ContentEnd{Outcome: pb.Outcome_OUTCOME_GONE}},
		},
		Entries: []byte("entries"), EntriesSize: 70,
	}}}
}

// Chunks of a batch stay where they came, until the message is freed.
func TestReceivedLends(t *testing.T) {
	c, want := NewCodec(), batchOfAll()
	data, err := proto.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got := &Received{}
	if err := c.Unmarshal(mem.BufferSlice{mem.SliceBuffer(data)}, got); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(got.ReplicateResponse, want) {
		t.Fatalf("came across as %v", got.ReplicateResponse)
	}
	raw := got.GetBatch().GetContents()[0].GetPieces()[1].GetRaw()
	if at := bytes.Index(data, raw); at < 0 || &data[at] != &raw[0] {
		t.Error("a chunk was copied")
	}
	got.Free()
	got.Free() // does nothing
}

// What is no batch, or is written otherwise, means what protocol buffers say.
func TestReceivedTakesAnything(t *testing.T) {
	batch, err := proto.Marshal(batchOfAll())
	if err != nil {
		t.Fatal(err)
	}
	beat, err := proto.Marshal(&pb.ReplicateResponse{Message: &pb.ReplicateResponse_Heartbeat{Heartbeat: &pb.Heartbeat{Head: 5}}})
	if err != nil {
		t.Fatal(err)
	}
	unknown := protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 1)
	for name, data := range map[string][]byte{
		"heartbeat":        beat,
		"nothing":          {},
		"batch, heartbeat": bytes.Join([][]byte{batch, beat}, nil),
		"heartbeat, batch": bytes.Join([][]byte{beat, batch}, nil),
		"batch twice":      bytes.Join([][]byte{batch, batch}, nil),
		"unknown field":    bytes.Join([][]byte{batch, unknown}, nil),
		"torn":             batch[:len(batch)-1],
	} {
		checkReceived(t, name, data)
	}
}

// checkReceived compares a Received with what protocol buffers read.
func checkReceived(t *testing.T, name string, data []byte) {
	t.Helper()
	want := &pb.ReplicateResponse{}
	wrong := proto.Unmarshal(data, want)
	got := &Received{}
	err := NewCodec().Unmarshal(split(data), got)
	if (err == nil) != (wrong == nil) {
		t.Fatalf("%s: error %v, want %v", name, err, wrong)
	}
	if err == nil && !proto.Equal(got.ReplicateResponse, want) {
		t.Errorf("%s: read as %v, want %v", name, got.ReplicateResponse, want)
	}
	got.Free()
}

func FuzzReceived(f *testing.F) {
	batch, err := proto.Marshal(batchOfAll())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(batch)
	f.Add(batch[:40])
	f.Fuzz(func(t *testing.T, data []byte) { checkReceived(t, "fuzz", data) })
}
