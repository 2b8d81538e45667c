package catalog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/mailtwin/mailtwin/journal"
)

// recordVersion is the first byte of each stored record.
const recordVersion = 1

// The flags of a record say which of its optional parts follow.
const (
	flagContent byte = 1 << iota // the content is known
	flagMissing
	flagLink
	flagXattrs
	flagStamp
	flagBirth // the stamp has a birth
	flagDerived
	flagGuess // files: there is a guess; directories: there are some beneath
)

var (
	errRecord  = errors.New("malformed record")
	errVersion = errors.New("record of an unknown version")
)

func (r *record) flags() (f byte) {
	set := func(on bool, bit byte) {
		if on {
			f |= bit
		}
	}
	set(r.Facts.Content.Known(), flagContent)
	set(r.Missing, flagMissing)
	set(r.Derived, flagDerived)
	set(r.Link != 0, flagLink)
	set(len(r.Facts.Attr.Xattrs) > 0, flagXattrs)
	set(r.Stamp != journal.Stamp{}, flagStamp)
	set(r.Stamp.Birth != 0, flagBirth)
	set(r.Guess.Known() || r.isDir() && r.Totals.Guessed > 0, flagGuess)
	return f
}

// appendRecord appends the stored form of r to b; doc.go has the format.
func appendRecord(b []byte, r *record) []byte {
	f, flags := &r.Facts, r.flags()
	b = append(b, recordVersion, byte(f.Type), flags)
	b = binary.AppendUvarint(b, uint64(f.Attr.Mode))
	b = binary.AppendUvarint(b, uint64(f.Attr.UID))
	b = binary.AppendUvarint(b, uint64(f.Attr.GID))
	switch f.Type {
	case journal.TypeDirectory:
		b = appendDir(b, r)
	case journal.TypeSymlink:
		b = binary.LittleEndian.AppendUint64(b, uint64(f.Attr.MTime))
		b = appendText(b, f.Target)
	default:
		b = binary.LittleEndian.AppendUint64(b, uint64(f.Attr.MTime))
		b = binary.AppendUvarint(b, uint64(f.Size))
		if flags&flagContent != 0 {
			b = append(b, f.Content[:]...)
		}
		if flags&flagGuess != 0 {
			b = append(b, r.Guess[:]...)
		}
	}
	if flags&flagStamp != 0 {
		b = appendStamp(b, r, flags)
	}
	if flags&flagLink != 0 {
		b = binary.AppendUvarint(b, r.Link)
	}
	if flags&flagXattrs != 0 {
		b = binary.AppendUvarint(b, uint64(len(f.Attr.Xattrs)))
		for _, x := range f.Attr.Xattrs {
			b = appendText(b, x.Name)
			b = appendText(b, string(x.Value))
		}
	}
	return b
}

func appendDir(b []byte, r *record) []byte {
	b = binary.AppendUvarint(b, uint64(r.Dir))
	b = append(b, r.Digest[:]...)
	b = binary.AppendVarint(b, r.Observed)
	t := &r.Totals
	for _, n := range [...]uint64{t.Files, t.Directories, t.Symlinks, uint64(t.Bytes), t.Unread, t.Missing} {
		b = binary.AppendUvarint(b, n)
	}
	if t.Guessed > 0 {
		b = binary.AppendUvarint(b, t.Guessed)
	}
	return b
}

// appendStamp writes the times as differences: a message is born when its
// mtime says, and changed soon after. The differences wrap around, as the
// sums do when they are read.
func appendStamp(b []byte, r *record, flags byte) []byte {
	s, base := &r.Stamp, r.Facts.Attr.MTime
	b = binary.AppendUvarint(b, s.Device)
	b = binary.AppendUvarint(b, s.Inode)
	if flags&flagBirth != 0 {
		b = binary.AppendVarint(b, s.Birth-base)
		base = s.Birth
	}
	return binary.AppendVarint(b, s.Change-base)
}

// parseRecord is the inverse of appendRecord. It accepts only what
// appendRecord writes.
func parseRecord(b []byte) (*record, error) {
	if len(b) < 3 {
		return nil, fmt.Errorf("%w: %d bytes", errRecord, len(b))
	}
	if b[0] != recordVersion {
		return nil, fmt.Errorf("%w: %d", errVersion, b[0])
	}
	r := &record{}
	r.Facts.Type = journal.Type(b[1])
	flags := b[2]
	p := &parser{b: b[3:]}
	a := &r.Facts.Attr
	a.Mode, a.UID, a.GID = p.uint32(), p.uint32(), p.uint32()
	switch r.Facts.Type {
	case journal.TypeDirectory:
		p.dir(r, flags)
	case journal.TypeSymlink:
		a.MTime = p.fixed64()
		r.Facts.Target = p.text()
	case journal.TypeFile:
		a.MTime = p.fixed64()
		r.Facts.Size = p.size()
		if flags&flagContent != 0 {
			copy(r.Facts.Content[:], p.take(len(r.Facts.Content)))
		}
		if flags&flagGuess != 0 {
			p.guess(r, flags)
		}
	default:
		p.fail()
	}
	p.optional(r, flags)
	if p.bad || len(p.b) != 0 || r.flags() != flags {
		return nil, errRecord
	}
	return r, nil
}

// parser takes a record apart; after the first thing that is not as
// appendRecord writes it, it returns zeros and is bad.
type parser struct {
	b   []byte
	bad bool
}

func (p *parser) fail() { p.bad, p.b = true, nil }

func (p *parser) guess(r *record, flags byte) {
	copy(r.Guess[:], p.take(len(r.Guess)))
	if flags&(flagContent|flagMissing) != 0 {
		p.fail()
	}
}

func (p *parser) dir(r *record, flags byte) {
	r.Dir = dirID(p.uvarint())
	copy(r.Digest[:], p.take(len(r.Digest)))
	r.Observed = p.varint()
	t := &r.Totals
	t.Files, t.Directories, t.Symlinks = p.uvarint(), p.uvarint(), p.uvarint()
	t.Bytes = p.size()
	t.Unread, t.Missing = p.uvarint(), p.uvarint()
	if flags&flagGuess != 0 {
		t.Guessed = p.uvarint()
	}
}

func (p *parser) optional(r *record, flags byte) {
	r.Missing = flags&flagMissing != 0
	if r.Derived = flags&flagDerived != 0; r.Derived && !r.Missing {
		p.fail()
	}
	if flags&flagStamp != 0 {
		base := r.Facts.Attr.MTime
		r.Stamp.Device, r.Stamp.Inode = p.uvarint(), p.uvarint()
		if flags&flagBirth != 0 {
			r.Stamp.Birth = p.varint() + base
			base = r.Stamp.Birth
		}
		r.Stamp.Change = p.varint() + base
	}
	if flags&flagLink != 0 {
		r.Link = p.uvarint()
	}
	if flags&flagXattrs != 0 {
		n := p.uvarint()
		for ; n > 0 && !p.bad; n-- {
			x := journal.Xattr{Name: p.text(), Value: []byte(p.text())}
			r.Facts.Attr.Xattrs = append(r.Facts.Attr.Xattrs, x)
		}
	}
}

func (p *parser) take(n int) []byte {
	if n > len(p.b) {
		p.fail()
		return nil
	}
	b := p.b[:n]
	p.b = p.b[n:]
	return b
}

// uvarint refuses what is longer than it needs to be, so that each record
// has one stored form.
func (p *parser) uvarint() uint64 {
	v, n := binary.Uvarint(p.b)
	if n <= 0 || n > 1 && p.b[n-1] == 0 {
		p.fail()
		return 0
	}
	p.b = p.b[n:]
	return v
}

func (p *parser) varint() int64 {
	u := p.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

func (p *parser) uint32() uint32 {
	v := p.uvarint()
	if v > math.MaxUint32 {
		p.fail()
	}
	return uint32(v)
}

func (p *parser) size() int64 {
	v := p.uvarint()
	if v > math.MaxInt64 {
		p.fail()
		return 0
	}
	return int64(v)
}

func (p *parser) fixed64() int64 {
	b := p.take(8)
	if p.bad {
		return 0
	}
	return int64(binary.LittleEndian.Uint64(b))
}

func (p *parser) text() string {
	n := p.uvarint()
	if n > uint64(len(p.b)) {
		p.fail()
		return ""
	}
	return string(p.take(int(n)))
}
