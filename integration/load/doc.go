// Package load does to a mailstore what a mail server does all day: delivers
// messages, reads, flags, moves, copies and expunges them, makes, renames and
// deletes folders, and keeps the control files in step. It remembers what it
// did, so that a store can be checked against it: nothing lost, nothing
// doubled, nothing back from the dead.
package load
