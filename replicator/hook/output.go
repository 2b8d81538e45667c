package hook

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Bounds of what is passed on of a hook's output.
const (
	MaxLine  = 1 << 10 // bytes of one line
	MaxLines = 1000    // of one run
)

// tellLines passes on what r says, line by line, until it ends.
func tellLines(r io.Reader, tell func(string)) {
	in := bufio.NewReaderSize(r, MaxLine)
	told, untold := 0, 0
	for {
		line, err := in.ReadSlice('\n')
		cut := errors.Is(err, bufio.ErrBufferFull)
		text := printable(string(bytes.TrimRight(line, "\r\n")))
		if cut {
			text += " …"
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = in.ReadSlice('\n')
			}
		}
		switch {
		case text == "":
		case told < MaxLines:
			told++
			tell(text)
		default:
			untold++
		}
		if err != nil {
			break
		}
	}
	if untold > 0 {
		tell(fmt.Sprintf("… and %d more lines", untold))
	}
}

// printable keeps control characters away from terminals and logs.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case strconv.IsPrint(r):
			return r
		}
		return '?'
	}, s)
}
