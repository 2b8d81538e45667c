package journal

import (
	"cmp"
	"encoding/hex"
	"fmt"
)

// Epoch is raised by each promotion and never goes down. Who holds a lower
// one than its peer may not write.
type Epoch uint64

// Sequence names a place in the journal. The first entry has sequence 1;
// 0 is the place before it.
type Sequence uint64

// Digest is the running digest of a journal: the BLAKE3 of the digest before
// it and the record, cut to 16 bytes. Two journals with equal digests at
// equal sequences have had the same past.
type Digest [16]byte

// String returns the digest in hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Position is a place in one particular history: a sequence number alone
// would not tell two journals apart that went different ways.
type Position struct {
	Epoch    Epoch
	Sequence Sequence
	Digest   Digest
}

// Compare orders positions by epoch, then by sequence.
func (p Position) Compare(q Position) int {
	if c := cmp.Compare(p.Epoch, q.Epoch); c != 0 {
		return c
	}
	return cmp.Compare(p.Sequence, q.Sequence)
}

// String returns epoch/sequence and the first digits of the digest.
func (p Position) String() string {
	return fmt.Sprintf("%d/%d@%x", p.Epoch, p.Sequence, p.Digest[:4])
}
