// Package governor decides how much the engine may ask of the source array
// now, and says why.
//
// Whatever is not live mail (the initial sync, comparisons, scans, the
// installation of watches, verification) asks for leave before it touches the
// store, and tells when it is done. Live mail never waits; it is only counted.
//
// # Operations
//
// Leave is counted in operations: what a device is asked for at once, a block
// of names or inodes, or at most UnitSize bytes of a content. Leave is given
// for one of them, and when it is given back, what the process has had read
// beyond that is charged: the inodes and directories on the way to a content,
// and the inodes that a file system reads ahead of one, which nobody can
// foretell. Neighbouring blocks are one operation if the devices make one request
// of them, as disks do: so of many blocks no more are charged than the devices
// have counted. So what follows waits until that has been made up for, and what
// was in memory costs nothing. While nobody but one who looks at names has leave, what
// his thread has had read is charged: a daemon that starts reads its program and its
// catalog beside that, which need not lie on the array, and others' operations if they do.
//
// # The law
//
// Two things are limited: the operations a second, and how many leaves are out
// at the same time: one for each disk, until they have answered more than disks
// with heads can. Each look at the devices, some five times a second, ends in
// one of these phases:
//
//   - searching: nothing is known of the array. It begins slowly, with one read
//     at a time, and the rate doubles with each eight operations that were
//     answered as quickly as ever, which takes a fast disk to its full speed
//     within half a second. What is read ahead is made up for only as far as that
//     is a step of the search. The first sign of strain ends it.
//   - measuring: the array is at its limit. While it is, what it completes is
//     what it can do: its capacity, of which the operations between the ends
//     of two reads that had to wait are an exact measure. That takes one to two
//     tenths of a second, once, in which twice of what it has just completed is
//     asked for, so that others are served in half of the time. It is as short as
//     that because others wait meanwhile; what it got wrong is corrected later.
//   - cruising: the operations of all, ours and those of others, are held at
//     a share of the capacity (headroom). Others' reads show in the devices'
//     counters as soon as they are made, so they are given way to before
//     anyone has to wait, and when they end, what they leave is taken. A sign
//     of strain all the same stops us for some tenths of a second, but for the
//     floor, and lowers the rate.
//   - probing: now and then, when all was quiet, for a second and a half a
//     little more than the capacity is asked for, to learn of a larger one.
//     It takes that long because many an array answers at once what it has saved
//     up for in a quiet moment. The first read that has to wait ends it. The
//     pauses between probes that find nothing triple, up to two minutes, because
//     whoever reads in that moment waits too.
//
// A disk that has answered more than one with heads can, for longer than by what it
// may have saved up for, is fast beyond doubt. What is measured of it while others
// make it busy for a moment, as whoever writes much does, is far from what it can
// do. So its limits are not probed, but searched for again as soon as it has been
// quiet for a moment, and later in pauses that double as well. That ends when the
// limit that is found is one of a slow array and others have no part in it: a cache
// had answered. Then it is probed like any other, and each time it takes twice as
// long, up to two minutes, until it counts as fast again.
//
// Signs of strain are: our own reads take longer than an idle array takes (the
// baseline), or one of them is not answered at all; a member of the array
// answers reads later than it does when idle; the mail server waits for the
// disk longer than usual (its cgroup's io.pressure), or, as a hint that makes
// the others count sooner, all processes but this one do.
//
// A read that was answered at once comes back late where processors are
// scarce. How late is known: by as much as our own timers. Only what a read
// takes beyond that counts, so that a busy processor is not taken for a
// strained array. Nor is one late read among many: they count when a good part
// of the time was spent on such reads.
//
// The baselines are low quantiles of what was measured while the array was
// otherwise quiet, over the last hundred or so batches. So they are found
// again after the array has changed for good, and not moved by a busy hour.
//
// Where the devices cannot be told (a network file system), the phases are the
// same, with our own operations in the place of all.
//
// # What bounds it
//
// The operator's caps (bytes and reads a second, reads at one time) are never
// exceeded over a second. Beneath the floor of the profile nothing goes, so
// that the work ends at some time: only a pause stops it. Names are looked at
// even then, at the floor, because after a restart new mail is seen only where
// somebody has looked. A degraded array lowers the rate to the floor or pauses, a
// failing one pauses or lets the rest be fetched as fast as can be, as the
// operator has set.
package governor
