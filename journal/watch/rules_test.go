package watch_test

import (
	"bytes"
	"strings"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/watch"
)

// maildir is as much of a Maildir's rules as the tests need.
type maildir struct{}

func (maildir) Classify(p journal.Path, t journal.Type) watch.Class {
	name, in := p.Name(), p.Dir().Name()
	switch {
	case t == 0, in == "tmp", strings.HasSuffix(name, ".lock"), strings.HasSuffix(name, ".tmp"):
		return watch.ClassIgnored
	case t == journal.TypeDirectory && strings.HasPrefix(name, ".."):
		return watch.ClassIgnored
	case t == journal.TypeFile && (in == "cur" || in == "new"):
		return watch.ClassMessage
	case t == journal.TypeFile && name == "dovecot-keywords":
		return watch.ClassKeywords
	case t == journal.TypeFile && name == "dovecot-uidlist":
		return watch.ClassUIDList
	}
	return watch.ClassControl
}

func (maildir) Complete(p journal.Path, data []byte) []byte {
	if p.Name() != "dovecot-uidlist" {
		return data[:len(data):len(data)]
	}
	n := bytes.LastIndexByte(data, '\n') + 1
	if n == 0 {
		return nil
	}
	return data[:n]
}

func (maildir) Named(p journal.Path, data []byte) (names []string) {
	for line := range bytes.Lines(data) {
		if _, base, ok := strings.Cut(string(line), " :"); ok && strings.HasSuffix(base, "\n") {
			names = append(names, strings.TrimSuffix(base, "\n"))
		}
	}
	return names
}

func (maildir) Base(name string) string {
	base, _, _ := strings.Cut(name, ":")
	return base
}

func (maildir) MessageDirs(control journal.Path) []journal.Path {
	return []journal.Path{control.Dir().Join("new"), control.Dir().Join("cur")}
}
