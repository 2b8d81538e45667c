// Package completeness tells how far a mirror has each mailbox of its primary.
//
// Both nodes know from their catalogs how many messages a mailbox has, how many
// bytes, and its digests. Each lists its mailboxes in the same order, so that
// whoever is asked merges its own list with the other node's, a page of each at
// a time. What is named in the result is bounded, whatever the stores hold; the
// sums are of everything.
//
// It is what the catalogs say, one page after the other while mail goes on: of
// a mailbox in which something is being changed the two may speak of different
// moments. While the primary looks at its store for the first time, only mailboxes
// that it knows as a whole are compared, and the result says so.
package completeness
