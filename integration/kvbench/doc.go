// Command kvbench compares the key-value stores that the catalog might be
// built on, with keys and values of the shapes that the catalog has: for each
// message its record under (directory, name), and an entry in the index of
// inodes and in that of contents.
//
//	go run . [-n 5000000] [-dir /var/tmp/mailtwin-kvbench] [-store pebble,bbolt]
//
// Each store is measured in a process of its own, and its files are removed
// afterwards. It is a module of its own so that what was not chosen is no
// dependency of mailtwin.
package main
