// Package governor decides how much the engine may ask of the source array
// now, and says why.
//
// Whatever is not live mail (the initial sync, comparisons, scans, the
// installation of watches, verification) asks for leave before it touches the
// store, and tells when it is done. Live mail never waits; it is only counted.
//
// # Units
//
// Leave is counted in units: what a device is asked for at once, at most
// UnitSize bytes of one file, or the inodes of a few names. How many
// operations of the devices one unit costs (inodes, extents, directories) is
// not assumed: it is measured.
//
// # The law
//
// Two things are limited: the units a second, and how many leaves are out at
// the same time. Each look at the devices, some five times a second, ends in
// one of these phases:
//
//   - searching: nothing is known of the array. The rate doubles with each
//     sixteen units that were answered as quickly as ever, which takes a fast
//     disk to its full speed within a tenth of a second. The first sign of
//     strain ends it.
//   - measuring: the array is at its limit. While it is, what it completes is
//     what it can do: its capacity, of which the operations between the ends
//     of two reads that had to wait are an exact measure. That takes some
//     tenths of a second, once.
//   - cruising: the operations of all, ours and those of others, are held at
//     a share of the capacity (headroom). Others' reads show in the devices'
//     counters as soon as they are made, so they are given way to before
//     anyone has to wait, and when they end, what they leave is taken. A sign
//     of strain all the same stops us for some tenths of a second, but for the
//     floor, and lowers the rate.
//   - probing: now and then, when all was quiet, for a quarter of a second a
//     little more than the capacity is asked for, to learn of a larger one.
//     The first read that has to wait ends it. The pauses between probes that
//     find nothing double, up to two minutes, because whoever reads in that
//     moment waits too.
//
// Signs of strain are: our own reads take longer than an idle array takes (the
// baseline), or one of them is not answered at all; a member of the array
// answers reads later than it does when idle; the mail server waits for the
// disk longer than usual (its cgroup's io.pressure), or, as a hint that makes
// the others count sooner, all processes but this one do.
//
// The baselines are low quantiles of what was measured while the array was
// otherwise quiet, over the last hundred or so batches. So they are found
// again after the array has changed for good, and not moved by a busy hour.
//
// Where the devices cannot be told (a network file system), the phases are the
// same, with our own units in the place of the operations.
//
// # What bounds it
//
// The operator's caps (bytes and reads a second, reads at one time) are never
// exceeded. Beneath the floor of the profile nothing goes, so that the work
// ends at some time: only a pause stops it. A degraded array lowers the rate
// to the floor or pauses, a failing one pauses or lets the rest be fetched as
// fast as can be, as the operator has set.
package governor
