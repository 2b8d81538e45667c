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
// groups and Missing are matters of one node and not covered; nor is what the
// root directory itself is. Equal digests prove that two nodes agree on all
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
// # Format
//
// The directory is a Pebble database and nothing else is put into it. Its
// keys are in key.go and meta.go. The format version is in the key "mf"; a
// newer one is refused with ErrNewer. A record, under (directory, name), is
//
//	version   byte     1
//	type      byte     journal.Type
//	flags     byte     1 content, 2 missing, 4 link, 8 xattrs, 16 stamp, 32 birth
//	mode, uid, gid     uvarint each
//	file:      mtime fixed64, size uvarint, content id 32 bytes if flagged
//	symlink:   mtime fixed64, target text
//	directory: id uvarint, digest 32 bytes, observed varint, then uvarints:
//	           files, directories, symlinks, bytes, unread, missing beneath
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
