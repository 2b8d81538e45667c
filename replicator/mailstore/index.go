package mailstore

import (
	"encoding/binary"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/watch"
)

// The index of a mailbox: what Dovecot can only rebuild in part. The names are
// in the order in which they are read: the index speaks of places in a log, and
// a log of the one before it.
const (
	indexFile   = "dovecot.index"
	indexLogOld = IndexLog + ".2"
)

// IndexLog is the name of the log of an index, with which it begins.
const IndexLog = "dovecot.index.log"

// listIndex is the index of the list of folders. Where Dovecot keeps folders by
// their index, it is the one place that has their names.
const listIndex = "dovecot.list.index"

// uidlistLock is there while a server assigns UIDs: it writes them into the
// index first, and then into the uidlist.
const uidlistLock = "dovecot-uidlist.lock"

var _ watch.Snapshots = Maildir{}

// Members implements watch.Snapshots.
func (Maildir) Members(dir journal.Path) []journal.Path {
	return []journal.Path{dir.Join(indexFile), dir.Join(IndexLog), dir.Join(indexLogOld)}
}

// Before implements watch.Snapshots: the index of the list of folders ends at a
// place in its log. A Dovecot that opens it beside a shorter log may crash.
func (Maildir) Before(p journal.Path) []journal.Path {
	if p.Name() != listIndex {
		return nil
	}
	return []journal.Path{p.Dir().Join(listIndex + ".log.2"), p.Dir().Join(listIndex + ".log")}
}

// Locks implements watch.Snapshots.
func (Maildir) Locks(dir journal.Path) []journal.Path {
	return []journal.Path{dir.Join(uidlistLock)}
}

// Whole implements watch.Snapshots, for the members as Members returns them.
// Logs are cut behind their last whole transaction. They belong together if
// they have the same id, if the log continues the older one, and if the index
// ends within one of them. An index that is marked as corrupted or deleted, or
// is of a version that is not known, never belongs together.
func (Maildir) Whole(members [][]byte) ([][]byte, bool) {
	if len(members) != 3 {
		return nil, false
	}
	log, ok := parseLog(members[1])
	if !ok {
		return nil, false // without a log, an index stands for nothing
	}
	whole := [][]byte{members[0], log.whole, nil}
	var old logHeader
	if members[2] != nil {
		old, ok = parseLog(members[2])
		if !ok || old.id != log.id || old.sequence >= log.sequence {
			return nil, false
		}
		if old.sequence == log.before && uint64(len(old.whole)) != uint64(log.beforeEnd) {
			return nil, false
		}
		whole[2] = old.whole
	}
	if members[0] == nil {
		// A server makes the first log before it makes the index.
		return whole, log.before == 0
	}
	index, ok := parseIndex(members[0])
	if !ok || index.id != log.id {
		return nil, false
	}
	switch index.sequence {
	case log.sequence:
		return whole, uint64(index.end) <= uint64(len(log.whole))
	case log.before:
		if uint64(index.end) == uint64(log.beforeEnd) {
			return whole, true // the older log has nothing that it lacks
		}
	}
	return whole, old.sequence != 0 && index.sequence == old.sequence && uint64(index.end) <= uint64(len(old.whole))
}

// Sizes and places in the formats of Dovecot; see doc.go.
const (
	logHeaderMin   = 33 // up to the flags that tell the byte order
	recordHeader   = 8
	indexHeaderMin = 120
	littleEndian   = 1 // bit of the flags

	typeMask     = 0x0fffffff
	typeBoundary = 0x00080000
	typeDeleted  = 0x00020000
	typeAlive    = 0x00040000
)

// logHeader is what is needed of a transaction log.
type logHeader struct {
	id, sequence      uint32
	before, beforeEnd uint32 // the log that it continues, and the size of that
	whole             []byte
}

// byteOrder returns the order of the integers in a file whose header has flags
// at a place. Both kinds of files are in the order of the machine that wrote
// them.
func byteOrder(flags byte) binary.ByteOrder {
	if flags&littleEndian != 0 {
		return binary.LittleEndian
	}
	return binary.BigEndian
}

// emptyLogSize is the size of the header of a log as this package writes it.
const emptyLogSize = 40

// EmptyIndexLog returns a log without any change in it, whose history begins
// above a modification sequence: of what was before, Dovecot then says that it
// is not known. It is for a mailbox without an index.
func EmptyIndexLog(now time.Time, modseq uint64) []byte {
	b := make([]byte, emptyLogSize)
	order := binary.NativeEndian
	b[0], b[1] = 1, 3 // the version
	order.PutUint16(b[2:], emptyLogSize)
	order.PutUint32(b[4:], max(uint32(now.Unix()), 1)) // an id, which Dovecot takes from the clock too
	order.PutUint32(b[8:], 1)                          // the first of its sequence
	order.PutUint32(b[20:], uint32(now.Unix()))
	order.PutUint64(b[24:], modseq)
	if order.Uint16([]byte{1, 0}) == 1 {
		b[32] = littleEndian
	}
	return b
}

// parseLog reads the header of a transaction log, and finds the end of its last
// whole transaction.
func parseLog(data []byte) (logHeader, bool) {
	if len(data) < logHeaderMin || data[0] != 1 {
		return logHeader{}, false
	}
	order := byteOrder(data[32])
	size := int(order.Uint16(data[2:]))
	h := logHeader{
		id: order.Uint32(data[4:]), sequence: order.Uint32(data[8:]),
		before: order.Uint32(data[12:]), beforeEnd: order.Uint32(data[16:]),
	}
	if size < logHeaderMin || size > len(data) || h.id == 0 || h.sequence == 0 {
		return logHeader{}, false
	}
	end, deleted := lastTransaction(data, size, order)
	h.whole = data[:end]
	return h, !deleted
}

// lastTransaction returns where the last whole transaction ends. deleted says
// that the last word on it is that the mailbox is being deleted.
func lastTransaction(data []byte, at int, order binary.ByteOrder) (end int, deleted bool) {
	start, until := at, at // of a transaction of several records
	for len(data)-at >= recordHeader {
		size := recordSize(data[at:])
		if size < recordHeader || size > len(data)-at {
			break
		}
		switch order.Uint32(data[at+4:]) & typeMask {
		case typeBoundary:
			if size < recordHeader+4 {
				return at, deleted
			}
			all := uint64(order.Uint32(data[at+recordHeader:]))
			if all > uint64(len(data)-at) {
				return at, deleted
			}
			start, until = at, at+int(all)
		case typeDeleted:
			deleted = true
		case typeAlive:
			deleted = false
		}
		at += size
	}
	if at < until {
		return start, deleted
	}
	return at, deleted
}

// recordSize decodes the size of a record. It is 0 as long as not all four
// bytes were written: each has its highest bit set.
func recordSize(b []byte) int {
	v := binary.BigEndian.Uint32(b)
	if v&0x80808080 != 0x80808080 {
		return 0
	}
	return int(v&0x7f|v&0x7f00>>1|v&0x7f0000>>2|v&0x7f000000>>3) << 2
}

// indexHeader is what is needed of an index: its id, and the place in a log up
// to which it has everything.
type indexHeader struct {
	id, sequence, end uint32
}

// parseIndex reads the header of an index, whose records must all be there.
func parseIndex(data []byte) (indexHeader, bool) {
	if len(data) < indexHeaderMin || data[0] != 7 {
		return indexHeader{}, false
	}
	order := byteOrder(data[12])
	h := indexHeader{
		id: order.Uint32(data[16:]), sequence: order.Uint32(data[60:]), end: order.Uint32(data[68:]),
	}
	size := uint64(order.Uint32(data[4:])) + uint64(order.Uint32(data[8:]))*uint64(order.Uint32(data[32:]))
	return h, h.id != 0 && size <= uint64(len(data))
}
