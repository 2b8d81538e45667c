// Package pairing is how the nodes of a pair ask and tell one another about who
// is primary: the service that each node answers with in every role, and the
// client of it. The contract is that of the PairService in proto/mailtwin/v1;
// here its messages are converted to the words of the engine, and checked.
//
// Calls come over mutual TLS, and what a caller claims is for itself: a claim
// whose name is not that of the caller's certificate is refused. Who may be
// primary is decided by the node that is asked (see identity.Claim), not here.
package pairing
