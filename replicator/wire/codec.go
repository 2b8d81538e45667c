package wire

import (
	"errors"
	"fmt"
	"math/bits"
	"sync"

	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	protobuf "google.golang.org/protobuf/proto"
)

// Codec is gRPC's codec of protocol buffers with memory of its own: gRPC clears
// each buffer that it uses again, and a whole MiB of it for a batch of half of
// one. Here each is written over from its beginning to its length, and nobody
// sees more of it. Use a pointer; it may be used concurrently.
type Codec struct {
	memory memory
}

// NewCodec returns a Codec.
func NewCodec() *Codec { return &Codec{} }

// errNoMessage says that a method was registered which gives no protocol buffer.
var errNoMessage = errors.New("no protocol buffer")

// Name implements encoding.CodecV2.
func (*Codec) Name() string { return proto.Name }

// Marshal implements encoding.CodecV2.
func (c *Codec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(protobuf.Message)
	if !ok {
		return nil, fmt.Errorf("marshal a %T: %w", v, errNoMessage)
	}
	size := protobuf.Size(m)
	options := protobuf.MarshalOptions{UseCachedSize: true}
	if mem.IsBelowBufferPoolingThreshold(size) {
		b, err := options.Marshal(m)
		if err != nil {
			return nil, fmt.Errorf("marshal a %T: %w", v, err)
		}
		return mem.BufferSlice{mem.SliceBuffer(b)}, nil
	}
	b := c.memory.Get(size)
	if _, err := options.MarshalAppend((*b)[:0], m); err != nil {
		c.memory.Put(b)
		return nil, fmt.Errorf("marshal a %T: %w", v, err)
	}
	return mem.BufferSlice{mem.NewBuffer(b, &c.memory)}, nil
}

// Unmarshal implements encoding.CodecV2. The message shares no memory with data,
// unless it is a *Received.
func (c *Codec) Unmarshal(data mem.BufferSlice, v any) error {
	if r, ok := v.(*Received); ok {
		return r.unmarshal(data.MaterializeToBuffer(&c.memory))
	}
	m, ok := v.(protobuf.Message)
	if !ok {
		return fmt.Errorf("unmarshal a %T: %w", v, errNoMessage)
	}
	b := data.MaterializeToBuffer(&c.memory)
	defer b.Free()
	return protobuf.Unmarshal(b.ReadOnlyData(), m)
}

// Sizes of the buffers that are kept, each twice the one before.
const (
	smallestBits = 10
	largestBits  = 20
)

// memory keeps buffers that hold anything. It implements mem.BufferPool.
type memory struct {
	sizes [largestBits - smallestBits + 1]sync.Pool // of *[]byte
}

// sizeOf returns the place in sizes of the buffers for n bytes; false if they
// are not kept.
func sizeOf(n int) (int, bool) {
	b := max(bits.Len(uint(max(n, 1)-1)), smallestBits)
	return b - smallestBits, b <= largestBits
}

// Get implements mem.BufferPool.
func (m *memory) Get(n int) *[]byte {
	i, kept := sizeOf(n)
	if !kept {
		b := make([]byte, n)
		return &b
	}
	if b, ok := m.sizes[i].Get().(*[]byte); ok {
		*b = (*b)[:n]
		return b
	}
	b := make([]byte, n, 1<<(i+smallestBits))
	return &b
}

// Put implements mem.BufferPool.
func (m *memory) Put(b *[]byte) {
	if i, kept := sizeOf(cap(*b)); kept && cap(*b) == 1<<(i+smallestBits) {
		m.sizes[i].Put(b)
	}
}
