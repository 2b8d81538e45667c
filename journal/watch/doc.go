// Package watch is the observer of the primary: it turns what happens in a
// mailstore into entries of the journal.
//
// Events of the kernel are hints. A hint says only where to look: it makes a
// name dirty. What is true is the difference between the directory and the
// catalog, and that difference is what is journaled. So hints may be lost,
// doubled or late: a full queue, a restart, a lost watch or a store that came
// back lead to a scan, which compares directories instead of names, and finds
// the same differences.
//
// # One observer
//
// One goroutine does all observing, in cycles: take the dirty names, look at
// them, append the entries to the journal (durable), apply the same entries
// to the catalog. A cycle is one update of the catalog with the append in its
// middle: the catalog never knows more than the journal, and the records that
// it missed in a crash are applied to it at the next start. There is no timer
// before a cycle; hints that arrive during one are the next one's batch.
// Scans and settling give way to dirty names between two pieces of a
// directory, so that new mail never waits for them where a directory is watched:
// from when the first scan after the start has come to it. What a scan finds in
// several directories of messages is observed in one cycle, and only then are
// they recorded as observed.
//
// # What is journaled when
//
//   - A new file: put, with its content hashed, once nobody has it open for
//     writing; or a move or a link if the file is known under another name,
//     which carries no content. The identity of a file is its journal.Stamp,
//     with size and mtime; while its birth is so recent that another file
//     could have the same, its content decides.
//   - A control file is captured: the entry carries its bytes, cut where its
//     writer had finished. A uidlist is journaled only after each message
//     that it names is journaled or known to be gone.
//   - A name that is gone: see below.
//   - A directory: made, then watched, then listed. A renamed one is one
//     entry, and its watches follow it. A link is never followed to a watch.
//
// Within one cycle: directories, then messages, keywords, uidlists, other
// control files, and removals at last.
//
// A message that is the same file as before and has another content is held back:
// mail servers put another file in its place. So what corrupts a store, or
// encrypts it, does not change the copies elsewhere. It is told among what cannot be
// read; its flags and its removal are journaled. It may be appended to in the minute
// in which it was made, if what it was is what it begins with. In the catalog it is marked: the ctime of its stamp is the
// time at which it was held back first, negated, and its directory counts as not
// observed. So a restart finds it again. Whoever accepts the store accepts those that
// were held back before, as the scan that follows finds them, however many there are. One that was changed while nobody looked, in a directory that
// has not changed, is not found; it is not journaled either.
//
// # Removals
//
// A read error is not a removal, and neither is an absence. A name that is
// gone is looked at a second time after Timing.Confirm (found by a scan: at
// the end of the scan, so that a file which moved is met first; while polling, at
// the end of the next one, for it may have moved to where nothing is watched). Then its
// directory must be the one that the catalog knows, and the store must be the
// one it was. For a message, the directories of its mailbox are listed and the
// same base name is looked for; where the directory changed during the listing,
// so that it may have missed a name, thirty of them in ten rounds must agree.
// Only then is the removal journaled.
// These listings never take more than a tenth of the time that passes.
//
// A message that has another name and another content at once, because it was
// compressed, is renamed and then put: it is never gone meanwhile.
//
// A file that the catalog calls missing, because this node was a mirror that it
// never came to, is not gone: it stays known, so that whoever has it keeps it,
// and when it appears it is journaled as any new one.
//
// Nor is what is gone from a directory that has not changed since this node ceased
// to be a mirror: nobody has removed that, but the mirror has lost it. It becomes one
// that never came, if the mirror's catalog said what was in the store (see Inherit).
// That holds until a scan has been everywhere, and for what could not be read then
// until it can. Which names those are is in the catalog, as at most 1024 of them:
//
//	mailtwin-troubled 1 <CRC-32C of the list, 8 hexadecimal digits> <list>
//
// where the list is a JSON array of their bytes in base64. A list alone is of before
// there were versions. One of a later version, or a damaged one, keeps the Watcher from
// beginning.
//
// # The health of the store
//
// Each second, and before removals, the root is identified (file system,
// inode, birth) and compared with what it was at the first start; the mounts
// at and below it are compared with those of the last look; and a root without
// anything in it is no store if the catalog knows of content. If the store is
// not as it was, everything is suspended and looked at again each second;
// then the root is opened anew and scanned.
// One that was seen to be empty is not the store again before something is in it
// that was before: a mail server makes what it misses. Where nothing is, nothing can
// be accepted by Watcher.Accept either.
//
// A directory below the root with another stamp than the catalog's was
// replaced. That is believed if it is on the same file system as before and
// either was born after the catalog last saw the former one change, or has
// something in it. But where something is mounted, or was when the directory was
// seen last, and on another file system, it is believed only if it is the former one
// with another device number, or if at least half of the names that the catalog knows
// there are of the very files that they were of. Names alone prove nothing: a mail
// server makes anew the homes that it misses, and beneath a mount may lie an old
// copy of what is on it. Neither is a directory taken for removed at or below which
// something was mounted, or another file system began: some mount points go with the
// mount, and what they were in too.
//
// All that looks like a mount that came or went, so that nothing below the directory
// is journaled until it is as before, or Watcher.Accept was called. It is not
// written down which these are: the catalog knows the former ones, so that they are
// found to be other ones at each start. What a mail server puts there meanwhile is not
// known to anybody else, and is hidden when the former one is mounted again.
//
// # What cannot be read
//
// A name that cannot be looked at or read is tried again, at first after
// Timing.Unreadable and ever more seldom up to Timing.UnreadableLast. It is as
// the catalog says until then: nothing is journaled of it. Watcher.Unseen tells
// where the catalog may lack names for that.
//
// # Settling
//
// A directory that had hints is listed in full when it has been quiet for
// some seconds, but at least once a minute: what hints did not tell is found,
// and its mtime is recorded as completely observed. A scan does not list a
// directory whose mtime is the recorded one, and its ctime as well, which nobody
// can set; it takes its subdirectories from the catalog and looks at its control
// files, which change in place. An mtime younger than Timing.Racy is never
// recorded, because a change in the same tick of the clock would not show.
//
// So a message whose attributes or bytes are changed in place while no watch
// sees it, and without its name changing, is not found by a restart; that is
// what verification is for.
//
// A scan is ahead of itself: while it compares one directory, others look at the
// next ones that the catalog knows, and at the control files in them, several at a
// time as far as the Pace lets them. What they find is not used; they only wait for
// the disk in its place, a bounded number of directories before it.
//
// # A power cut
//
// Where a machine goes down, file systems may keep the time of a change and
// lose the bytes that were written in place. So the first scan of another boot
// (Config.Boot) reads again each control file that was changed in the minutes
// before the journal's last entry, though its stamp is the catalog's. A message
// is written once and synced by whoever delivers it; one that was not is left to
// verification, for the mirror's copy may be the last that is whole.
//
// # Derived files
//
// The files of ClassDerived in a directory are one snapshot. It is read when
// they have been quiet for Timing.Snapshot, but at least once in
// Timing.SnapshotAtLatest and not more often: all of them, what refers to
// another first, and again if they do not belong together. Then the mailbox is
// listed, and when all that was found to differ is in the journal, the snapshot
// is. So it is never newer than what comes before it, and nothing waits for it.
//
// Files of ClassDerived are in the catalog only as they were journaled, never
// unread: the baseline passes over them, and they are journaled after it. What
// was not journaled when the observer ended is found by the first scan.
// Reading them takes no more than a tenth of the time, so that a baseline
// leaves them to be read in the background. One that is larger than an entry
// may carry is left out, with all of its snapshot, and counted.
//
// # The baseline
//
// The first scan of a store puts what it finds into the catalog directly, with
// unread content, and not into the journal. Live changes meanwhile are
// journaled as ever. An interrupted baseline goes on where it was. Status.Reached
// says how far it is, for whoever can begin with a part of the store; only when it
// is over is what the catalog lacks known not to be there.
//
// A catalog that was a mirror's (see Inherit) has no baseline to be found: all
// that differs from it is journaled.
//
// # Quiescence
//
// Where the mail server was stopped, Watcher.Quiesce tells when everything that
// it left is in the journal: one scan that began afterwards has ended, and no
// name is left to be looked at again but those that cannot be read. Snapshots
// are taken at once then, for nothing changes any more.
//
// Where the store fails, that may never be. Watcher.CatchUp waits for nothing but
// that each noticed name was looked at, and Watcher.Left tells which could not be
// journaled, and since when there may be changes that were not even noticed.
//
// # Polling
//
// Where watches are not to be had (the limit is reached, a network file system
// whose other clients' changes the kernel does not see), scans are repeated
// after a pause. Status says so, and why.
package watch
