// Package modseq raises the HIGHESTMODSEQ of every mailbox after a promotion,
// so that IMAP clients which resume with CONDSTORE or QRESYNC see exactly what
// changed.
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
// whatever is more, and always above the N of an earlier promotion of the same
// node. It never lowers a number, so it may be repeated.
//
// The users are those that `doveadm user '*'` lists. Where Dovecot cannot list
// them, imap.users in the settings says whose mail lies where in the store.
// They are done in the order in which mail last came to them, which the
// catalog knows, several at once. Somebody who logs in meanwhile need not wait
// for the others: Ready puts him first. That is for Dovecot's post-login
// script; see the example in replicator/hook/examples.
//
// Each folder is one run of doveadm, for it takes one folder at a time and
// `doveadm batch` does not know these options (2.3.19).
//
// doveadm asks a running Dovecot for its users. So nothing can be raised
// before the mail server is started, and until it answers it is asked again.
//
// What fails is tried again, later and later, at most ten minutes apart, for
// as long as the node is primary. A user or a folder that no longer exists is
// no failure.
//
// # The record
//
// Which users are done is kept in the file modseq of the state directory, so
// that a restart goes on and a complete one does nothing. It is text:
//
//	mailtwin-modseq 1
//	<sum> begin <epoch> <N>
//	<sum> done <user>
//	<sum> complete
//
// where sum is the CRC-32C of what follows it and the space, in 8 hexadecimal
// digits. The line begin is durable before the first mailbox is touched and
// complete when it is written; done is not, for doing a user again is
// harmless. For the same reason a last line without its end, which a crash has
// torn, is dropped. Any other line that is not as it should be is ErrCorrupt,
// and all users are done again; a higher version in the first line is
// ErrNewer, and nothing is done.
//
// # Limits
//
// A delivery that opens a mailbox before its turn numbers what it finds to be
// different too low, and a client that resumes does not hear of it. Who wants to
// rule that out starts the delivery of mail when `mailtwin ready` without a
// user returns, as the example hook mailserver can. A user who is in neither
// Dovecot's list nor the catalog when the work is complete is not raised.
//
// There can be MaxUsers users with MaxFolders folders each.
package modseq
