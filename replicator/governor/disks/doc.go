// Package disks finds the block devices that a store lies on, and reads what
// the kernel counts of them.
//
// A store is on one device or several (btrfs), and each of them may be put
// together of others: LVM, LUKS and md (the slaves in sysfs), a partition of a
// disk, a file on another disk (loop). Counters are read of the devices at the
// top, which say what is asked for, and of those at the bottom, the members,
// which say how long that takes.
//
// All is read from procfs and sysfs, whose roots are given, so that a test can
// make its own.
package disks
