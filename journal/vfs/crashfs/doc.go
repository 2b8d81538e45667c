// Package crashfs is a file system in memory for tests of durability. It
// remembers what was synced: the content of a file up to its last Sync, the
// names in a directory up to its last SyncDir. FS.Crash makes the file system
// that a machine finds after a power cut: all that was synced, and of the rest
// nothing, everything, or any part. FS.Before makes operations fail.
//
// A Sync that fails loses what it should have made durable, although it stays
// readable and the next Sync succeeds: so the Linux page cache does.
//
// All directories exist. An FS and its files may be used concurrently.
package crashfs
