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
//   - dovecot.index and what begins with that name, *.svbin, dovecot-acl-list,
//     maildirsize and full-text indexes can be made again from the rest. They
//     are not replicated.
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
//   - Keywords beyond the 26th of a mailbox, modification sequences and private
//     flags live in dovecot.index only.
package mailstore
