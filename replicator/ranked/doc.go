// Package ranked keeps the few that come first of many, in memory that does not
// grow with how many there are.
package ranked
