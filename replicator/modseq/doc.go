// Package modseq raises the HIGHESTMODSEQ of every mailbox after a promotion,
// so that IMAP clients which resume with CONDSTORE or QRESYNC see exactly what
// changed, and the next UID, so that none is given out twice.
//
// # Why
//
// A server numbers the changes of a mailbox, and a client says at its next
// login which number it has seen. Dovecot keeps the numbers in its index, and
// a mirror's copy of that is older than its mail. Without more ado the new
// primary would give numbers to changes that clients of the old one believe to
// have seen. With the number raised above all that the old primary can have
// given out, what Dovecot then finds to be different from its older index is
// numbered above it, and reported to everybody.
//
// # How
//
// For each folder of each user, `doveadm mailbox update -u USER
// --min-highest-modseq N FOLDER` is run, where N is the time of the promotion
// in seconds since 1970, shifted left by 20 bits, or the epoch shifted by 40,
// whatever is more, and always above the N of an earlier promotion, of whatever node,
// as far as it was heard of: nodes tell each other the highest when one asks how another
// is, which they do every few seconds, and remember it. So a clock that was ahead does
// no harm. It never lowers a number, so it may be repeated.
//
// The users are those that `doveadm user '*'` lists. Where Dovecot cannot list
// them, imap.users in the settings says whose mail lies where in the store.
// They are done in the order in which mail last came to them, which the
// catalog knows, several at once. Somebody who logs in meanwhile need not wait
// for the others: Ready puts him first, and some more are done at once of those who
// wait. That is for Dovecot's post-login
// script; see the example in replicator/hook/examples.
//
// Each folder is one run of doveadm, for it takes one folder at a time and
// `doveadm batch` does not know these options (2.3.19).
//
// # The first look
//
// When all folders of a user are raised, `doveadm search -u USER mailbox '*' uid
// 1` has Dovecot look at their messages and bring the older indexes up to date.
// It does so by itself when a client opens a folder whose directories are not as
// its index says. But a message that is saved before that notes in the index how
// the directory is now, without having looked at it (maildir-sync-index.c,
// maildir_sync_index_update_ext_header). Dovecot then takes the index for up to
// date, and shows the first client what was expunged before the promotion, each
// with an empty header, and old flags, until somebody reads one of these
// messages.
//
// doveadm asks a running Dovecot for its users. So nothing can be raised
// before the mail server is started, and until it answers it is asked again.
//
// What fails is tried again, later and later, at most ten minutes apart, for
// as long as the node is primary. A user or a folder that no longer exists is
// no failure.
//
// # UIDs
//
// A promotion that may have lost mail may have lost a uidlist's last lines too.
// Clients were shown messages by UIDs that the new primary does not know of; if
// it gave them to other messages, clients would show these as those, for they
// never fetch twice what they know by its UID. So in each folder 100,000 UIDs
// are left out, before HIGHESTMODSEQ is raised in it and Dovecot opens it for
// that. A promotion that was proven to lose nothing leaves out none.
//
// It is the number N in the first line of the folder's dovecot-uidlist that is
// raised, as Dovecot would write it: under dovecot-uidlist.lock, through
// dovecot-uidlist.tmp, and durably. `doveadm mailbox update --min-next-uid` will
// not do. It raises the number in the index too, and where the index is older
// than the uidlist, as on a new primary, all messages that it does not have are
// then taken for new ones and get other UIDs (2.3.19). And to bring the index up
// to date first would give the lost UIDs to messages that are in no uidlist yet.
//
// A folder whose uidlist is not in the store, or is missing, is left as it is.
//
// A mailbox that was made shortly before may be lost as a whole, with the UIDVALIDITY
// that it had: Dovecot numbers the mailboxes of a user one after the other, and would
// give the same one to the next that is made. So the number that is kept in
// dovecot-uidvalidity, which is in the name of a file beside it, is raised too: to the
// time of the promotion, and by 1,000 at least. Mailboxes that are there keep theirs.
//
// # Mailboxes without an index
//
// The index of a mailbox that is young, or too large, was never replicated.
// Dovecot makes one when the mailbox is first opened, and its log then begins
// with modification sequence 0: as if it had all changes that there ever were.
// A client that resumes is told of new mail and flags, for these are found when
// the mailbox is opened, but not of what was expunged while it was away. So in
// a folder without an index an empty dovecot.index.log is made first, whose
// history begins with N. Dovecot (2.3.19) takes it for its own; whoever resumes
// from before is told of every UID that is not there.
//
// # What an index never knew
//
// A message may have come, been shown to clients and been expunged after the
// mirror's copy of the index was made. Dovecot tells a client that resumes what
// its log says was expunged, and there this message is in no log: it came never,
// and went never. So, when a folder is raised, a record is appended to its
// dovecot.index.log which says that all UIDs were expunged that the uidlist has
// given out and that have no message, from the one on that dovecot.index would give
// out next. A line of the uidlist is no proof of one: Dovecot leaves it for a while. To
// the index itself that is nothing: it does not have them. The UIDs that are left out
// are among them, and with them what clients were shown and the promotion has lost. It
// is written as Dovecot would: under its lock of the log
// (fcntl, the default of lock_method), behind the last whole transaction, the
// size of the record last, and durably.
//
// # The record
//
// Which users are done is kept in the file modseq of the state directory, so
// that a restart goes on and a complete one does nothing. It is text:
//
//	mailtwin-modseq 2
//	<sum> begin <epoch> <N> <UIDs left out>
//	<sum> done <user>
//	<sum> complete
//
// where sum is the CRC-32C of what follows it and the space, in 8 hexadecimal
// digits. The line begin is durable before the first mailbox is touched and
// complete when it is written; done is not, for doing a user again is
// harmless. For the same reason a last line without its end, which a crash has
// torn, is dropped. Any other line that is not as it should be is ErrCorrupt,
// and all users are done again; a higher version in the first line is
// ErrNewer, and nothing is done. Version 1 did not leave out UIDs and has no
// number of them; it is read, and begun anew if there are to be any.
//
// # Limits
//
// A delivery that opens a mailbox before its turn numbers what it finds to be
// different too low, and a client that resumes does not hear of it; its message
// may get a UID that was given out before, and the first look may be wrong. To
// rule that out, mail is taken when
// `mailtwin ready` without a user returns: see the example lmtp for Dovecot's
// LMTP, and mailserver for Postfix. A user who is in neither
// Dovecot's list nor the catalog when the work is complete is not raised.
//
// A primary that dies within seconds of its promotion, before another node has asked it,
// takes its N with it. If its clock was ahead too, the next N may be lower.
//
// There can be MaxUsers users with MaxFolders folders each. Of a folder with more
// than 100,000 ranges of UIDs that its index never knew, clients are told the
// first.
package modseq
