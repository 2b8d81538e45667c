// Package terminal runs a command as a person does who sits at a terminal: what it
// prints on either output is seen in the order in which it came, and its questions
// are answered.
package terminal
