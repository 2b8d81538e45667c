// Command bench measures mailtwin beside rsync over ssh and beside a floor,
// on the same trees, in one run, and prints a table of ratios in Markdown. It
// needs root, for cold caches, and an sshd.
//
// Everything runs on one machine. Where it is measured what a foreground feels (the
// cases h and i), the primary runs with the niceness of its unit, beside the
// foreground, and the mirror, which stands for another host, only when nobody else
// wants a processor (SCHED_IDLE). Its disk is the one that the slow device is made
// of, all the same. rsync runs as it is started, with both of its ends.
package main
