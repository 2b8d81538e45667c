// Command mailtwin replicates a mailstore from one machine to another. Each
// file is one of its subcommands; exit.go has the table of exit codes. What is
// asked for goes to stdout, everything said about it to stderr.
package main
