package mailstore

import (
	"strconv"
	"strings"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/watch"
)

// Staging is the directory at the store's root in which a node prepares what it
// will rename into the mailboxes, and keeps what is not in them any more. No mail
// server takes it for a folder, and it is never replicated.
const Staging = "..mailtwin"

// History returns the directory in which a node keeps what it alone has of an
// epoch and what will not be in its store any more.
func History(epoch journal.Epoch) journal.Path {
	return journal.Path(Staging).Join("history").Join(strconv.FormatUint(uint64(epoch), 10))
}

// The control files with a class of their own.
const (
	uidlist  = "dovecot-uidlist"
	keywords = "dovecot-keywords"
)

// Maildir is what names and bytes mean in a store of Maildirs, in any layout
// of folders. Its methods may be called concurrently.
type Maildir struct{}

var _ watch.Rules = Maildir{}

// Classify implements watch.Rules.
func (Maildir) Classify(p journal.Path, t journal.Type) watch.Class {
	name, dir := p.Name(), p.Dir()
	if p == journal.Root {
		return watch.ClassControl
	}
	if dir == journal.Root && ofFileSystem(name) {
		return watch.ClassIgnored
	}
	switch t {
	case journal.TypeDirectory:
		return classOfDirectory(name)
	case journal.TypeFile, journal.TypeSymlink:
	default:
		return watch.ClassIgnored
	}
	if !ofServer(name) {
		switch dir.Name() {
		case curDir, newDir:
			if name[0] == '.' {
				return watch.ClassIgnored
			}
			return watch.ClassMessage
		case tmpDir:
			return watch.ClassIgnored
		}
	}
	switch {
	case name == uidlist:
		return watch.ClassUIDList
	case name == keywords:
		return watch.ClassKeywords
	case t == journal.TypeFile && ofIndex(name):
		return watch.ClassDerived
	case rebuildable(name) || temporary(name):
		return watch.ClassIgnored
	}
	return watch.ClassControl
}

// MessageDirs implements watch.Rules: new before cur, as mail goes.
func (Maildir) MessageDirs(control journal.Path) []journal.Path {
	mailbox := control.Dir()
	return []journal.Path{mailbox.Join("new"), mailbox.Join("cur")}
}

// Base implements watch.Rules: the base is everything before the first colon.
// A name without a base stands for itself.
func (Maildir) Base(name string) string {
	if i := strings.IndexByte(name, ':'); i > 0 {
		return name[:i]
	}
	return name
}

func classOfDirectory(name string) watch.Class {
	switch name {
	case "..DOVECOT-TRASHED", "..DOVECOT-TrasH", // folders that are being deleted
		"fts-flatcurve", "xapian-indexes", "lucene-indexes",
		".dovecot.lda-dupes.locks":
		return watch.ClassIgnored
	}
	return watch.ClassControl
}

// ofFileSystem reports whether the name, at the store's root, belongs to the
// node and not to its mail.
func ofFileSystem(name string) bool {
	switch name {
	case Staging, "lost+found", "aquota.user", "aquota.group":
		return true
	}
	return false
}

// ofServer reports whether a file of this name is Dovecot's wherever it is: a
// user may be called "new", and then his control files are directly in a
// directory of that name.
func ofServer(name string) bool {
	switch name {
	case keywords, "dovecot-acl", "dovecot-acl-list", "dovecot-attributes", "subscriptions", "maildirfolder", "maildirsize":
		return true
	}
	return hasAnyPrefix(name, uidlist, "dovecot-uidvalidity", "dovecot.index", "dovecot.list.index", "dovecot.mailbox.log", ".dovecot.")
}

// ofIndex reports whether a file of this name is a part of a mailbox's index.
func ofIndex(name string) bool {
	return name == indexFile || name == IndexLog || name == indexLogOld
}

// rebuildable reports whether a file can be made again from the others.
func rebuildable(name string) bool {
	switch name {
	case "maildirsize", "dovecot-acl-list":
		return true
	}
	return strings.HasSuffix(name, ".svbin") || hasAnyPrefix(name, "dovecot.index", ".dovecot.lda-dupes")
}

// temporary reports whether a file outside of cur and new is one that its
// writer will rename or remove in a moment.
func temporary(name string) bool {
	for _, suffix := range []string{".lock", ".newlock", ".tmp"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	if lock, random, found := strings.Cut(name, ".lock"); found && lock != "" && hexadecimal(random) {
		return true // a lock that is locked before it gets its name
	}
	// .nfs and .fuse_hidden files are removed, but open.
	return hasAnyPrefix(name, ".temp.", ".nfs", ".fuse_hidden", "duplicate.lock.") || ofProcess(name) || ofScript(name)
}

// ofProcess reports whether the name ends in ".<pid>.<16 hexadecimal digits>".
func ofProcess(name string) bool {
	rest, random, found := cutLast(name)
	if !found || !hexadecimal(random) {
		return false
	}
	rest, pid, found := cutLast(rest)
	return found && rest != "" && digits(pid)
}

// ofScript reports whether the name is <link>-new.<seconds>.P<pid>M<µs>.<host>,
// which a link to the active sieve script has before it is renamed.
func ofScript(name string) bool {
	_, rest, found := strings.Cut(name, "-new.")
	if !found {
		return false
	}
	seconds, rest, _ := strings.Cut(rest, ".P")
	pid, rest, _ := strings.Cut(rest, "M")
	micro, _, found := strings.Cut(rest, ".")
	return found && digits(seconds) && digits(pid) && digits(micro)
}

func cutLast(name string) (before, after string, found bool) {
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return name, "", false
	}
	return name[:i], name[i+1:], true
}

// hexadecimal reports whether s is the random part of a temporary name.
func hexadecimal(s string) bool {
	return len(s) == 16 && strings.Trim(s, "0123456789abcdef") == ""
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func hasAnyPrefix(name string, prefixes ...string) bool {
	for _, prefix := range prefixes {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
