// Package replicator puts a node together for its role: on the primary the
// observer, the journal and the server of mirrors; on the mirror the client
// that follows the primary; on both the catalog, the operator's socket, and
// the status that tells the truth about all of it.
package replicator
