// Package replicator puts a node together for its role: on the primary the
// observer, the journal and the server of mirrors; on the mirror the client
// that follows the primary; on both the catalog, the operator's socket, and
// the status that tells the truth about all of it.
//
// # Roles
//
// A role can change while the daemon runs. The node plays the part of its role
// until that ends or another role is decided on; then nothing of the old part
// goes on, and the next one is put together with the same catalog. The state
// file is written first: after a crash the node plays what was decided.
//
// Every node listens, and answers the others, in every role; mirrors find the
// door open only where the node is primary. A node that joins is told of all
// others, and they of it, before it has its certificate. Each asks the others every
// few seconds who is primary, and a primary asks before it serves or journals
// anything; until one has answered it is not taken for primary in the status. Who
// learns of a primary that beats it is fenced: its journal is sealed at once, the
// state is written, and a person has to see to it (or, after a switchover that both
// took part in, it follows the new one by itself).
//
// # The pace that was set by hand
//
// What operators change of the pace holds over restarts. It is in the file pace of
// the state directory, which is sealed (see package sealedfile); its content, in
// version 2, with a single - for what is as in the settings, and of what is not the
// time at which it was set, in seconds since 1970, 0 if that is not known:
//
//	profile <name> <time>
//	bytes <a second> <time>
//	reads <a second> <time>
//	hours <from-to, or always> <time>
//	paused true <time>
//
// Version 1 had no times; it is read, and written as version 2 with the next change.
// Where the file cannot be read, no content but of live mail is read until a person
// has set the pace again.
package replicator
