// Package compare checks that two mailstores are equal in everything that
// mailtwin promises: names, bytes, modification times to the nanosecond,
// modes, owners, targets of symbolic links, groups of hard links, and
// extended attributes. Modification times of directories are not compared:
// a mirror keeps its own, or Dovecot would overlook what is new.
//
// What is never replicated is left out; the list is this package's own, so
// that an engine that forgets a file by its own rules is found out.
package compare
