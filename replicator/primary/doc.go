// Package primary serves the journal, and the contents that it speaks of, to
// the mirrors.
//
// Each mirror has one stream and one sender. What the sender sends takes
// effect on the mirror in the order in which it was sent, and at every moment
// of the stream the mirror is what the primary's catalog was at the journal
// entry that was sent last. Answers to comparisons and fetches keep to that:
// they are looked up in a snapshot of the catalog, the entries up to the
// snapshot's position are sent, and only then the answer. So an answer can
// neither bring back what an entry has removed, nor be older than the entries
// that follow it.
//
// Entries overtake answers: between two answers, and between two pieces of a
// large one, all entries that wait are sent first. New mail that the observer
// has found does not wait for the initial sync.
//
// In which order a mirror gets a store is the mirror's business, for it asks;
// but only the primary knows what is of value. So it answers surveys: which
// mailboxes there are, page by page from its catalog, how active each is and
// whether the operator wants it first. And a listing says of each file in which
// turn it should be asked for, which is that of the inodes unless the settings
// say otherwise.
//
// A new mirror need not wait until the store was looked at as a whole. Mailboxes are
// told of as soon as they are known, and listed: of what such a listing lacks nothing
// is said. Their contents are read one at a time until then, so that what finds the
// rest is not held up by it, unless the array is about to be lost. The whole is
// compared only when it is known.
//
// A mirror that takes a content for equal asks for a proof of it, which is read
// with leave, and only when Config.Proving says so; else the answer is: later.
//
// A few small contents of live mail go ahead of their entries, to mirrors that
// lack nothing else, while the journal makes those durable (see Server.Ahead).
// Entries themselves are sent only when they are durable.
//
// Contents are read when they are sent. What cannot be read then has an
// outcome of its own (gone, changed, unreadable), and never stops the stream. Where
// the observer could not look at all names of a directory its listing is partial,
// so that the mirror does not take for removed what nobody could see.
package primary
