// Package site is a whole mail service on hosts of their own: mail hosts with
// Dovecot and a mailtwin node each, a service address that their hooks move,
// and a host where mail comes from and clients sit.
//
// # What is on a mail host
//
// The store is on a disk of its own, the array; the state of mailtwin is on
// another one. Dovecot and the service address are started and ended by the example
// hooks (replicator/hook/examples); only the program that asks the power switch is
// of the tests' own.
// After a promotion clients wait at their login until their mailboxes are ready,
// and mail waits until all are.
// Dovecot syncs whatever it acknowledges, so what is lost after a power cut was
// lost by mailtwin. When a host boots, its node is started, and its mail server
// only if the node says that it is the primary.
//
// # Who uses it
//
// Deliver brings mail by LMTP to the service address as a mail transfer agent
// does: whatever is not acknowledged is tried again until it is, as another
// attempt. Users read, flag, move, copy and expunge their mail and keep copies
// of what they send by IMAP as mail user agents do: with a connection that is
// kept, and another one when that is lost. A POP3 client downloads what it does
// not have yet, and leaves it on the server. All of them have little patience,
// and write everything down in the ledger.
package site
