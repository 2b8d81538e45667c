package wire

import (
	"fmt"

	"github.com/mailtwin/mailtwin/journal"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
)

// HelloMessage opens a stream.
type HelloMessage struct {
	OldestVersion, NewestVersion uint32
	Name                         string
	Position                     journal.Position
	Whole                        bool
}

// Hello converts h for the wire.
func Hello(h HelloMessage) *pb.ReplicateRequest {
	return &pb.ReplicateRequest{Message: &pb.ReplicateRequest_Hello{Hello: &pb.Hello{
		OldestVersion:   OldestVersion,
		NewestVersion:   NewestVersion,
		Name:            h.Name,
		Position:        Position(h.Position),
		MaxMessageBytes: MaxMessage,
		ChunkWindow:     ChunkWindow,
		Whole:           h.Whole,
	}}}
}

// ParseHello checks and converts a hello.
func ParseHello(h *pb.Hello) (HelloMessage, error) {
	if h == nil {
		return HelloMessage{}, fmt.Errorf("%w: the first message is no hello", ErrProtocol)
	}
	pos, err := ParsePosition(h.GetPosition())
	if err != nil {
		return HelloMessage{}, err
	}
	if h.GetMaxMessageBytes() < MaxMessage || h.GetChunkWindow() < ChunkWindow {
		return HelloMessage{}, fmt.Errorf("%w: limits of %d bytes and %d chunks are below version 1's",
			ErrProtocol, h.GetMaxMessageBytes(), h.GetChunkWindow())
	}
	return HelloMessage{
		OldestVersion: h.GetOldestVersion(), NewestVersion: h.GetNewestVersion(),
		Name: h.GetName(), Position: pos, Whole: h.GetWhole(),
	}, nil
}

// WelcomeMessage answers a hello.
type WelcomeMessage struct {
	Version  uint32
	Name     string
	Epoch    journal.Epoch
	Position journal.Position
	Resync   string // why the mirror has to compare; "" if it need not
	// Began is the place at which Epoch began: a mirror of the epoch before that
	// went beyond it has what the primary never had.
	Began journal.Sequence
	// Reigns are the promotions that its store has behind it, oldest first.
	Reigns []Reign
}

// Welcome converts w for the wire.
func Welcome(w WelcomeMessage) *pb.ReplicateResponse {
	return &pb.ReplicateResponse{Message: &pb.ReplicateResponse_Welcome{Welcome: &pb.Welcome{
		Version:         w.Version,
		Name:            w.Name,
		Epoch:           uint64(w.Epoch),
		Position:        Position(w.Position),
		Resync:          w.Resync != "",
		ResyncReason:    Words(w.Resync),
		MaxMessageBytes: MaxMessage,
		Began:           uint64(w.Began),
		Reigns:          reignMessages(w.Reigns),
	}}}
}

// ParseWelcome checks and converts a welcome.
func ParseWelcome(w *pb.Welcome) (WelcomeMessage, error) {
	if w == nil {
		return WelcomeMessage{}, fmt.Errorf("%w: the first answer is no welcome", ErrProtocol)
	}
	if v := w.GetVersion(); v < OldestVersion || v > NewestVersion {
		return WelcomeMessage{}, fmt.Errorf("%w: the primary chose %d, this mirror speaks %d to %d",
			ErrVersion, v, OldestVersion, NewestVersion)
	}
	pos, err := ParsePosition(w.GetPosition())
	if err != nil {
		return WelcomeMessage{}, err
	}
	out := WelcomeMessage{
		Version: w.GetVersion(), Name: w.GetName(), Epoch: journal.Epoch(w.GetEpoch()), Position: pos,
		Began: journal.Sequence(w.GetBegan()),
	}
	if out.Reigns, err = parseReigns(w.GetReigns()); err != nil {
		return WelcomeMessage{}, err
	}
	if w.GetResync() {
		out.Resync = Words(w.GetResyncReason())
		if out.Resync == "" {
			out.Resync = "the primary wants it"
		}
	}
	return out, nil
}

// CompareItem asks for the listing of one directory.
type CompareItem struct {
	Path   journal.Path
	Digest [32]byte // zero: the mirror has no such directory, or nothing in it
	Since  int64    // not 0: only files whose mtime is not before it are wanted
}

// Compare converts requests for the wire.
func Compare(items []CompareItem) *pb.ReplicateRequest {
	out := &pb.Compare{}
	var before journal.Path
	for i := range items {
		p := items[i].Path
		shared := sharedPrefix(before, p)
		before = p
		d := &pb.DirectoryDigest{Path: []byte(p[shared:]), Shared: uint32(shared), Since: items[i].Since}
		if items[i].Digest != [32]byte{} {
			d.Digest = items[i].Digest[:]
		}
		out.Directories = append(out.Directories, d)
	}
	return &pb.ReplicateRequest{Message: &pb.ReplicateRequest_Compare{Compare: out}}
}

// ParseCompare checks and converts requests.
func ParseCompare(c *pb.Compare) ([]CompareItem, error) {
	if len(c.GetDirectories()) > MaxCompare {
		return nil, fmt.Errorf("%w: %d directories in one comparison", ErrProtocol, len(c.GetDirectories()))
	}
	var out []CompareItem
	var p journal.Path
	for _, d := range c.GetDirectories() {
		if int64(d.GetShared()) > int64(len(p)) {
			return nil, fmt.Errorf("%w: %d bytes of a path of %d", ErrProtocol, d.GetShared(), len(p))
		}
		var err error
		if p, err = ParsePath(append([]byte(p[:d.GetShared()]), d.GetPath()...)); err != nil {
			return nil, err
		}
		digest, err := ParseDigest(d.GetDigest())
		if err != nil {
			return nil, err
		}
		out = append(out, CompareItem{Path: p, Digest: digest, Since: d.GetSince()})
	}
	return out, nil
}

// FetchItem asks for one content.
type FetchItem struct {
	Transfer uint64
	Path     journal.Path
	Have     journal.ContentID
	Plain    bool // without references to chunks: the mirror has lost one
	Proof    bool // nothing lacks: Have is to be proven or corrected
}

// Fetch converts requests for the wire.
func Fetch(items []FetchItem) *pb.ReplicateRequest {
	out := &pb.Fetch{}
	for i := range items {
		f := &pb.FetchItem{Transfer: items[i].Transfer, Path: []byte(items[i].Path), Plain: items[i].Plain, Proof: items[i].Proof}
		if items[i].Have.Known() {
			f.Have = items[i].Have[:]
		}
		out.Items = append(out.Items, f)
	}
	return &pb.ReplicateRequest{Message: &pb.ReplicateRequest_Fetch{Fetch: out}}
}

// ParseFetch checks and converts requests.
func ParseFetch(f *pb.Fetch) ([]FetchItem, error) {
	if len(f.GetItems()) > MaxFetch {
		return nil, fmt.Errorf("%w: %d files in one fetch", ErrProtocol, len(f.GetItems()))
	}
	var out []FetchItem
	for _, i := range f.GetItems() {
		p, err := ParsePath(i.GetPath())
		if err != nil {
			return nil, err
		}
		have, err := ParseContentID(i.GetHave())
		if err != nil {
			return nil, err
		}
		if i.GetTransfer() == 0 || i.GetTransfer() >= PrimaryTransfer {
			return nil, fmt.Errorf("%w: transfer %d", ErrProtocol, i.GetTransfer())
		}
		if i.GetProof() && !have.Known() {
			return nil, fmt.Errorf("%w: a proof of nothing, of %q", ErrProtocol, string(p))
		}
		out = append(out, FetchItem{Transfer: i.GetTransfer(), Path: p, Have: have, Plain: i.GetPlain(), Proof: i.GetProof()})
	}
	return out, nil
}

// Cost is what a batch costs of the credit.
func Cost(b *pb.Batch, entries int) (bytes, count int64) {
	for _, c := range b.GetContents() {
		for _, p := range c.GetPieces() {
			bytes += int64(len(p.GetRaw()) + len(p.GetZstd()) + len(p.GetPacked()))
		}
	}
	return bytes + int64(b.GetEntriesSize()), int64(entries)
}
