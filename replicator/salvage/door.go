package salvage

import (
	"errors"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
)

// Door is where fenced nodes knock, whatever the role of the node: it leads to
// the Server of a primary while there is one, and else says why there is none.
// It implements the generated SalvageServiceServer; its methods may be called
// concurrently.
type Door struct {
	pb.UnimplementedSalvageServiceServer

	mu     sync.Mutex
	server *Server
	why    string
}

// NewDoor returns a Door that is shut, and says why.
func NewDoor(why string) *Door { return &Door{why: why} }

// Register makes a gRPC server answer fenced nodes with what is behind the door.
func (d *Door) Register(r grpc.ServiceRegistrar) { pb.RegisterSalvageServiceServer(r, d) }

// Open lets fenced nodes in to s.
func (d *Door) Open(s *Server) {
	d.mu.Lock()
	d.server = s
	d.mu.Unlock()
}

// Shut lets nobody in any more, and returns when nobody is in.
func (d *Door) Shut(why string) {
	d.mu.Lock()
	s := d.server
	d.server, d.why = nil, why
	d.mu.Unlock()
	if s != nil {
		s.stop()
	}
}

// Salvage serves one fenced node until its stream ends.
func (d *Door) Salvage(stream pb.SalvageService_SalvageServer) error {
	d.mu.Lock()
	s, why := d.server, d.why
	d.mu.Unlock()
	if s == nil {
		return status.Error(codes.Unavailable, why)
	}
	return s.Salvage(stream)
}

var errStopping = errors.New("this node is not primary any more")

// stop ends the salvage that goes on, lets none begin, and waits for its end.
func (s *Server) stop() {
	s.mu.Lock()
	s.stopped = true
	active := s.active
	s.mu.Unlock()
	if active != nil {
		active.cancel(errStopping)
		<-active.ended
	}
}
