// Package ledger knows exactly what a mail service has promised to those who
// use it, and finds what it did not keep.
//
// Whoever delivers or changes mail writes down what he asks before he asks it,
// and then what he was answered. Each attempt to deliver a message has a token
// of its own in the message's header, so the copy of an attempt whose answer
// was lost is not taken for a doubled message. A client also writes down what
// it was shown: which UIDs of which UIDVALIDITY stood for which messages.
//
// What was promised is firm, unless it is known to be loose: a failover that
// nobody planned may lose what was not replicated before. Replicated says
// that all up to now was; Unplanned makes loose what was promised since. A
// salvage brings loose messages back.
//
// Check holds what there is against all of that. Firm messages must be there
// once and no more; expunged ones must not be there; nothing may be there
// twice, whatever it is, but for the one copy that a client may make; what a client was shown under a UID must never become
// another message.
package ledger
