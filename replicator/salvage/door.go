package salvage

import (
	"errors"

	"google.golang.org/grpc"

	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/door"
)

// Door is where fenced nodes knock, whatever the role of the node. It
// implements the generated SalvageServiceServer.
type Door struct {
	pb.UnimplementedSalvageServiceServer
	door *door.Door[Server]
}

// NewDoor returns a Door that is shut, and says why.
func NewDoor(why string) *Door { return &Door{door: door.New[Server](why)} }

// Register makes a gRPC server answer fenced nodes with what is behind the door.
func (d *Door) Register(r grpc.ServiceRegistrar) { pb.RegisterSalvageServiceServer(r, d) }

// Open lets fenced nodes in to s.
func (d *Door) Open(s *Server) { d.door.Open(s) }

// Shut lets nobody in any more, and returns when nobody is in.
func (d *Door) Shut(why string) {
	if s := d.door.Shut(why); s != nil {
		s.stop()
	}
}

// Salvage serves one fenced node until its stream ends.
func (d *Door) Salvage(stream pb.SalvageService_SalvageServer) error {
	s, err := d.door.Server()
	if err != nil {
		return err
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
