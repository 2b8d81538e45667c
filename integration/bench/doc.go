// Command bench measures mailtwin beside rsync over ssh and beside a floor,
// on the same trees, in one run, and prints a table of ratios in Markdown. It
// needs root, for cold caches, and an sshd.
package main
