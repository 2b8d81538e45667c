package mailstore

import (
	"bytes"

	"github.com/mailtwin/mailtwin/journal"
)

// Complete implements watch.Rules.
//
// A uidlist, which is appended to in place, and keywords are cut after their
// last full line. nil, for "not now", is returned for a uidlist that does not
// have its header, which no server may find, and for keywords with half a line
// only. Everything else is whole as it is.
func (Maildir) Complete(p journal.Path, data []byte) []byte {
	switch p.Name() {
	case uidlist:
		whole := lines(data)
		if !hasHeader(whole) {
			return nil
		}
		return whole
	case keywords:
		if whole := lines(data); len(whole) > 0 || len(data) == 0 {
			return present(whole)
		}
		return nil
	}
	return present(data)
}

// Named implements watch.Rules.
//
// A record of a uidlist is "<uid> [<extension> ...] :<base>"; what does not
// look like one, as the header and damaged lines, names nothing.
func (m Maildir) Named(p journal.Path, data []byte) []string {
	if p.Name() != uidlist {
		return nil
	}
	var named []string
	for rest := lines(data); len(rest) > 0; {
		line, after, _ := bytes.Cut(rest, []byte{'\n'})
		rest = after
		if base, ok := m.recordBase(line); ok {
			named = append(named, base)
		}
	}
	return named
}

// recordBase returns the base of the message that a line of a uidlist names.
func (m Maildir) recordBase(line []byte) (string, bool) {
	if len(line) == 0 || line[0] < '0' || line[0] > '9' {
		return "", false
	}
	_, name, found := bytes.Cut(line, []byte(" :"))
	if !found || len(name) == 0 || name[0] == ':' || bytes.ContainsAny(name, "/\x00") {
		return "", false
	}
	base := m.Base(string(name))
	return base, len(base) <= journal.MaxName
}

// hasHeader reports whether full lines of a uidlist begin with a header: one
// digit for the version and a space. Otherwise it is empty, or damaged.
func hasHeader(whole []byte) bool {
	return len(whole) > 2 && whole[0] >= '0' && whole[0] <= '9' && whole[1] == ' '
}

// lines returns what of data is full lines.
func lines(data []byte) []byte { return data[:bytes.LastIndexByte(data, '\n')+1] }

// present returns data as something that is not nil.
func present(data []byte) []byte {
	if data == nil {
		return []byte{}
	}
	return data
}
