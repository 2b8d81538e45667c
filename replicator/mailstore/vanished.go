package mailstore

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// ErrUIDList says that a file is not a uidlist that can be understood.
var ErrUIDList = errors.New("not a uidlist that is understood")

// UIDs are all UIDs from a first to a last one.
type UIDs struct{ First, Last uint32 }

const (
	maxUIDLine = 4 << 10 // bytes of a line of a uidlist
	nextUIDAt  = 28      // where the next UID is in the header of an index

	// typeExpunge is an expunge that has been done: the type, the bits that
	// protect from taking something else for it, and that of what is done.
	typeExpunge = 0x00000001 | 0x0000cd90 | 0x10000000
	// maxRecord is the largest record: its size has 28 bits and counts units of
	// four bytes. Nobody needs a tenth of it.
	maxRecord = 64 << 20
)

// NextUID returns the UID that an index would give out next, by the beginning
// of the file dovecot.index. Its log may know of more UIDs.
func NextUID(index []byte) (uint32, bool) {
	if len(index) < indexHeaderMin || index[0] != 7 {
		return 0, false
	}
	next := byteOrder(index[12]).Uint32(index[nextUIDAt:])
	return next, next > 0
}

// MissingUIDs returns the UIDs, not below first, that a uidlist has given out
// and has no message of, in order. A line may be left of one that is no more:
// there says whether there is a message of that base name; nil: of each. most bounds
// how many ranges there may be: the rest is left out. The error is ErrUIDList or that
// of the reader.
func MissingUIDs(uidlist io.Reader, first uint32, most int, there func(base string) bool) ([]UIDs, error) {
	in := bufio.NewReaderSize(uidlist, maxUIDLine)
	line, err := in.ReadSlice('\n')
	if err != nil {
		return nil, fmt.Errorf("%w: its first line: %w", ErrUIDList, err)
	}
	end, ok := headerNext(string(line))
	if !ok {
		return nil, fmt.Errorf("%w: it has no next UID", ErrUIDList)
	}
	var missing []UIDs
	next := max(uint64(first), 1)
	until := func(uid uint64) { // what is below is known
		if uid > next && len(missing) < most {
			missing = append(missing, UIDs{uint32(next), uint32(uid - 1)})
		}
		next = max(next, uid+1)
	}
	last := uint64(0)
	for {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			break // what is left is no whole line
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUIDList, err)
		}
		number, _, _ := bytes.Cut(line, []byte{' '})
		uid, err := strconv.ParseUint(string(number), 10, 32)
		if err != nil || uid == 0 {
			return nil, fmt.Errorf("%w: the line %.40q", ErrUIDList, line)
		}
		if there == nil || uid < next || there(baseIn(line)) {
			until(uid)
		}
		last = uid
	}
	until(max(end, last+1))
	return missing, nil
}

// baseIn returns the base name in a line of a uidlist.
func baseIn(line []byte) string {
	_, base, _ := bytes.Cut(bytes.TrimSuffix(line, []byte{'\n'}), []byte(" :"))
	return string(base)
}

// headerNext returns the next UID by the header of a uidlist.
func headerNext(header string) (uint64, bool) {
	words := strings.Fields(header)
	if len(words) == 0 || words[0] != "3" {
		return 0, false
	}
	for _, word := range words[1:] {
		if number, found := strings.CutPrefix(word, "N"); found {
			next, err := strconv.ParseUint(number, 10, 32)
			return next, err == nil && next > 0
		}
	}
	return 0, false
}

// Expunged returns a record for a log of an index, which says that messages
// were expunged, and the place in the log where it belongs: behind the last
// whole transaction; what is there is of a transaction that never ended. It
// returns false for a log that cannot be gone on with.
//
// The first four bytes are to be written after all others, and these are to be
// durable then: it is by them that a reader knows a whole record.
func Expunged(log []byte, gone []UIDs) (at int64, record []byte, ok bool) {
	h, ok := parseLog(log)
	size := recordHeader + 8*len(gone)
	if !ok || len(gone) == 0 || size > maxRecord {
		return 0, nil, false
	}
	order := byteOrder(log[32])
	record = putRecordSize(nil, size)
	record = append32(record, order, typeExpunge)
	for _, r := range gone {
		record = append32(append32(record, order, r.First), order, r.Last)
	}
	return int64(len(h.whole)), record, true
}

func append32(b []byte, order binary.ByteOrder, v uint32) []byte {
	b = append(b, 0, 0, 0, 0)
	order.PutUint32(b[len(b)-4:], v)
	return b
}

// putRecordSize appends the size of a record as recordSize reads it.
func putRecordSize(b []byte, size int) []byte {
	n := uint32(size) >> 2
	return binary.BigEndian.AppendUint32(b, 0x80808080|n&0x7f|n<<1&0x7f00|n<<2&0x7f0000|n<<3&0x7f000000)
}
