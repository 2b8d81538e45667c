// Package integration tests mailtwin with real programs against real
// programs: daemons as processes, a real Dovecot on the mailstore, a bad
// network between, kill -9 at any moment, full and read-only disks, and such as
// cannot be read everywhere. Each test ends with the comparison of both stores
// in everything. Whole hosts that fail are in the stories of its subdirectory scenario.
//
// The tests need root and the Debian packages that setup.sh installs. Its
// subdirectories are what the tests are made of, and the benchmarks.
package integration
