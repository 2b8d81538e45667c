// Package port finds ports for the programs that tests start.
package port
