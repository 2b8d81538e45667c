// Package kindread reads files without pushing out of memory what others keep
// there.
//
// A mail server is fast because the kernel has in memory what its users read
// lately. Whoever reads a whole store fills that memory with what nobody will
// read again, and whoever tells the kernel afterwards to forget what was read
// (POSIX_FADV_DONTNEED) makes it forget the mail server's pages too. So a
// Reader leaves behind what was there before, and nothing else:
//
//   - by RWF_DONTCACHE where the file system knows it (Linux 6.14: ext4, XFS,
//     btrfs): the kernel drops what the read itself has brought in;
//   - else by looking first which pages are there (cachestat, mincore), and
//     advising the kernel about the others only. Who reads such a page in the
//     same moment loses it; that costs one read.
//
// Reads go no further than they are asked to: read-ahead is off, so that who
// paces reads knows what they cost. Where neither way is to be had, files are
// read as ever.
package kindread
