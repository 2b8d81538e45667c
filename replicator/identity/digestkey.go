package identity

import "github.com/zeebo/blake3"

// DigestKey returns the key of the catalogs' digests: the same on all nodes of
// a pair, and not known to those who can only write mail.
func (id *Identity) DigestKey() (key [32]byte) {
	blake3.DeriveKey("mailtwin 2026 key of catalog digests", id.authority.Raw, key[:])
	return key
}
