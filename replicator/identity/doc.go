// Package identity is who a node is: the pair it belongs to, its name, its
// keys, and the role it had last.
//
// A pair has an authority of its own (Ed25519, X.509), made by the first node
// and trusted by nobody else. Each node has a certificate of that authority.
// All certificates carry the same DNS name, ServerName, so that addresses do
// not matter, and the URI mailtwin://PAIR/NODE, which says who it is. Nodes
// speak TLS 1.3 to one another, with certificates on both sides; only the
// enrolment of a new node is open to a caller without one.
//
// A node joins with a token: 128 random bits that are good once and for a
// time, and the fingerprint of the authority's certificate, by which the
// joining node knows the right primary before it tells it the secret.
//
// # Who has the authority
//
// Each node of a pair has the authority's key: it comes with the certificate when
// a node joins, over a connection on which the primary is known by the authority's
// fingerprint and the node by its token. So the primary of the day can invite
// others, also when the machine is lost on which the pair was made. It means that
// the nodes of a pair trust one another with everything, as they do with the mail:
// whoever has the state directory of one can make others, and a token is to be
// kept secret until it is used. There is no way to expel a node but a new pair.
//
// # Files
//
// In the node's state directory, which belongs to the daemon's user alone:
//
//	node                  role, epoch, leader, promise, pair and name: see State
//	node.trial            there for a moment only: see TryState
//	peers                 the other nodes and where they are: see Peers
//	identity/             mode 0700
//	    ca.pem            the authority's certificate
//	    ca.key            its key
//	    node.pem          the node's certificate
//	    node.key          its key
//	    invitations       hashes of the tokens given out; with ca.key only
//
// The keys have mode 0600 and are not used if others may read them. The .pem
// and .key files are PEM: CERTIFICATE and PKCS #8 PRIVATE KEY. The directory
// identity appears with all its files at once. The files node, peers and
// invitations are sealed (see package sealedfile). They are replaced as a whole and
// are durable before the call that changes them returns.
//
// The content of node is, since version 2:
//
//	role primary|mirror|fenced
//	epoch <number>
//	leader <name, or nothing>
//	promised <epoch, 0 for none> <name, or nothing>
//	sealed true|false
//	pair <name>
//	name <name>
//
// Version 1 had neither leader nor promised nor sealed, and is still read. A line
// of peers is a name, a space and an address, in the order of the names, at most
// MaxPeers of them.
package identity
