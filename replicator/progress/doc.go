// Package progress tells how far a first sync is, how fast it goes, and when it
// will be done: at the rate of the last minutes, and not at all where that says
// nothing.
package progress
