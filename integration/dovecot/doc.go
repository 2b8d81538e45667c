// Package dovecot runs a real Dovecot, of Debian's packages, on a mailstore of
// a test's own: with its own configuration, base directory and ports on
// 127.0.0.1, beside whatever else runs on the machine; or, with Prepare, on a
// host of its own.
//
// Mail belongs to the system user "mail", which Debian always has; Dovecot
// itself needs root to become that user. Every name that logs in is a user,
// and the password is Password.
package dovecot
