package primary

import (
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
)

// Door is where mirrors knock, whatever the role of the node: it leads to the
// Server of a primary while there is one, and else says why there is none. It
// implements the generated ReplicationServiceServer; its methods may be called
// concurrently.
type Door struct {
	pb.UnimplementedReplicationServiceServer

	mu     sync.Mutex
	server *Server
	why    string
}

// NewDoor returns a Door that is shut, and says why.
func NewDoor(why string) *Door { return &Door{why: why} }

// Register makes a gRPC server answer mirrors with what is behind the door.
func (d *Door) Register(r grpc.ServiceRegistrar) { pb.RegisterReplicationServiceServer(r, d) }

// Open lets mirrors in to s.
func (d *Door) Open(s *Server) {
	d.mu.Lock()
	d.server = s
	d.mu.Unlock()
}

// Shut lets nobody in any more; those who are in stay until their Server ends.
func (d *Door) Shut(why string) {
	d.mu.Lock()
	d.server, d.why = nil, why
	d.mu.Unlock()
}

// Replicate serves one mirror until its stream ends.
func (d *Door) Replicate(stream pb.ReplicationService_ReplicateServer) error {
	d.mu.Lock()
	s, why := d.server, d.why
	d.mu.Unlock()
	if s == nil {
		return status.Error(codes.Unavailable, why)
	}
	return s.Replicate(stream)
}
