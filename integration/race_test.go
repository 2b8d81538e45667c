//go:build race

package integration

// raced tells whether the tests run with the race detector; then the daemons
// do as well.
const raced = true
