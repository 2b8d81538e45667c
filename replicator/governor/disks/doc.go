// Package disks finds the block devices that a store lies on, and reads what
// the kernel counts of them.
//
// A store is on one device or several (btrfs), and each of them may be put
// together of others: LVM, LUKS and md (the slaves in sysfs), a partition of a
// disk, a file on another disk (loop). What is asked for is counted where
// neighbouring blocks become one request, as the disks do it: above that, LVM, LUKS
// and md count the blocks. How long it takes is read of the devices at the bottom,
// the members, which are the same but for a file that stands for a disk.
//
// All is read from procfs and sysfs, whose roots are given, so that a test can
// make its own.
package disks
