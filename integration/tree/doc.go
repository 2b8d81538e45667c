// Package tree makes mailstores that look like those of a mail server: users
// in domains, Maildir++ folders, messages whose sizes follow a log-normal
// distribution and whose bodies compress as mail does, some of them with one
// of a few shared bodies, flags in the names, and the control files that
// Dovecot keeps beside them.
//
// The same Spec makes the same bytes, names and times on every machine: all
// randomness comes from its seed, and no clock is read. Nothing is synced to
// disk: who measures with cold caches syncs first.
package tree
