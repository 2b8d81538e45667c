// Package hint lets an error carry what the operator can do about it. The
// error says what went wrong and stays one line; the hint is the next line,
// and only the commands print it.
package hint
