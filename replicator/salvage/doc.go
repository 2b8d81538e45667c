// Package salvage brings the mail that a former primary took and never
// replicated to the primary that was promoted in its place, before the former
// one becomes its mirror.
//
// # What is found
//
// The new primary began at a place in the former one's journal. What was
// journaled there after that place, and what is on disk and in no catalog
// (nobody observed the store then), is all that the new primary cannot have:
// messages that came, flags that were changed, messages that were moved to
// another mailbox, and removals. Events are sorted on disk by the base of the
// message, so that each message's life is told from its events alone, in a
// memory that does not depend on how many messages there are.
//
// A file is on disk under the names that the catalog has if its directory's
// mtime is that of the last complete observation; only other directories are
// listed.
//
// Where the place is not in the own journal any more, or the new primary did
// not have all up to it, or some of it only as a copy that it was made from and
// that nobody had compared, every message is offered. Then only the new primary's
// memory tells a message that it never had from one that was removed since:
// that is less certain, and Summary.Uncertain says why.
//
// # When another node was primary in between
//
// The node that took over from this one may have been replaced itself, while this one
// was away. Its journal, which says what was expunged under it, is not the new primary's.
// But each primary tells its mirrors, and they keep, which promotions its store has behind
// it, and from where each began (wire.Reign). By that this node knows from where the one
// began that came next after it, and what came here after that place is new for certain:
// it is delivered. Of all else it is not known what was done in between. What is not there
// may have been expunged: it is in doubt, and is not delivered. Flags that differ may have
// been changed: they stay as they are there.
//
// Where the promotions are not known, or one of these nodes did not have everything when
// it was promoted, every message is offered, and what is not there is in doubt. So it is
// where a rejoin to another primary has begun before (Config.Again): what that delivered
// may have been expunged since, and the ledger is on no other node; and what it took stock
// of is in the catalog here, though the other primary may have been all that received it.
//
// A message that is on disk and in no catalog may be an old one that has come back:
// its removal was not durable when the array failed, or an older state of the store,
// as a backup has it, was put in its place. It is one if the journal says that it was
// removed, as far back as it reaches, or if it has not changed since the observer
// noted that everything was in the catalog. Then it is in doubt, unless it is there.
//
// # What the new primary answers
//
// Messages are known by mailbox and base. Folders that either side renamed
// since are looked up under the name that the other side knows. An offered
// message is, by the first that is true:
//
//   - delivered: the ledger says that a salvage delivered it;
//   - there: its mailbox has a message of that base, or the mailbox has that it
//     was moved from. If it is a new one with another content, its name is taken;
//     if it is one that the new primary need not have had, and has with another
//     content, that is said too. What nobody has read there is read for the answer,
//     with leave of the governor; if it cannot be read, it is not known to be the
//     same, and the offered one is kept, by an older node too;
//   - expunged or elsewhere: the journal since the promotion says that it was
//     removed (the tombstones) or moved;
//   - perhaps there under another name: the same mailbox has messages of the same
//     content; or another mailbox has the same base and content;
//   - in doubt: the journal was trimmed, or it is not known where the reign began,
//     so that not all tombstones are known, and the message may be an old one;
//   - wanted.
//
// For what is perhaps there, the fenced node decides, for it knows what it has
// itself. A message of the same content that the fenced node does not have
// came to the new primary on another way (a copy by hand, a client that tried
// again): it stands for one message, once. A message that both have stands for
// itself, so that two deliveries of the same content stay two, and the copy
// that a user made in another folder stays a copy.
//
// # What is done
//
//   - New messages are delivered: into cur with their flags, or into new, with
//     their INTERNALDATE (mtime) and the owner and mode of the mailbox's other
//     messages. The server there gives them fresh UIDs. Keywords are translated
//     by name; one that the mailbox does not have is dropped and told, for
//     dovecot-keywords belongs to the server. Where the folder is gone, a
//     message goes to the nearest mailbox above it, which is the INBOX.
//   - Flags are set where the message has had the same ever since the new
//     primary began, and that one came next after this node. Otherwise they were,
//     or may have been, changed on both sides, and stay.
//   - Moves are told and not made: the message stays in the mailbox in which it
//     is there. It is not doubled, and its flags are set.
//   - Removals are told and not made: a message too many is better than one too
//     few.
//   - What was expunged there, is in doubt, has another content there, or cannot be
//     delivered, and files that are no messages and were changed here, are kept in
//     the history: hard
//     links beneath ..mailtwin/history/<epoch of the lost reign>/ at the store's
//     root, under their path in the store. That is never replicated, no mail
//     server looks into it, and a mirror leaves it alone.
//
// Nothing of the store here is removed or changed. What the comparison of the
// mirror removes later is on the new primary, or in the history, by then: before
// it, stock is taken of the store, and a message that is found there, is in no
// catalog, and was not seen by the salvage ends the rejoin, which is done again.
//
// # Breaking off
//
// Any of it may break off at any point, by kill -9 and power cuts of either
// side, and is done again from the beginning. The new primary makes the
// contents of a delivery durable in a staging directory outside of all
// mailboxes, then records, durably, what belongs where in its ledger, and only
// then renames them into the mailboxes, and makes the directories durable
// before it answers. A staged file that the ledger knows was not renamed yet:
// the next salvage does it. One that the ledger does not know is removed. So
// nothing is delivered twice, and what its owner removes in the meantime does
// not come back, whether the observer has seen it or not. The ledger of a
// reign is removed in the next one, and no mirror has it: where it is done again with
// another primary, the fenced node has to remember that it had begun (Config.Begin).
//
// # Format of a ledger
//
// Integers of a fixed size are big-endian; "text" is a uvarint that says how
// many bytes follow, and these. Checksums are CRC-32C.
//
//	offset  size
//	     0     8  "mtsalvag"
//	     8     4  version of the format, 1
//	    12     4  checksum of bytes 0 to 11
//	    16        blocks: length of the payload 4, its checksum 4, the payload
//
// A payload is one or more deliveries:
//
//	kind     1 byte: 0 delivered, 1 undone: the mailbox vanished at that moment
//	number   uvarint; the staged file is called so, in hexadecimal
//	mailbox  text  } as the fenced node offered it
//	base     text  }
//	target   text: the path of the message
//
// Blocks are written and made durable one at a time, so that only the last can
// be torn: it is cut off, for nothing of it was renamed. A block with a wrong
// checksum and others behind it is ErrCorrupt, a later version ErrNewer.
//
// # Limits
//
//   - A message that was in cur is delivered to cur. If Dovecot delivers one to the
//     same mailbox just then, it takes cur for seen, and shows the first one only after
//     the next change there, such as a client's who opens a mailbox with new mail in it.
//   - The mail server must not run on the fenced node's store: a message that
//     comes meanwhile ends the rejoin, and of control files the last state is lost.
//   - Of files with one content, the catalog names 8: among more, a message that
//     is there under another name may be delivered again.
//   - A message that was moved by a copy under another name is delivered beside
//     the one that it was.
//   - Memory holds 32 Ki renamed or removed directories and 64 Ki changes that
//     the new primary journals while a salvage goes on; more end it, with nothing
//     lost.
package salvage
