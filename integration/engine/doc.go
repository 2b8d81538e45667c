// Package engine tests both nodes of a pair in one process: the quickest way to
// see them work together, and to profile them.
package engine
