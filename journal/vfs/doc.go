// Package vfs is the seam between the journal and the file system: the few
// operations that durability rests on, so that tests can make each of them
// fail, and can forget at a crash what was never synced (see crashfs).
package vfs
