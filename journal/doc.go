// Package journal is the durable, ordered log of the changes of a mailstore on
// its primary. It knows no network and no mail.
//
// # What is promised
//
//   - What [Log.Append] returned is there after a crash at any later moment.
//   - Records are numbered without gaps, and the running digest of each covers
//     all before it: equal positions mean an equal past.
//   - A call of Append that failed left nothing in the journal, and may be
//     tried again. Only a crash before that may leave the call's records, or
//     the first few of them, in the journal.
//   - Readers see durable records and nothing else.
//   - What was written without being acknowledged is kept by [Open] as far as
//     it is whole; the rest, at the end of the journal, is cut off (see
//     [Log.Repaired]). Damage of anything else is [ErrCorrupt], never a shorter
//     journal. Open finds damage in the last segment, in any
//     header, and missing segments; damage within an older segment is found
//     when it is read, or by [Log.Check].
//   - A file of a newer format is [ErrNewer], never ErrCorrupt.
//
// Not promised: that one directory is used by one Log only (its owner locks
// it), and that the journal fits in Options.MaxSize when [Log.Trim] is not
// allowed to drop anything.
//
// # Assumptions about disks
//
//  1. Bytes that were synced stay as they are, until they are written again.
//     If one does not, the checksums show it.
//  2. What was written and not synced may be there after a crash, or not, or
//     in part: any sectors of it, in any order. The length of the file too.
//  3. A rename is atomic: after a crash the name stands for one file or the
//     other. A rename, a creation or a removal is durable once the directory
//     was synced; before, each may be there after a crash or not.
//  4. After a write or sync that failed nothing is known of what was written
//     since the last success. A later sync of the same file may succeed and
//     mean nothing. Therefore the segment is cut to what was durable and a new
//     one is begun.
//  5. A process that is killed leaves what it wrote: readable, but maybe not
//     durable, and a sync may not make it so (by 4). Therefore Open takes for
//     durable only what a later record or the file of cursors says was, and
//     writes the rest of what is whole anew, into a new segment.
//
// # Files
//
// The directory holds segments, called by the sequence number of their first
// record in 16 lower-case hexadecimal digits and ".seg", and a file "cursors".
// New files are written under a name that ends in ".tmp", synced, and renamed;
// Open removes what was left under such a name. Other names are not touched.
//
// Integers of a fixed size are big-endian. "uvarint" is the variable-length
// integer of encoding/binary, in its shortest form. "bytes" is a uvarint that
// says how many, and that many bytes. Checksums are CRC-32C. Times are
// nanoseconds since 1970.
//
// A segment begins with a header of 80 bytes. Its records follow without
// padding.
//
//	offset  size
//	     0     8  "mtjournl"
//	     8     4  version of the format, 1
//	    12     8  epoch of the records in the segment
//	    20     8  sequence of the first record
//	    28     8  epoch      } of the record before it
//	    36    16  digest     }
//	    52     8  time of creation
//	    60     8  sequence of the first record of the segment before; 0: none
//	    68     8  how many bytes of the segment before are valid
//	    76     4  checksum of bytes 0 to 75
//
// What lies behind the valid bytes of a segment that another one continues
// was left there by a write that failed or was never acknowledged, and is not
// read.
//
// A record:
//
//	offset  size
//	     0     4  length of the payload
//	     4     4  checksum of all of the record but itself, continued from that
//	              of the header (so that a record is whole in its segment only)
//	     8     8  sequence
//	    16     8  epoch
//	    24     8  time of the append
//	    32     4  pending: how many records before this one were not yet
//	              durable when it was written
//	    36    16  running digest: the first bytes of the BLAKE3 of the digest
//	              before it, bytes 8 to 31, and the payload
//	    52        payload: one entry
//
// Before the first record of a journal the digest is that of 16 zero bytes, the
// epoch, the time of creation and "mtjournl". A journal that goes on where
// another one was left (see [Create]) has that place before its first record
// instead, whose epoch may be lower than that of the segment; it names no segment
// before it.
//
// In the last segment a record that is not whole is damage if there is a whole
// one behind it that was written when the first was durable already (by its
// pending), or if the file of cursors knows of a durable place at or behind it.
// Else it is the torn end of a write that was never acknowledged.
//
// An entry:
//
//	kind     1 byte, a Kind
//	bits     1 byte: 1 from, 2 facts, 4 held, 8 held has a base, 16 stamp
//	path     bytes
//	from     how many bytes it shares with path, uvarint; the rest, bytes
//	facts    see below
//	base     32 bytes, not zero
//	held     keep, uvarint; data, bytes
//	stamp    device, inode: uvarint; birth, change: 8 bytes each
//
// Facts:
//
//	bits     1 byte: 1, 2 the type; 4 content, 8 target, 16 xattrs
//	mode, uid, gid   uvarint each
//	mtime    8 bytes
//	size     uvarint
//	content  32 bytes, not zero
//	target   bytes, not empty
//	xattrs   how many, uvarint, not 0; of each: name, bytes; value, bytes
//
// A part is there if and only if its bit is set, and its bit is set if and only
// if it is not zero, so that an entry has one encoding.
//
// The file of cursors:
//
//	offset  size
//	     0     8  "mtcursor"
//	     8     4  version of the format, 1
//	    12    32  a place that was durable when the file was written: epoch 8,
//	              sequence 8, digest 16
//	    44     2  how many cursors
//	    46        of each, in the order of the names: length of the name 1,
//	              name, position as above
//	   end     4  checksum of all before it
package journal
