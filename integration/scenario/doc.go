// Package scenario runs stories about a mail service, written as sentences:
// who fails when, what the operator does, and what must be true afterwards.
// They are in testdata, one a file, and say themselves what they are about.
//
// # The language
//
// A line is a sentence, or a comment that begins with #. Empty lines mean
// nothing. The sentences are those of the table in verbs.go, word by word;
// what is in capitals there is:
//
//	HOST      the name of a mail host: mx1, mx2, ...
//	DURATION  like 300ms or 2s; "wait A to B" draws one in between by chance
//	NUMBER    a number
//	TEXT      the rest of the line
//
// A line "for each WORD of: a, b, c" at the beginning makes as many stories of
// one, with one of these in the place of <WORD> each.
//
// Whatever is expected is expected within a minute. Users, once they work, go
// on beside everything else; what they were told is in the ledger, and what
// they must never be shown is an error of the story whenever it is shown.
package scenario
