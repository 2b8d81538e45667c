// Package hosts makes several hosts of one machine: network namespaces on a
// bridge, each with an address of its own, with disks of its own, and with
// programs that run in it and can be ended by a power cut.
//
// # What is real and what is not
//
// The network of a host is the kernel's own: interfaces, routes, neighbours,
// gratuitous ARP, connections that hang when a cable is pulled. The bridge has
// a namespace of its own too, so nothing of it is to be seen on the machine,
// and nothing leaves the machine: all addresses are in 10.77.0.0/24, which is
// routed nowhere.
//
// A Disk is ext4 in a file. A power cut shuts the file system down at once,
// without writing what is in memory, and so loses what a power cut loses: all
// that was not fsynced, down to the renames that were not yet in ext4's own
// journal. It does not tear sectors, and a disk's own cache is never lost: what
// the kernel has once handed to the disk is there afterwards.
//
// Not emulated: memory, processors, clocks (all hosts have the machine's), and
// the files that are not on a Disk, which survive a power cut. The kernel that
// this was written on has no netem: Slow limits the rate of a host's cable and
// lets packets queue, but cannot add a fixed delay or lose one packet of many.
//
// # Clean-up
//
// Everything that a Network makes has the process id of its maker in its name.
// Close removes it; when the maker ends in any other way, a child of it that
// waits for that does the same; and what both left behind, as after a reboot
// in between, the next New sweeps away.
//
// It needs root and iproute2, util-linux and e2fsprogs.
package hosts
