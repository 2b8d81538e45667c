// Package health tells how the array under a store is: md, btrfs and ZFS by
// what the kernel shows of them, the disks by SMART where smartctl is there,
// and whatever else by a command of the operator's.
//
// Counters of errors are compared with those of the first look, so that an
// error of last year does not hold anything up today; it is told all the same
// by the tools of the array.
package health
