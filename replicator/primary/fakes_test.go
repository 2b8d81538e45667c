package primary

import (
	"context"
	"fmt"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// fakeStream is the primary's end of a stream. What is said waits in a queue
// without bound, so that neither side ever waits for the other.
type fakeStream struct {
	grpc.ServerStream
	ctx  context.Context
	send func(*pb.ReplicateResponse) error

	mu    sync.Mutex
	queue []*pb.ReplicateRequest
	more  chan struct{}
}

func newStream(ctx context.Context, send func(*pb.ReplicateResponse) error) *fakeStream {
	return &fakeStream{ctx: ctx, send: send, more: make(chan struct{}, 1)}
}

func (f *fakeStream) Context() context.Context { return f.ctx }

func (f *fakeStream) Send(m *pb.ReplicateResponse) error {
	if n := proto.Size(m); n > wire.MaxMessage {
		return fmt.Errorf("a message of %d bytes", n)
	}
	return f.send(m)
}

func (f *fakeStream) Recv() (*pb.ReplicateRequest, error) {
	for {
		f.mu.Lock()
		if len(f.queue) > 0 {
			m := f.queue[0]
			f.queue = f.queue[1:]
			f.mu.Unlock()
			return m, nil
		}
		f.mu.Unlock()
		select {
		case <-f.more:
		case <-f.ctx.Done():
			return nil, f.ctx.Err()
		}
	}
}

// say is what the mirror says, in the primary's epoch unless it says another.
func (f *fakeStream) say(m *pb.ReplicateRequest) {
	if m.GetEpoch() == 0 {
		m.Epoch = 3
	}
	f.mu.Lock()
	f.queue = append(f.queue, m)
	f.mu.Unlock()
	select {
	case f.more <- struct{}{}:
	default:
	}
}

func credit(bytes, entries uint64) *pb.ReplicateRequest {
	return &pb.ReplicateRequest{Message: &pb.ReplicateRequest_Credit{Credit: &pb.Credit{Bytes: bytes, Entries: entries}}}
}

func acknowledgement(seq journal.Sequence) *pb.ReplicateRequest {
	return &pb.ReplicateRequest{Message: &pb.ReplicateRequest_Acknowledgement{Acknowledgement: &pb.Acknowledgement{Sequence: uint64(seq)}}}
}

// differences lists what differs, a little late on the primary's side.
func (m *model) differences() (int, []string) {
	ours, theirs := dump(m.catalog), dump(m.theirs)
	var out []string
	for p, is := range ours {
		if theirs[p] != is {
			out = append(out, fmt.Sprintf("%q is %s, should be %s", p, is, theirs[p]))
		}
	}
	for p, is := range theirs {
		if _, ok := ours[p]; !ok {
			out = append(out, fmt.Sprintf("%q is not there, should be %s", p, is))
		}
	}
	return len(out), out[:min(len(out), 3)]
}

// dump returns what a catalog has.
func dump(c *catalog.Catalog) map[journal.Path]string {
	out := make(map[journal.Path]string)
	var walk func(t *catalog.Tx, dir journal.Path) error
	walk = func(t *catalog.Tx, dir journal.Path) error {
		return t.List(dir, "", func(name string, it catalog.Item) error {
			p := dir.Join(name)
			out[p] = fmt.Sprintf("%+v", it.Facts)
			if it.Facts.Type == journal.TypeDirectory {
				return walk(t, p)
			}
			return nil
		})
	}
	_ = c.View(func(t *catalog.Tx) error { return walk(t, journal.Root) })
	return out
}
