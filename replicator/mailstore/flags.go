package mailstore

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"github.com/mailtwin/mailtwin/journal"
)

// Keywords is the name of the file, in a mailbox, that gives the keyword
// letters their meaning.
const Keywords = keywords

// MaxKeywords is how many keywords a mailbox has letters for: a to z.
const MaxKeywords = 26

// flagMark ends the base in the name of a message that has flags.
const flagMark = ":2,"

// Flags are what a message's name says beside its base. Keywords are told by
// name, for a letter means another one in each mailbox.
type Flags struct {
	Letters  string   // capitals, ascending, each once
	Keywords []string // ascending, each once
	Unseen   bool     // the message is in new
}

// Equal reports whether both are the same flags. Where the message is does not
// count: a server moves it from new to cur for looking at it.
func (f Flags) Equal(o Flags) bool {
	return f.Letters == o.Letters && slices.Equal(f.Keywords, o.Keywords)
}

// KeywordTable gives each keyword letter its name; "" where it has none.
type KeywordTable [MaxKeywords]string

// ParseKeywords reads a dovecot-keywords file. A line of it is the number of a
// letter, a space, and the name; others say nothing.
func ParseKeywords(data []byte) (t KeywordTable) {
	for line := range bytes.Lines(lines(data)) {
		number, name, found := strings.Cut(strings.TrimSuffix(string(line), "\n"), " ")
		i, err := strconv.ParseUint(number, 10, 8)
		if found && name != "" && err == nil && i < MaxKeywords {
			t[i] = name
		}
	}
	return t
}

// letter returns the letter of a keyword.
func (t *KeywordTable) letter(name string) (byte, bool) {
	if i := slices.Index(t[:], name); i >= 0 && name != "" {
		return byte('a' + i), true
	}
	return 0, false
}

// ParseFlags reads the flags in the name of a message that is in the directory
// sub of its mailbox. Letters that have no name in the table are returned as
// unnamed; what is no letter is passed over.
func ParseFlags(sub, name string, table *KeywordTable) (f Flags, unnamed string) {
	f.Unseen = sub == newDir
	_, letters, found := strings.Cut(name, ":")
	letters, isFlags := strings.CutPrefix(letters, "2,")
	if !found || !isFlags {
		return f, ""
	}
	sorted := []byte(letters)
	slices.Sort(sorted)
	for _, c := range slices.Compact(sorted) {
		switch {
		case c >= 'A' && c <= 'Z':
			f.Letters += string(c)
		case c >= 'a' && c <= 'z' && table[c-'a'] != "":
			f.Keywords = append(f.Keywords, table[c-'a'])
		case c >= 'a' && c <= 'z':
			unnamed += string(c)
		}
	}
	slices.Sort(f.Keywords)
	f.Keywords = slices.Compact(f.Keywords)
	return f, unnamed
}

// FileName returns where a message of that base and with these flags belongs,
// in a mailbox with that table: the directory and the name. Keywords that the
// table does not have are dropped, and returned.
func FileName(base string, f Flags, table *KeywordTable) (sub, name string, dropped []string) {
	var letters []byte
	for _, k := range f.Keywords {
		if c, ok := table.letter(k); ok {
			letters = append(letters, c)
		} else {
			dropped = append(dropped, k)
		}
	}
	slices.Sort(letters)
	if f.Unseen && f.Letters == "" && len(letters) == 0 {
		return newDir, base, dropped
	}
	sub = curDir
	if f.Unseen {
		sub = newDir
	}
	return sub, base + flagMark + f.Letters + string(letters), dropped
}

// The directories of a mailbox.
const (
	curDir = "cur"
	newDir = "new"
	tmpDir = "tmp"
)

// MailboxDirs returns the directories of a mailbox: first those with messages.
func MailboxDirs() []string { return []string{newDir, curDir, tmpDir} }

// Split splits the path of a message into its mailbox, the directory in it and
// the name. It is false for what cannot be a message.
func Split(p journal.Path) (mailbox journal.Path, sub, name string, ok bool) {
	dir := p.Dir()
	if sub = dir.Name(); p == journal.Root || sub != curDir && sub != newDir {
		return "", "", "", false
	}
	return dir.Dir(), sub, p.Name(), true
}
