// Package catalog holds what is known of each name in a mailstore: on the
// node that observes the store, what the journal already says of it; on a
// mirror, what has been applied. It is a materialized view of the journal:
// each update stores, in the same atomic write, the position up to which it
// has applied it, so that after a crash the records after that position are
// applied again and nothing else is.
//
// # Tree
//
// A directory has an id for as long as it exists, and what is in it is stored
// under that id. So moving or removing a directory, whatever is beneath, is
// one change; the items of a removed one are swept a few hundred at a time by
// the updates that follow. No item has its path in it.
//
// # Digests
//
// The Digest of a directory is the sum, modulo 2^256, of a keyed BLAKE3 hash
// of each child: its name, type, mode, owner, extended attributes, and then
// for a file its mtime, size and content id, for a symbolic link its mtime
// and target, for a directory its digest. The stamp, the observation, link
// groups, Missing, Derived and Guess are matters of one node and not covered; nor
// is what the root directory itself is. Equal digests prove that two nodes agree on all
// of that beneath; a sum is what makes them cheap, for a change costs two
// hashes and not another look at its neighbors.
//
// What a sum promises is that no accident makes two different directories
// equal. Without a key it would promise nothing against someone who makes
// files for the purpose: mail users choose names and contents, and finding
// some whose hashes sum up to the same is feasible (Wagner's generalized
// birthday). Therefore Options.DigestKey, which the two nodes share and no
// user knows. Who has the key can forge digests.
//
// # Memory
//
// Resident memory does not follow the number of items: with the default
// cache a process with nothing but a catalog had 15 MiB of anonymous memory
// at 50,000 files, 17 MiB at 500,000 (peaks of all memory: 30 and 34 MiB). An
// update holds its changes in memory until it is committed.
//
// # Choice of the store
//
// integration/kvbench compares Pebble and bbolt with keys and values of these
// shapes, 5,000,000 messages in directories of 2,500. On a machine with two
// cores that was busy with other work (load 7 to 13), so that the rates
// compare the two and say little of either:
//
//	                                     Pebble 2.1.7     bbolt 1.5.0
//	on disk, bytes a message                      224             640
//	fill in batches of 10,000, messages/s   8,000-21,000        6,600
//	renames in batches of 1000, /s              1,340           1,850 (not safe)
//	the same, durable, /s                       2,520           1,100
//	single durable renames, /s                  2,570             230
//	resident after it, anonymous + files    53+17 MiB   121+3,024 MiB
//	open                                        0.9 s            25 s
//	random lookups, /s                         25,000          19,600
//
// bbolt maps its file, so that what is resident grows with the store, writes
// whole pages for each random key of the content index, and without an fsync
// for each update a power cut may leave its file unusable, whereas Pebble is
// then as some earlier update left it. (bbolt's freelist was not stored,
// which makes its updates cheaper and its open dearer.) Hence Pebble.
//
// Its settings: Snappy and blocks of 4 KiB, for with zstd and 16 KiB a
// message took 5 % less of the disk, but lookups, which precede each change,
// took longer and held more memory; bloom filters on all levels but the last,
// with which renames were three times slower at 1,000,000 messages, because
// the filters of 3 keys a message did not fit into the cache.
//
// # Format
//
// The directory is a Pebble database and nothing else is put into it. Its
// keys are in key.go and meta.go. The format version is in the key "mf"; a
// newer one is refused with ErrNewer, and one of version 1, which had no guesses,
// is made one of version 2. A record, under (directory, name), is
//
//	version   byte     1
//	type      byte     journal.Type
//	flags     byte     1 content, 2 missing, 4 link, 8 xattrs, 16 stamp, 32 birth,
//	                   64 derived (only with missing), 128 guess (only of a file
//	                   without content that is not missing, and of a directory
//	                   with such files beneath)
//	mode, uid, gid     uvarint each
//	file:      mtime fixed64, size uvarint, content id 32 bytes if flagged,
//	           guess 32 bytes if flagged
//	symlink:   mtime fixed64, target text
//	directory: id uvarint, digest 32 bytes, observed varint, then uvarints:
//	           files, directories, symlinks, bytes, unread, missing beneath, and
//	           guessed if flagged
//	stamp:     device, inode uvarint; birth varint, less the mtime, if flagged;
//	           change varint, less the birth, or without one the mtime
//	link       uvarint
//	xattrs     uvarint number, then name text, value text of each
//
// where fixed64 is little endian, varint and uvarint are those of
// encoding/binary in their shortest form, and text is its length as a uvarint
// and its bytes. What is not flagged is not there. Each record has only one
// stored form.
package catalog
