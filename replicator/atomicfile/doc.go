// Package atomicfile writes small files that are there whole and durable, or
// not at all: written beside their name, fsynced, then given the name, and the
// directory fsynced. After a failure the file is as it was before; a rest that
// a crash leaves behind is one file, name.new, which the next write replaces.
package atomicfile
