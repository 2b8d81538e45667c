package wire

import (
	"fmt"

	"github.com/mailtwin/mailtwin/journal"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
)

// Position converts p for the wire.
func Position(p journal.Position) *pb.Position {
	return &pb.Position{Epoch: uint64(p.Epoch), Sequence: uint64(p.Sequence), Digest: p.Digest[:]}
}

// ParsePosition checks and converts a position.
func ParsePosition(p *pb.Position) (journal.Position, error) {
	out := journal.Position{Epoch: journal.Epoch(p.GetEpoch()), Sequence: journal.Sequence(p.GetSequence())}
	if err := fixed("a journal digest", out.Digest[:], p.GetDigest()); err != nil {
		return journal.Position{}, err
	}
	return out, nil
}

// ParsePath checks and converts a path.
func ParsePath(b []byte) (journal.Path, error) {
	p, err := journal.ParsePath(string(b))
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	return p, nil
}

// Facts converts f for the wire.
func Facts(f journal.Facts) *pb.Facts {
	out := &pb.Facts{
		Type:   pb.Type(f.Type),
		Mode:   f.Attr.Mode,
		Uid:    f.Attr.UID,
		Gid:    f.Attr.GID,
		Mtime:  f.Attr.MTime,
		Size:   uint64(f.Size),
		Target: []byte(f.Target),
	}
	if f.Content.Known() {
		out.Content = f.Content[:]
	}
	for _, x := range f.Attr.Xattrs {
		out.Xattrs = append(out.Xattrs, &pb.ExtendedAttribute{Name: []byte(x.Name), Value: x.Value})
	}
	return out
}

// ParseFacts checks and converts what a name stands for.
func ParseFacts(f *pb.Facts) (journal.Facts, error) {
	out := journal.Facts{
		Type:   journal.Type(f.GetType()),
		Attr:   journal.Attributes{Mode: f.GetMode(), UID: f.GetUid(), GID: f.GetGid(), MTime: f.GetMtime()},
		Size:   int64(f.GetSize()),
		Target: string(f.GetTarget()),
	}
	switch {
	case f.GetType() < pb.Type_TYPE_FILE || f.GetType() > pb.Type_TYPE_SYMLINK:
		return out, fmt.Errorf("%w: type %d", ErrProtocol, f.GetType())
	case out.Attr.Mode > 0o7777:
		return out, fmt.Errorf("%w: mode %o", ErrProtocol, out.Attr.Mode)
	case out.Size < 0:
		return out, fmt.Errorf("%w: size %d", ErrProtocol, f.GetSize())
	case len(out.Target) > journal.MaxTarget:
		return out, fmt.Errorf("%w: a link target of %d bytes", ErrProtocol, len(out.Target))
	}
	if len(f.GetContent()) > 0 {
		if err := fixed("a content id", out.Content[:], f.GetContent()); err != nil {
			return out, err
		}
	}
	xattrs, err := parseXattrs(f.GetXattrs())
	out.Attr.Xattrs = xattrs
	return out, err
}

func parseXattrs(in []*pb.ExtendedAttribute) ([]journal.Xattr, error) {
	if len(in) > journal.MaxXattrs {
		return nil, fmt.Errorf("%w: %d extended attributes", ErrProtocol, len(in))
	}
	var out []journal.Xattr
	size := 0
	for _, x := range in {
		if size += len(x.GetName()) + len(x.GetValue()); size > journal.MaxXattrSize {
			return nil, fmt.Errorf("%w: extended attributes of more than %d bytes", ErrProtocol, journal.MaxXattrSize)
		}
		out = append(out, journal.Xattr{Name: string(x.GetName()), Value: x.GetValue()})
	}
	return out, nil
}

// ParseDigest copies a digest of 32 bytes; nothing is the zero digest.
func ParseDigest(b []byte) ([32]byte, error) {
	var d [32]byte
	if len(b) == 0 {
		return d, nil
	}
	return d, fixed("a digest", d[:], b)
}

// ParseContentID copies a content id; nothing is the unknown content.
func ParseContentID(b []byte) (journal.ContentID, error) {
	d, err := ParseDigest(b)
	return journal.ContentID(d), err
}

func fixed(what string, dst, src []byte) error {
	if len(src) != len(dst) {
		return fmt.Errorf("%w: %s of %d bytes", ErrProtocol, what, len(src))
	}
	copy(dst, src)
	return nil
}
