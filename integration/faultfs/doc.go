// Package faultfs is a file system that fails on demand: it shows a directory
// somewhere else, and gives errors and delays to whoever reads there. It stands
// for an array of which some blocks, or some directories, cannot be read any
// more. It needs /dev/fuse and the right to mount.
//
// Events of the kernel are told only of changes that are made through it.
package faultfs
