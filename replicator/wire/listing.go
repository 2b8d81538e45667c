package wire

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/mailtwin/mailtwin/journal"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/content"
)

// Item is one name in a directory of the primary.
type Item struct {
	Name   string
	Facts  journal.Facts
	Digest [32]byte // directories; zero: the mirror has nothing to compare it with
	Link   uint64   // not 0: names with the same number are one file
	Turn   uint64   // the lower, the earlier its content should be asked for
}

// Listing is what the primary has in one directory, or a part of it.
type Listing struct {
	Path    journal.Path
	Outcome Outcome
	Facts   journal.Facts // of the directory itself
	Items   []Item
	Last    bool
	Partial bool   // there may be names that are not among the items: they could not be looked at
	From    string // set by the receiver: the page is of the names from here on
}

// MarshalListing serializes a listing, to be compressed.
func MarshalListing(l Listing) ([]byte, error) {
	b, err := proto.Marshal(marshalListing(l))
	if err != nil {
		return nil, fmt.Errorf("serialize the listing of %q: %w", string(l.Path), err)
	}
	return b, nil
}

// ListingMessage is a listing of size bytes that was compressed to packed.
func ListingMessage(packed []byte, size int) *pb.ReplicateResponse {
	return &pb.ReplicateResponse{Message: &pb.ReplicateResponse_Listing{
		Listing: &pb.PackedListing{Listing: packed, Size: uint32(size)},
	}}
}

func marshalListing(l Listing) *pb.Listing {
	out := &pb.Listing{
		Path: []byte(l.Path), Outcome: pb.Outcome(l.Outcome), Last: l.Last, Partial: l.Partial,
		Items: make([]*pb.Item, 0, len(l.Items)),
	}
	if l.Outcome == OK {
		out.Facts = Facts(l.Facts)
	}
	for i := range l.Items {
		it := &l.Items[i]
		item := &pb.Item{Name: []byte(it.Name), Facts: Facts(it.Facts), Link: it.Link, Turn: it.Turn}
		if it.Digest != [32]byte{} {
			item.Digest = it.Digest[:]
		}
		out.Items = append(out.Items, item)
	}
	return out
}

// UnmarshalListing checks and converts a serialized listing.
func UnmarshalListing(b []byte) (Listing, error) {
	var in pb.Listing
	if err := proto.Unmarshal(b, &in); err != nil {
		return Listing{}, fmt.Errorf("%w: a listing: %w", ErrProtocol, err)
	}
	return parseListing(&in)
}

func parseListing(in *pb.Listing) (Listing, error) {
	var out Listing
	var err error
	if out.Path, err = ParsePath(in.GetPath()); err != nil {
		return out, err
	}
	if out.Outcome, err = ParseOutcome(in.GetOutcome()); err != nil {
		return out, err
	}
	out.Partial = in.GetPartial()
	if out.Last = in.GetLast(); out.Outcome != OK {
		return out, nil
	}
	if out.Facts, err = ParseFacts(in.GetFacts()); err != nil {
		return out, err
	}
	if len(in.GetItems()) > MaxListingItems {
		return out, fmt.Errorf("%w: %d items in one listing", ErrProtocol, len(in.GetItems()))
	}
	for _, it := range in.GetItems() {
		item, err := parseItem(out.Path, it)
		if err != nil {
			return out, fmt.Errorf("listing of %q: %w", string(out.Path), err)
		}
		out.Items = append(out.Items, item)
	}
	return out, nil
}

func parseItem(dir journal.Path, in *pb.Item) (Item, error) {
	out := Item{Name: string(in.GetName()), Link: in.GetLink(), Turn: in.GetTurn()}
	p, err := ParsePath([]byte(dir.Join(out.Name)))
	if err != nil {
		return out, err
	}
	if p.Name() != out.Name {
		return out, fmt.Errorf("%w: %q is no single name", ErrProtocol, out.Name)
	}
	if out.Facts, err = ParseFacts(in.GetFacts()); err != nil {
		return out, err
	}
	out.Digest, err = ParseDigest(in.GetDigest())
	return out, err
}

// Piece converts a piece of a content for the wire.
func Piece(p content.Piece) *pb.Piece {
	out := &pb.Piece{Unnumbered: p.Unnumbered}
	switch {
	case p.Run.Count > 0:
		out.Piece = &pb.Piece_Run{Run: &pb.ChunkRun{First: p.Run.First, Count: p.Run.Count}}
	case len(p.Zstd) > 0:
		out.Piece = &pb.Piece_Zstd{Zstd: p.Zstd}
	case len(p.Packed.Block) > 0:
		out.Piece = &pb.Piece_Packed{Packed: p.Packed.Block}
		out.PackedSize = uint32(p.Packed.Size)
	default:
		out.Piece = &pb.Piece_Raw{Raw: p.Raw}
	}
	return out
}

// ParsePiece converts a piece; the package content checks what is in it.
func ParsePiece(p *pb.Piece) content.Piece {
	return content.Piece{
		Raw: p.GetRaw(), Zstd: p.GetZstd(), Unnumbered: p.GetUnnumbered(),
		Packed: content.Packed{Block: p.GetPacked(), Size: int(p.GetPackedSize())},
		Run:    content.Run{First: p.GetRun().GetFirst(), Count: p.GetRun().GetCount()},
	}
}

// ContentEnd closes a transfer.
type ContentEnd struct {
	Outcome Outcome
	Facts   journal.Facts // if the outcome is OK or Same
	Link    uint64
}

// ContentEndMessage converts e for the wire.
func ContentEndMessage(e ContentEnd) *pb.ContentEnd {
	out := &pb.ContentEnd{Outcome: pb.Outcome(e.Outcome), Link: e.Link}
	if e.Outcome == OK || e.Outcome == Same {
		out.Facts = Facts(e.Facts)
	}
	return out
}

// ParseContentEnd checks and converts the end of a transfer.
func ParseContentEnd(in *pb.ContentEnd) (ContentEnd, error) {
	out := ContentEnd{Link: in.GetLink()}
	if in.GetOutcome() == pb.Outcome_OUTCOME_LATER {
		out.Outcome = Later
		return out, nil
	}
	var err error
	if out.Outcome, err = ParseOutcome(in.GetOutcome()); err != nil {
		return out, err
	}
	if out.Outcome == OK || out.Outcome == Same {
		out.Facts, err = ParseFacts(in.GetFacts())
	}
	return out, err
}
