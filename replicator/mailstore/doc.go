// Package mailstore says what the files of a mailstore mean: which are
// messages, which give messages their meaning, which are nobody's business,
// and in what order they may be replicated. It looks at names and bytes only
// and touches no file.
//
// Maildir is the one format so far, as Dovecot, Courier and others keep it. It
// needs no word about the layout of folders (Maildir++, fs or index): a mailbox
// is wherever the directories cur, new and tmp are.
//
// The facts of Dovecot that it rests on, each with a test:
//
//   - A message's name is <base>[:2,<flags>]. The first colon ends the base,
//     which stays the same in all that happens to the message.
//   - What is directly in cur or new is a message, except dot files, which
//     Dovecot passes over. A message is named in dovecot-uidlist by its base.
//   - What is in tmp is being written. Dovecot's own temporary files and those
//     of its sieve scripts are there too.
//   - dovecot-uidlist is appended to in place, so its last line may be torn; it
//     is rewritten through dovecot-uidlist.tmp. An empty or headless one makes
//     a server give the mailbox a new UIDVALIDITY.
//   - dovecot-keywords, subscriptions and all other control files are replaced
//     by a rename. An unterminated last line is nothing to the reader of
//     dovecot-keywords, and a line like others to that of subscriptions.
//   - Temporary files elsewhere end in ".<pid>.<16 hexadecimal digits>", begin
//     with ".temp.", or end in ".tmp", ".lock", ".newlock" or ".lock<16
//     hexadecimal digits>"; a link to the active sieve script that is about to
//     be renamed has "-new.<seconds>.P" in its name.
//   - A deleted folder is first renamed to ..DOVECOT-TRASHED (Maildir++) or
//     ..DOVECOT-TrasH (fs, index).
//   - dovecot.index.cache and what else begins with dovecot.index, *.svbin,
//     dovecot-acl-list, maildirsize and full-text indexes can be made again from
//     the rest. They are not replicated.
//   - Attachments in files of their own (mail_attachment_dir) are made for dbox
//     alone, which is refused: no message here names one.
//   - dovecot.index, dovecot.index.log and dovecot.index.log.2 are the index of
//     a mailbox: with keywords beyond the 26th, modification sequences and the
//     history of expunges. An index that is older than the mail beside it is
//     brought up to date when the mailbox is opened; one that is newer makes
//     Dovecot take mail for expunged. They are watch.ClassDerived.
//
// # The index
//
// What is read of it is the least that tells whether its files belong together,
// from the formats of Dovecot 2.x (src/lib-index/mail-index.h,
// mail-transaction-log.h; what a reader passes over: mail-transaction-log-file.c,
// mail_transaction_log_file_sync). Integers have the byte order of the machine,
// which bit 0 of the flags tells: set for little endian.
//
//	dovecot.index: 0 version 7; 4 size of the header, 8 of a record; 12 flags;
//	16 id; 32 number of records; 60 sequence of the log up to which it has
//	everything, 68 the place in that log
//
//	dovecot.index.log[.2]: 0 version 1; 2 size of the header (16 bits); 4 id, 0
//	if it is marked as corrupted; 8 sequence; 12 sequence and 16 size of the log
//	before it; 20 when it was made; 24 the modification sequence that its history
//	begins above (64 bits); 32 flags. Then records of 8 bytes, size and type, and their data
//
// A log is appended to; a new one is renamed into place, after the former has
// become .log.2; the index is replaced by a rename. The size of a record is
// written big endian, 7 bits a byte, each with its highest bit set, so that one
// that is not whole is known; it counts units of 4 bytes, its header included.
// The data of a record of type 0x80000 (boundary) is the size of the whole
// transaction that it begins. A log whose last word is of type 0x20000 (deleted)
// is of a mailbox that is being deleted.
//
// The index is replaced and its log appended to while the uidlist is locked by
// dovecot-uidlist.lock, and before the new UIDs are in the uidlist
// (maildir-sync.c, maildir_sync_context). So the index is not taken while that
// is there.
//
// Limits:
//
//   - Dovecot refuses to make a folder called cur, new or tmp, but a *user* may
//     be called so where the store holds one directory for each user. That
//     user's folders and messages and the control files of Dovecot are
//     recognized all the same. Other files directly in the home are taken for
//     messages, or in the case of tmp ignored.
//   - In the fs layout, folders that are called fts-flatcurve, xapian-indexes or
//     lucene-indexes are taken for full-text indexes.
//   - A dovecot-uidlist in the formats 1 and 2 (before Dovecot 1.1) is
//     replicated, but Named finds no messages in it.
//   - The index is replicated where it lies beside the messages, not where the
//     store has indexes in directories of their own (INDEX=), and not if one of
//     its files is larger than journal.MaxHeld (some 170,000 messages).
//   - Private flags of shared mailboxes (dovecot.index.pvt) are not replicated.
package mailstore
