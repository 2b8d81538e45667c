// Package client delivers and reads mail as the programs of mail users do:
// by LMTP, IMAP and POP3. Snapshot is everything that an IMAP client can see of
// a user's mail; two servers whose snapshots are equal cannot be told apart.
package client
