// Package operator is how the mailtwin commands talk to the daemon of the same
// machine: the operator service of proto/mailtwin/v1 over a Unix socket in the
// state directory, which only the daemon's user may enter.
package operator
