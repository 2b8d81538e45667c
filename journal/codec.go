package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// maxEntry is above the length of any encoded entry within the limits.
const maxEntry = MaxHeld + MaxXattrSize + MaxXattrs*8 + MaxTarget + 2*MaxPath + 512

// Bits of the second byte of an encoded entry: what follows.
const (
	hasFrom = 1 << iota
	hasFacts
	hasHeld
	hasBase
	hasStamp
	entryBits = iota
)

// Bits of the first byte of encoded facts, above the type.
const (
	typeMask   = 3
	hasContent = 1 << (iota + 1)
	hasTarget
	hasXattrs
	factBits = iota + 1
)

// errEncoding says that bytes are not the encoding of an entry.
var errEncoding = errors.New("not an encoded entry")

// Check reports what makes an entry impossible to journal, as ErrEntry: a kind
// that there is not, a path or length beyond the limits, From where it does not
// belong, captured content of anything but a file that was put.
func (e *Entry) Check() error {
	if e.Kind < KindPut || e.Kind > KindSetAttributes {
		return fmt.Errorf("%w: kind %d", ErrEntry, e.Kind)
	}
	if err := checkPath(e.Path, e.Kind == KindSetAttributes); err != nil {
		return err
	}
	if moves := e.Kind == KindMove || e.Kind == KindMoveDir || e.Kind == KindLink; moves {
		if err := checkPath(e.From, false); err != nil {
			return err
		}
		if e.From == e.Path {
			return fmt.Errorf("%w: %q from itself", ErrEntry, e.Path)
		}
	} else if e.From != "" {
		return fmt.Errorf("%w: kind %d has no other name, but %q is given", ErrEntry, e.Kind, e.From)
	}
	if err := e.Facts.check(); err != nil {
		return err
	}
	if h := e.Held; h != nil {
		if e.Kind != KindPut || len(h.Data) > MaxHeld || h.Keep < 0 {
			return fmt.Errorf("%w: kind %d holds %d bytes and keeps %d", ErrEntry, e.Kind, len(h.Data), h.Keep)
		}
	}
	return nil
}

func checkPath(p Path, rootAllowed bool) error {
	if p == Root && rootAllowed {
		return nil
	}
	if _, err := ParsePath(string(p)); err != nil || p == Root {
		return errors.Join(fmt.Errorf("%w: path %q", ErrEntry, p), err)
	}
	return nil
}

func (f *Facts) check() error {
	if f.Type > TypeSymlink || f.Size < 0 || len(f.Target) > MaxTarget {
		return fmt.Errorf("%w: type %d, size %d, a target of %d bytes", ErrEntry, f.Type, f.Size, len(f.Target))
	}
	if len(f.Attr.Xattrs) > MaxXattrs {
		return fmt.Errorf("%w: %d extended attributes", ErrEntry, len(f.Attr.Xattrs))
	}
	total, last := 0, ""
	for _, x := range f.Attr.Xattrs {
		if x.Name <= last || len(x.Name) > MaxName {
			return fmt.Errorf("%w: extended attribute %q after %q", ErrEntry, x.Name, last)
		}
		last = x.Name
		if total += len(x.Name) + len(x.Value); total > MaxXattrSize {
			return fmt.Errorf("%w: more than %d bytes of extended attributes", ErrEntry, MaxXattrSize)
		}
	}
	return nil
}

func (f *Facts) isZero() bool {
	a := &f.Attr
	return f.Type == 0 && f.Size == 0 && !f.Content.Known() && f.Target == "" &&
		a.Mode == 0 && a.UID == 0 && a.GID == 0 && a.MTime == 0 && len(a.Xattrs) == 0
}

// appendTo appends the one encoding that e has. e must have passed Check.
func (e *Entry) appendTo(b []byte) []byte {
	var bits byte
	set := func(cond bool, bit byte) {
		if cond {
			bits |= bit
		}
	}
	set(e.From != "", hasFrom)
	set(!e.Facts.isZero(), hasFacts)
	set(e.Held != nil, hasHeld)
	set(e.Held != nil && e.Held.Base.Known(), hasBase)
	set(e.Stamp != Stamp{}, hasStamp)
	b = append(b, byte(e.Kind), bits)
	b = appendBytes(b, string(e.Path))
	if bits&hasFrom != 0 {
		shared := sharedPrefix(e.Path, e.From)
		b = binary.AppendUvarint(b, uint64(shared))
		b = appendBytes(b, string(e.From[shared:]))
	}
	if bits&hasFacts != 0 {
		b = e.Facts.appendTo(b)
	}
	if bits&hasBase != 0 {
		b = append(b, e.Held.Base[:]...)
	}
	if bits&hasHeld != 0 {
		b = binary.AppendUvarint(b, uint64(e.Held.Keep))
		b = appendBytes(b, e.Held.Data)
	}
	if bits&hasStamp != 0 {
		b = binary.AppendUvarint(b, e.Stamp.Device)
		b = binary.AppendUvarint(b, e.Stamp.Inode)
		b = binary.BigEndian.AppendUint64(b, uint64(e.Stamp.Birth))
		b = binary.BigEndian.AppendUint64(b, uint64(e.Stamp.Change))
	}
	return b
}

func (f *Facts) appendTo(b []byte) []byte {
	bits := byte(f.Type)
	if f.Content.Known() {
		bits |= hasContent
	}
	if f.Target != "" {
		bits |= hasTarget
	}
	if len(f.Attr.Xattrs) > 0 {
		bits |= hasXattrs
	}
	b = append(b, bits)
	b = binary.AppendUvarint(b, uint64(f.Attr.Mode))
	b = binary.AppendUvarint(b, uint64(f.Attr.UID))
	b = binary.AppendUvarint(b, uint64(f.Attr.GID))
	b = binary.BigEndian.AppendUint64(b, uint64(f.Attr.MTime))
	b = binary.AppendUvarint(b, uint64(f.Size))
	if bits&hasContent != 0 {
		b = append(b, f.Content[:]...)
	}
	if bits&hasTarget != 0 {
		b = appendBytes(b, f.Target)
	}
	if bits&hasXattrs != 0 {
		b = binary.AppendUvarint(b, uint64(len(f.Attr.Xattrs)))
		for _, x := range f.Attr.Xattrs {
			b = appendBytes(b, x.Name)
			b = appendBytes(b, x.Value)
		}
	}
	return b
}

func appendBytes[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func sharedPrefix(a, b Path) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// decodeEntry is the inverse of appendTo. It takes only what appendTo makes,
// so that an entry has one encoding, and copies what it needs of b.
func decodeEntry(b []byte) (Entry, error) {
	d := decoder{b: b}
	e := Entry{Kind: Kind(d.byte())}
	bits := d.byte()
	d.check(bits < 1<<entryBits && (bits&hasBase == 0 || bits&hasHeld != 0))
	e.Path = Path(d.bytes(MaxPath))
	if bits&hasFrom != 0 {
		e.From = d.from(e.Path)
	}
	if bits&hasFacts != 0 {
		e.Facts = d.facts()
		d.check(!e.Facts.isZero())
	}
	if bits&hasHeld != 0 {
		e.Held = d.held(bits&hasBase != 0)
	}
	if bits&hasStamp != 0 {
		e.Stamp = Stamp{Device: d.uvarint(math.MaxUint64), Inode: d.uvarint(math.MaxUint64)}
		e.Stamp.Birth = int64(d.fixed64())
		e.Stamp.Change = int64(d.fixed64())
		d.check(e.Stamp != Stamp{})
	}
	d.check(len(d.b) == 0)
	if d.failed {
		return Entry{}, fmt.Errorf("%w: it breaks off or is malformed at byte %d of %d", errEncoding, len(b)-len(d.b), len(b))
	}
	if err := e.Check(); err != nil {
		return Entry{}, fmt.Errorf("%w: %w", errEncoding, err)
	}
	return e, nil
}

// decoder takes values from the front of b. After the first failure all that
// it returns is zero.
type decoder struct {
	b      []byte
	failed bool
}

func (d *decoder) check(ok bool) {
	if !ok {
		d.failed = true
	}
}

func (d *decoder) take(n int) []byte {
	if d.failed || n > len(d.b) {
		d.failed = true
		return nil
	}
	p := d.b[:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) byte() byte {
	if p := d.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (d *decoder) fixed64() uint64 {
	if p := d.take(8); p != nil {
		return binary.BigEndian.Uint64(p)
	}
	return 0
}

// uvarint refuses what is above limit or longer than it must be.
func (d *decoder) uvarint(limit uint64) uint64 {
	v, n := binary.Uvarint(d.b)
	if d.failed || n <= 0 || v > limit || (n > 1 && d.b[n-1] == 0) {
		d.failed = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

// bytes returns a run of bytes, still in b, that has its length before it.
func (d *decoder) bytes(limit int) []byte {
	return d.take(int(d.uvarint(uint64(limit))))
}

func (d *decoder) from(path Path) Path {
	shared := int(d.uvarint(uint64(len(path))))
	rest := d.bytes(MaxPath)
	if d.failed {
		return ""
	}
	from := path[:shared] + Path(rest)
	d.check(from != "" && sharedPrefix(path, from) == shared)
	return from
}

func (d *decoder) content() (id ContentID) {
	copy(id[:], d.take(len(id)))
	d.check(id.Known())
	return id
}

func (d *decoder) facts() (f Facts) {
	bits := d.byte()
	d.check(bits < 1<<(factBits))
	f.Type = Type(bits & typeMask)
	f.Attr.Mode = uint32(d.uvarint(math.MaxUint32))
	f.Attr.UID = uint32(d.uvarint(math.MaxUint32))
	f.Attr.GID = uint32(d.uvarint(math.MaxUint32))
	f.Attr.MTime = int64(d.fixed64())
	f.Size = int64(d.uvarint(math.MaxInt64))
	if bits&hasContent != 0 {
		f.Content = d.content()
	}
	if bits&hasTarget != 0 {
		f.Target = string(d.bytes(MaxTarget))
		d.check(f.Target != "")
	}
	if bits&hasXattrs != 0 {
		n := d.uvarint(MaxXattrs)
		d.check(n > 0)
		for range n {
			x := Xattr{Name: string(d.bytes(MaxName))}
			x.Value = append(x.Value, d.bytes(MaxXattrSize)...)
			f.Attr.Xattrs = append(f.Attr.Xattrs, x)
		}
	}
	return f
}

func (d *decoder) held(base bool) *Held {
	h := &Held{}
	if base {
		h.Base = d.content()
	}
	h.Keep = int64(d.uvarint(math.MaxInt64))
	h.Data = append(h.Data, d.bytes(MaxHeld)...)
	return h
}
