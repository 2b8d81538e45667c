package replicator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/mailtwin/mailtwin/replicator/completeness"
	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/identity"
	"github.com/mailtwin/mailtwin/replicator/pairing"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// Flow control of a connection. They are fixed, so that gRPC does not measure
// the connection with pings of its own: it sends the same few bytes for a flag
// change as a quiet connection should.
const (
	streamWindow     = 4 << 20
	connectionWindow = 8 << 20
)

// writeBuffer is how much is handed to a connection at once, at most.
const writeBuffer = 128 << 10

// listen opens the port at which the other nodes find this one.
func listen(ctx context.Context, address string) (net.Listener, error) {
	l, err := wire.Listen(ctx, address)
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		err = hint.Add(err, "another program has the port, maybe another node of this machine: end it, or choose another one with node.listen in the settings")
	case errors.Is(err, unix.EADDRNOTAVAIL):
		err = hint.Add(err, "no network interface of this machine has that address: correct node.listen in the settings, or write 0.0.0.0 for all of them")
	}
	if err != nil {
		return nil, fmt.Errorf("open the port for the other nodes: %w", err)
	}
	return l, nil
}

// serve answers the other nodes, and those that want to join, whatever the
// role. Mirrors find the door open while the node is primary.
func (n *node) serve(ctx context.Context, listener net.Listener) error {
	server := grpc.NewServer(
		grpc.Creds(n.id.ServerCredentials(n.refused())),
		grpc.ForceServerCodecV2(wire.NewCodec()),
		grpc.MaxRecvMsgSize(wire.MaxMessage), grpc.MaxSendMsgSize(wire.MaxMessage),
		grpc.InitialWindowSize(streamWindow), grpc.InitialConnWindowSize(connectionWindow),
		grpc.WriteBufferSize(writeBuffer),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: wire.SilenceLimit, Timeout: wire.SilenceLimit}),
	)
	n.door.Register(server)
	n.salvageDoor.Register(server)
	pairing.NewServer(n, n.id.RequirePeer).Register(server)
	completeness.NewServer(completeness.Own(n.catalog, n.firstScan), n.id.RequirePeer).Register(server)
	if n.id.CanInvite() {
		identity.NewEnrolmentServer(n.id, n).Register(server)
	}
	stop := context.AfterFunc(ctx, server.Stop)
	defer stop()
	if err := server.Serve(listener); err != nil && ctx.Err() == nil {
		return fmt.Errorf("serve the other nodes: %w", err)
	}
	return nil
}

// listensAt returns where a node listens as it tells others: as it is set, with
// the port that it was given.
func listensAt(configured string, got net.Addr) string {
	host, _, err := net.SplitHostPort(configured)
	_, port, perr := net.SplitHostPort(got.String())
	if err != nil || perr != nil {
		return configured
	}
	return net.JoinHostPort(host, port)
}

// tellPatience is how long a node that joins waits until the others know of it;
// who is silent hears of it later.
const tellPatience = 2 * time.Second

// MayJoin implements identity.Host.
func (n *node) MayJoin() error {
	if st := n.state(); st.Role != identity.Primary {
		return fmt.Errorf("%w: %v leads", identity.ErrNotPrimary, st.Leads())
	}
	return nil
}

// Enrolled implements identity.Host. It remembers a node that has joined, and sees to it that the others do:
// when this one dies a moment later, whoever is promoted has to tell them all. It
// returns who is known.
func (n *node) Enrolled(ctx context.Context, peer identity.Peer) []identity.Peer {
	n.opt.Log.Info("a node has joined the pair", "name", peer.Name, "address", peer.Address)
	others := n.peers.All()
	if peer.Address == "" {
		return others // it will say where it is
	}
	if err := n.peers.Set(peer); err != nil {
		n.problem(err.Error())
		n.opt.Log.Error("a node that has joined cannot be remembered", "name", peer.Name, "error", err)
		return others
	}
	ctx, cancel := context.WithTimeout(ctx, tellPatience)
	defer cancel()
	var addresses []string
	for _, p := range others {
		if p.Name != peer.Name {
			addresses = append(addresses, p.Address)
		}
	}
	n.vigil.askAll(ctx, addresses)
	return others
}

// meet remembers nodes that were not known.
func (n *node) meet(peers ...identity.Peer) {
	for _, p := range peers {
		if p.Name == n.id.Name() || p.Name == "" || p.Address == "" {
			continue
		}
		if err := n.peers.Meet(p); err != nil && !errors.Is(err, identity.ErrTooManyPeers) {
			n.problem(err.Error())
		}
	}
}

// refused is told of handshakes that failed. Whoever can connect can fail, so
// the log gets one line for each different reason, not for each attempt.
func (n *node) refused() identity.Report {
	var mu sync.Mutex
	last := ""
	return func(remote net.Addr, err error) {
		text := err.Error()
		mu.Lock()
		same := text == last
		last = text
		mu.Unlock()
		n.problem(fmt.Sprintf("connection with %s: %s", remote, text))
		if !same {
			n.opt.Log.Warn("a connection was refused", "remote", remote, "error", err, "hint", hint.Of(err))
		}
	}
}
