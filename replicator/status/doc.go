// Package status tells how a node is: the document that `mailtwin status
// --json` prints, what it looks like for people, and its exit code.
//
// The document has a version. Within one version fields are added, but none is
// renamed, removed or given another meaning. Times are RFC 3339, durations are
// seconds, sizes are bytes.
//
// The first rule is that "unknown" is never "healthy": a peer that is not
// heard of has the state unknown, and so has a node that depends on it.
package status
