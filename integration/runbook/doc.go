// Package runbook keeps what a document shows of a console true: each block of it is
// held against what the commands printed in a story that was told just now, and can
// be replaced by that.
//
// # The document
//
// A block of a console is fenced by ``` and says in the line before where it comes from:
//
//	<!-- story: failover-power; by chance: All changes | Of the changes -->
//
// In the block a line "mx2# mailtwin status" is a command that was typed on a host,
// and what follows, up to the next one, is what was seen. The commands of one story
// are in the document in the order in which they were typed; not all of them have to
// be there.
//
// # What is compared
//
// The shape of each line: times, sizes, numbers, names of messages and of the pair
// may be others, and lines of one shape after another count as one. A line [...]
// stands for any lines, and [...] in a line for any text. A line that has one of the
// words "by chance" may not have been seen, and more lines may have been: chance
// brings them, and an update puts them into the document.
package runbook
