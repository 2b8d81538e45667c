// Package sealedfile is the form of the small files of the state directory that
// must be read as they were written, or not at all. They are lines of text:
//
//	mailtwin-<kind> <version>
//	<the content, which the kind describes>
//	sha256 <hexadecimal, of all lines before>
//
// A version above the known one is ErrNewer, anything else that is not as it
// should be is ErrCorrupt; no file is larger than MaxSize. They are written with
// package atomicfile, so that none is ever torn.
package sealedfile
