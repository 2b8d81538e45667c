package catalog

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/zeebo/blake3"
)

// Digest covers all that is beneath a directory: the sum, modulo 2^256, of a
// keyed BLAKE3 of each child. What a directory itself is (its mode, owner and
// attributes) is in its parent's digest, not in its own. An empty directory
// has the zero Digest.
type Digest [32]byte

// String returns the digest in hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

func (d *Digest) add(o Digest) {
	var carry uint64
	for i := 0; i < len(d); i += 8 {
		var w uint64
		w, carry = bits.Add64(binary.LittleEndian.Uint64(d[i:]), binary.LittleEndian.Uint64(o[i:]), carry)
		binary.LittleEndian.PutUint64(d[i:], w)
	}
}

func (d *Digest) sub(o Digest) {
	var borrow uint64
	for i := 0; i < len(d); i += 8 {
		var w uint64
		w, borrow = bits.Sub64(binary.LittleEndian.Uint64(d[i:]), binary.LittleEndian.Uint64(o[i:]), borrow)
		binary.LittleEndian.PutUint64(d[i:], w)
	}
}

// digestContext separates these hashes from any other use of the pair's key.
const digestContext = "mailtwin 2026 catalog directory digest v1"

// digester computes what a child adds to the digest of its directory. It is
// for one goroutine; clone makes another with the same key.
type digester struct {
	h   *blake3.Hasher
	buf []byte
}

func newDigester(key [32]byte) (*digester, error) {
	var derived [32]byte
	blake3.DeriveKey(digestContext, key[:], derived[:])
	h, err := blake3.NewKeyed(derived[:])
	if err != nil {
		return nil, fmt.Errorf("key the digests: %w", err)
	}
	return &digester{h: h}, nil
}

func (g *digester) clone() *digester { return &digester{h: g.h.Clone()} }

// check tells keys apart without giving them away.
func (g *digester) check() Digest { return g.sum([]byte("key")) }

func (g *digester) sum(b []byte) (d Digest) {
	g.h.Reset()
	_, _ = g.h.Write(b) // never fails
	g.h.Sum(d[:0])
	return d
}

// child hashes what is the same on every node that is in sync: not the
// stamp, nor when it was observed, nor links, nor whether the content came.
func (g *digester) child(name string, r *record) Digest {
	f := &r.Facts
	b := append(g.buf[:0], byte(f.Type))
	b = appendText(b, name)
	b = binary.LittleEndian.AppendUint32(b, f.Attr.Mode)
	b = binary.LittleEndian.AppendUint32(b, f.Attr.UID)
	b = binary.LittleEndian.AppendUint32(b, f.Attr.GID)
	b = binary.AppendUvarint(b, uint64(len(f.Attr.Xattrs)))
	for _, x := range f.Attr.Xattrs {
		b = appendText(b, x.Name)
		b = appendText(b, string(x.Value))
	}
	switch f.Type {
	case journal.TypeDirectory:
		b = append(b, r.Digest[:]...)
	case journal.TypeSymlink:
		b = binary.LittleEndian.AppendUint64(b, uint64(f.Attr.MTime))
		b = appendText(b, f.Target)
	case journal.TypeFile:
		b = binary.LittleEndian.AppendUint64(b, uint64(f.Attr.MTime))
		b = binary.LittleEndian.AppendUint64(b, uint64(f.Size))
		b = append(b, f.Content[:]...)
	}
	g.buf = b
	return g.sum(b)
}

// appendText appends s with its length before it.
func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
