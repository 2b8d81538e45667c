package primary

import (
	"google.golang.org/grpc"

	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/door"
)

// Door is where mirrors knock, whatever the role of the node. Those who are in
// when it is shut stay until their Server ends. It implements the generated
// ReplicationServiceServer.
type Door struct {
	pb.UnimplementedReplicationServiceServer
	*door.Door[Server]
}

// NewDoor returns a Door that is shut, and says why.
func NewDoor(why string) *Door { return &Door{Door: door.New[Server](why)} }

// Register makes a gRPC server answer mirrors with what is behind the door.
func (d *Door) Register(r grpc.ServiceRegistrar) { pb.RegisterReplicationServiceServer(r, d) }

// Replicate serves one mirror until its stream ends.
func (d *Door) Replicate(stream pb.ReplicationService_ReplicateServer) error {
	s, err := d.Server()
	if err != nil {
		return err
	}
	return s.Replicate(stream)
}
