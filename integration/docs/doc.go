// Package docs holds the checks of what is written about the code: each
// package says what it is, in its doc.go, where the go command finds it.
package docs
