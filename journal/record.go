package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/zeebo/blake3"
)

// Lengths of the fixed parts of the format; doc.go describes them.
const (
	formatVersion = 1
	segmentMagic  = "mtjournl"
	headerSize    = 80
	frameSize     = 52 // of a record, before its payload
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is the beginning of a segment.
type header struct {
	epoch    Epoch    // of the records in this segment
	before   Position // the place before its first record
	created  int64    // nanoseconds since 1970
	previous Sequence // the first sequence of the segment before it; 0: there was none
	length   int64    // how much of the segment before it is valid
	sum      uint32   // CRC-32C of the header; the records' checksums start from it
}

func (h *header) first() Sequence { return h.before.Sequence + 1 }

// encode sets sum.
func (h *header) encode() []byte {
	b := make([]byte, 0, headerSize)
	b = append(b, segmentMagic...)
	b = binary.BigEndian.AppendUint32(b, formatVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(h.epoch))
	b = binary.BigEndian.AppendUint64(b, uint64(h.first()))
	b = binary.BigEndian.AppendUint64(b, uint64(h.before.Epoch))
	b = append(b, h.before.Digest[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(h.created))
	b = binary.BigEndian.AppendUint64(b, uint64(h.previous))
	b = binary.BigEndian.AppendUint64(b, uint64(h.length))
	h.sum = crc32.Checksum(b, castagnoli)
	return binary.BigEndian.AppendUint32(b, h.sum)
}

// decodeHeader wants at least headerSize bytes.
func decodeHeader(b []byte) (header, error) {
	if err := checkFormat(b, segmentMagic); err != nil {
		return header{}, err
	}
	h := header{
		epoch: Epoch(binary.BigEndian.Uint64(b[12:])),
		before: Position{
			Epoch:    Epoch(binary.BigEndian.Uint64(b[28:])),
			Sequence: Sequence(binary.BigEndian.Uint64(b[20:]) - 1),
			Digest:   Digest(b[36:52]),
		},
		created:  int64(binary.BigEndian.Uint64(b[52:])),
		previous: Sequence(binary.BigEndian.Uint64(b[60:])),
		length:   int64(binary.BigEndian.Uint64(b[68:])),
		sum:      binary.BigEndian.Uint32(b[76:]),
	}
	switch {
	case h.sum != crc32.Checksum(b[:76], castagnoli):
		return header{}, errors.New("the checksum of the header does not match")
	case h.first() == 0 || h.previous > h.before.Sequence || h.length < 0 || h.before.Epoch > h.epoch:
		return header{}, errors.New("the header contradicts itself")
	}
	return h, nil
}

// checkFormat looks at the magic and the version that every file of the journal
// begins with. The version comes before any checksum, for a newer format may
// have its checksum elsewhere.
func checkFormat(b []byte, magic string) error {
	if len(b) < len(magic)+4 || string(b[:len(magic)]) != magic {
		return fmt.Errorf("it does not begin with %q", magic)
	}
	switch v := binary.BigEndian.Uint32(b[len(magic):]); {
	case v > formatVersion:
		return fmt.Errorf("%w: version %d, and %d is the newest known here", ErrNewer, v, formatVersion)
	case v == 0:
		return errors.New("it has version 0")
	}
	return nil
}

// frame is the fixed part of a record.
type frame struct {
	length  int // of the payload
	sum     uint32
	at      Position
	time    int64  // nanoseconds since 1970
	pending uint32 // how many records before this one were not known to be durable when it was written
}

func (f *frame) size() int64 { return frameSize + int64(f.length) }

// appendRecord appends the record of payload that follows before in a segment
// whose header has the checksum seed, and returns its position.
func appendRecord(b []byte, seed uint32, before Position, now time.Time, pending uint32, payload []byte) ([]byte, Position) {
	start := len(b)
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload)))
	b = append(b, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(before.Sequence+1))
	b = binary.BigEndian.AppendUint64(b, uint64(before.Epoch))
	b = binary.BigEndian.AppendUint64(b, uint64(now.UnixNano()))
	b = binary.BigEndian.AppendUint32(b, pending)
	digest := chain(before.Digest, b[start+8:start+32], payload)
	b = append(b, digest[:]...)
	b = append(b, payload...)
	binary.BigEndian.PutUint32(b[start+4:], frameSum(seed, b[start:]))
	return b, Position{Epoch: before.Epoch, Sequence: before.Sequence + 1, Digest: digest}
}

// decodeFrame wants at least frameSize bytes. Whether they are a frame at all
// is known after verifySum.
func decodeFrame(b []byte) frame {
	return frame{
		length: int(binary.BigEndian.Uint32(b)),
		sum:    binary.BigEndian.Uint32(b[4:]),
		at: Position{
			Sequence: Sequence(binary.BigEndian.Uint64(b[8:])),
			Epoch:    Epoch(binary.BigEndian.Uint64(b[16:])),
			Digest:   Digest(b[36:52]),
		},
		time:    int64(binary.BigEndian.Uint64(b[24:])),
		pending: binary.BigEndian.Uint32(b[32:]),
	}
}

// frameSum is the checksum of a whole record: all but itself.
func frameSum(seed uint32, record []byte) uint32 {
	sum := crc32.Update(seed, castagnoli, record[:4])
	return crc32.Update(sum, castagnoli, record[8:])
}

// follows reports why a record whose checksum is right is not the one that
// comes after before; nil if it is.
func (f *frame) follows(before Position, record []byte) error {
	switch {
	case f.at.Sequence != before.Sequence+1:
		return fmt.Errorf("sequence %d where %d should be", f.at.Sequence, before.Sequence+1)
	case f.at.Epoch != before.Epoch:
		return fmt.Errorf("epoch %d in a segment of epoch %d", f.at.Epoch, before.Epoch)
	case f.at.Digest != chain(before.Digest, record[8:32], record[frameSize:]):
		return fmt.Errorf("the running digest of sequence %d does not match", f.at.Sequence)
	}
	return nil
}

// chain is the running digest after a record.
func chain(before Digest, fixed, payload []byte) Digest {
	b := append(make([]byte, 0, 1024), before[:]...) // most records fit, and stay off the heap
	b = append(append(b, fixed...), payload...)
	sum := blake3.Sum256(b)
	return Digest(sum[:len(before)])
}

// firstDigest is the running digest before the first record of a new journal.
// It differs between journals, so that one that was made anew does not seem to
// be the one before it.
func firstDigest(epoch Epoch, created int64) Digest {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], uint64(epoch))
	binary.BigEndian.PutUint64(b[8:], uint64(created))
	return chain(Digest{}, b[:], []byte(segmentMagic))
}
