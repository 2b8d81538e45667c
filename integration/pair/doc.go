// Package pair runs two real mailtwin daemons, a primary and its mirror, as
// processes of their own: made by the commands that an operator types, killed
// and restarted as a test wants, and watched through `mailtwin status`.
package pair
