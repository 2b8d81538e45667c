// Package beneath works on the files of a store without ever leaving it.
//
// Mail users choose the names in a store, and can plant symbolic links, pipes
// and sockets in it while a privileged daemon works there. So nothing here
// takes a path that is resolved by the usual rules: a Root is opened once, a
// directory beneath it by one openat2 with RESOLVE_BENEATH,
// RESOLVE_NO_SYMLINKS and RESOLVE_NO_MAGICLINKS, however deep it lies, and
// everything else is done in a Dir, the handle of a directory, with a single
// name that is never followed. A handle goes on meaning its directory when
// that one is renamed.
//
// What the package rests on:
//
//   - Linux 5.8 or newer: openat2, utimensat with AT_EMPTY_PATH, and a syncfs
//     that reports failed writes.
//   - A symbolic link in a path is refused with ErrEscapes wherever it points
//     to. The path given to Open is the operator's own and may have links.
//   - Mounts within the store are entered, but RemoveTree stops at them.
//   - A hard link cannot be told from another name of a file of the store's
//     own. That users do not link in files which are not theirs is left to the
//     kernel (fs.protected_hardlinks, on by default).
//   - Root.Lock is flock(2) on the directory and on those above it, which whoever
//     may read them can have too: a lock counts if /proc/locks names a process of
//     root or of the same user. So two daemons do not see each other that are of
//     different users (but root), in containers of their own, or whose stores lie
//     in one another only by way of a bind mount.
//   - An open Root or Dir keeps its file system busy: umount needs --lazy.
//
// Errors keep their syscall.Errno, so that errors.Is finds fs.ErrNotExist,
// syscall.EIO, syscall.ENOSPC and the like. A call that was interrupted by a
// signal is made again. Nothing is durable until Sync, SyncFS or the file's
// own Sync has returned nil; after one that failed, what was written must be
// taken as lost.
//
// Root and Dir may be used concurrently, except that a Dir must not be used
// during or after its Close.
package beneath
