// Package mailboxes walks through the mailboxes that a catalog knows, in the
// order of their paths and a page at a time: so that a walk through millions
// of them holds no view of the catalog for long, and nothing in memory but the
// place that it has come to.
//
// A mailbox is a directory with a cur or a new in it that has no directories in
// it: users may have such names too. A mailbox may have others in it, as an
// INBOX has its folders.
package mailboxes
