package wire

import (
	"bytes"
	"errors"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
)

// Messages of all sizes come across as they are, one after the other in the
// same memory.
func TestCodecCarriesAllSizes(t *testing.T) {
	c := NewCodec()
	for round := range 2 {
		for _, size := range []int{0, 1, 1 << 10, 1<<10 + 1, 300 << 10, 512 << 10, 1 << 20, 3 << 20, 100} {
			want := &pb.ReplicateResponse{Message: &pb.ReplicateResponse_Batch{Batch: &pb.Batch{
				Entries: bytes.Repeat([]byte{byte(round + 1)}, size),
			}}}
			data, err := c.Marshal(want)
			if err != nil {
				t.Fatal(err)
			}
			if got := data.Len(); got != proto.Size(want) {
				t.Fatalf("%d bytes for a message of %d", got, proto.Size(want))
			}
			parts := split(data.Materialize())
			data.Free()
			got := &pb.ReplicateResponse{}
			if err := c.Unmarshal(parts, got); err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(got, want) {
				t.Fatalf("%d bytes did not come across", size)
			}
		}
	}
}

// split makes what came in frames.
func split(data []byte) mem.BufferSlice {
	var s mem.BufferSlice
	for len(data) > 0 {
		n := min(len(data), 16<<10)
		s = append(s, mem.SliceBuffer(data[:n]))
		data = data[n:]
	}
	return s
}

func TestCodecRefuses(t *testing.T) {
	c := NewCodec()
	if _, err := c.Marshal("no message"); !errors.Is(err, errNoMessage) {
		t.Errorf("marshal: %v", err)
	}
	if err := c.Unmarshal(split([]byte("x")), new(int)); !errors.Is(err, errNoMessage) {
		t.Errorf("unmarshal: %v", err)
	}
	if err := c.Unmarshal(split([]byte{0xff}), &pb.Batch{}); err == nil {
		t.Error("half a message was taken")
	}
}
