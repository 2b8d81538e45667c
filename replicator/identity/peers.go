package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/mailtwin/mailtwin/replicator/atomicfile"
	"github.com/mailtwin/mailtwin/replicator/config"
	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/sealedfile"
)

// Peer is another node of the pair, and where it can be dialled.
type Peer struct {
	Name    string
	Address string // host:port
}

const (
	peersFile    = "peers"
	peersKind    = "peers"
	peersVersion = 1

	// MaxPeers is how many other nodes a node remembers.
	MaxPeers = 16
)

// ErrTooManyPeers says that no further node can be remembered.
var ErrTooManyPeers = fmt.Errorf("%d nodes are known already", MaxPeers)

// Peers are the other nodes of the pair that a node knows. They are kept in a
// file of the state directory. The methods may be called concurrently; one
// directory must have one Peers at a time.
type Peers struct {
	path string

	mu   sync.Mutex // held over a change of the file
	list []Peer     // by name; replaced, never changed
}

// OpenPeers reads who is known. Without a file that is nobody.
func OpenPeers(stateDir string) (*Peers, error) {
	p := &Peers{path: filepath.Join(stateDir, peersFile)}
	content, _, err := sealedfile.Read(p.path, peersKind, peersVersion)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err == nil {
		p.list, err = parsePeers(content)
	}
	if err != nil {
		err = fmt.Errorf("reading which nodes are known: %w", err)
		if errors.Is(err, sealedfile.ErrCorrupt) {
			err = hint.Add(err, "remove %q: the nodes tell each other again where they are, as long as node.peer leads to one", p.path)
		}
		return nil, err
	}
	return p, nil
}

// All returns all that are known, by name. It is not to be changed.
func (p *Peers) All() []Peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.list
}

// Address returns where a node can be dialled; "" if that is not known.
func (p *Peers) Address(name string) string {
	for _, peer := range p.All() {
		if peer.Name == name {
			return peer.Address
		}
	}
	return ""
}

// Set remembers a node, durably, in place of what was known of it.
// ErrTooManyPeers.
func (p *Peers) Set(peer Peer) error { return p.put(peer, true) }

// Meet remembers a node, durably, if it was not known: who says by hearsay
// where a node is does not know it better. ErrTooManyPeers.
func (p *Peers) Meet(peer Peer) error { return p.put(peer, false) }

func (p *Peers) put(peer Peer, replace bool) error {
	if err := peer.check(); err != nil {
		return fmt.Errorf("remembering a node: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	at, known := slices.BinarySearchFunc(p.list, peer, byName)
	list := slices.Clone(p.list)
	switch {
	case known && (!replace || list[at] == peer):
		return nil
	case known:
		list[at] = peer
	case len(list) >= MaxPeers:
		return fmt.Errorf("remembering %s: %w", peer.Name, ErrTooManyPeers)
	default:
		list = slices.Insert(list, at, peer)
	}
	if err := atomicfile.Write(p.path, formatPeers(list), 0o600); err != nil {
		return fmt.Errorf("remembering %s: %w", peer.Name, err)
	}
	p.list = list
	return nil
}

// Reachable returns where a node that says it listens at an address can be
// dialled: if that stands for all addresses of its machine, then at the one from
// which it called; "" if that is not known.
func Reachable(listen string, from net.Addr) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) {
		return listen
	}
	if from == nil {
		return ""
	}
	if host, _, err = net.SplitHostPort(from.String()); err != nil {
		return ""
	}
	return net.JoinHostPort(host, port)
}

func byName(a, b Peer) int { return strings.Compare(a.Name, b.Name) }

func (p Peer) check() error {
	if err := config.CheckName(p.Name); err != nil {
		return err
	}
	return config.CheckAddress("the address of "+p.Name, p.Address, false)
}

func formatPeers(list []Peer) []byte {
	var b strings.Builder
	for _, p := range list {
		fmt.Fprintf(&b, "%s %s\n", p.Name, p.Address)
	}
	return sealedfile.Seal(peersKind, peersVersion, b.String())
}

func parsePeers(content string) ([]Peer, error) {
	var list []Peer
	for line := range strings.Lines(content) {
		name, address, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		p := Peer{name, address}
		if !ok || !strings.HasSuffix(line, "\n") || p.check() != nil {
			return nil, fmt.Errorf("%w: the line %q is no name and address", sealedfile.ErrCorrupt, line)
		}
		if n := len(list); n >= MaxPeers || n > 0 && byName(list[n-1], p) >= 0 {
			return nil, fmt.Errorf("%w: %s is out of order, or one too many", sealedfile.ErrCorrupt, name)
		}
		list = append(list, p)
	}
	return list, nil
}
