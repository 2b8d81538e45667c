// Package mirror receives what a primary sends, makes it durable, and
// acknowledges it.
//
// Two goroutines share the work. The receiver takes messages from the stream
// and writes contents into the staging directory, outside of all mailboxes.
// The committer takes steps in the order in which the primary sent them, as
// many at a time as have come up (group commit):
//
//  1. contents that need not travel are copied from where the mirror has them,
//     captured ones are put together, and all get their attributes;
//  2. the staged files are made durable (live ones that come while the committer
//     rests are being synced since they arrived, maybe before their entries);
//  3. the changes are made in the store, one after the other: content comes in
//     by rename, so that nobody ever sees half a message, and so does a
//     directory, so that none is ever another's than its owner's;
//  4. the directories are made durable;
//  5. the catalog takes the changes and the position (of new files they are put
//     together during the steps 2 to 4, and take effect here);
//  6. the position is acknowledged: all that it stands for is durable in the store;
//  7. the catalog is made durable, before the next group changes anything.
//
// A crash between any two of them is repaired by doing the group again: only
// changes that can be made twice together are in one group (see trail), and what one
// has moved of that which it has made is taken back first (see takeback.go). What it
// put under one name after the other does not go back meanwhile (see The versions). One
// before the end of step 7 may leave the catalog at a position that is before the
// acknowledged one, by this group. The primary sends it again from its journal; should
// it not be there any more, the mirror looks at its store as a whole before both
// compare, for only the store has what the group made. An
// error ends the stream, with nothing of the group acknowledged; the next stream
// begins at the position of the catalog, with an empty staging directory, so
// that nothing is trusted whose fsync failed.
//
// An entry whose content cannot be had at once is applied without, and its file
// called missing in the catalog, so that it holds up nothing but the
// acknowledgements (see debts).
//
// A name of which the disk does not even tell what it is holds up nothing either. Its
// file counts as missing; one that the primary removes or renames is left, noted and
// told, and removed when it can be looked at (see broken.go). A node that is promoted
// before that forgets the note: what comes back then is told as unreadable until it does,
// and is mail again after that.
//
// A comparison goes through the same steps: what a listing shows to be
// different becomes changes without a sequence number, and fetches for the
// contents that are lacking.
//
// A comparison with the primary of a later epoch may find what was acknowledged
// here and never came there. It removes nothing, but puts it aside (see aside.go).
//
// New mail does not wait for a comparison. Entries come to the committer in a
// lane of their own and are committed before the contents and listings that the
// primary has sent ahead of them, unless those may have to do with the same
// names, or are messages that a control file among the entries may name (see
// concern): whether those wait in their lane (see lanes.next) or, taken already, for
// more to be committed with (see committer.mayWait), though for a short while only.
// What an entry owes counts as one. And of a comparison only as much is committed
// at one time, and asked for, as the disk takes in a short while (see rhythm).
//
// A store that is not here is compared in the order of its value, which the
// primary knows (see survey): what came lately to all mailboxes, then the
// mailboxes that were active last, each by itself, and at the end the whole
// store, top down. As long as the primary has yet to find some, the best of those that
// it has named are copied when there is nothing better. So what is here at any moment
// is worth the most, and the comparison of the whole finds what nobody has named. In a
// mailbox, messages are asked for in the turn that the primary gives them, control
// files behind them.
//
// What the store held before it became a mirror's is hashed here, and messages
// of it are assumed to be the primary's by their name and size, until they are
// proven (see assume.go).
//
// The index of a mailbox never gets ahead of its mail (see derived.go).
//
// # The footprint
//
// What is compared are catalogs, so a mirror's has to say what is in its store. An
// older state of either one, that was restored from a backup, would leave behind what
// nobody knows of, and a failover would bring it back. So a mirror leaves a footprint
// in its store: durably when a stream begins and ends, and about once a second while
// entries are applied. It is never ahead of the catalog, not more than one stream
// behind, and behind nothing if the last stream has ended well; where it is, is lacking or cannot be read, the store is looked at as a whole, what
// differs is hashed, and both nodes compare. The file ..mailtwin/footprint has one line
// of 72 bytes:
//
//	mailtwin-footprint 1 <stream, 20 digits> <last entry applied, 20 digits> <CRC-32C of all before it, 8 hexadecimal digits>
//
// A file that cannot be read then is missing in the catalog, and asked for; what is in
// the store stays until its content has come and is durable. For a name that cannot
// even be looked at nothing is asked, as nothing could be put in its place: it stays
// missing. A directory that cannot be listed keeps the mirror from following, for
// nobody knows what is in it.
//
// # The versions
//
// A group that is done again begins with what is older than what it had come to: with a
// uidlist that does not name messages which are there, or with a log of an index that ends
// before the index. Should the mirror be killed once more, or promoted, a mail server
// would see that. So a group that puts a name more than once notes before, durably, which
// contents the entries give it, in the catalog under "mirror.versions":
//
//	{"version":1,"epoch":<of the primary>,"names":[
//	  {"path":<base64>,"puts":[{"entry":<sequence number>,"content":<BLAKE3-256, base64>}, …]}, …]}
//
// with at most 2048 contents; that of a symbolic link is the hash of "-> " and its target.
// Where the group is done again, or a part of it, with more or less behind it, and the
// store has one of these contents under the name, then the entries before that one change
// nothing there, and the catalog gets no stamp of the file until that entry has come. An
// entry is taken out of the note by the update that gives it to the catalog, so the note
// is of two groups at most. It says nothing when the primary is of another epoch: the
// store is looked at as a whole then, and the note ends. One that is damaged, or of a
// newer version, is passed over with a warning: what is there is older for a moment then,
// and right in the end. The catalog's own checksums find what a disk has done to it.
//
// Of removals there is no note. What one group has put and removed, or put, linked and
// removed, is put again when the group is done again: should the mirror be killed once
// more before it comes to the removal, and be promoted, that message is there.
//
// What the package rests on: fsync of a file, rename, fsync of its directory;
// or, for many, syncfs before the renames and after them. The store has no
// other writer: what another one does to it is not found by comparing catalogs.
// When the node is promoted, its observer finds it (see watch.Inherit).
package mirror
