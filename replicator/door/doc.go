// Package door leads those who call a service of a node to whoever serves it
// in the node's present role.
package door
