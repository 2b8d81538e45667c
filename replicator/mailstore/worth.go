package mailstore

import (
	"errors"
	"fmt"
	"strings"

	"github.com/mailtwin/mailtwin/journal"
)

// Order is the order in which the messages of a mailbox are copied.
type Order string

// The orders. Messages of one mailbox are read by inode unless it is
// OrderNewest: that is how they lie on the disk.
const (
	// OrderAuto copies what came lately to all mailboxes first, and then one
	// mailbox after the other.
	OrderAuto Order = "auto"
	// OrderInode copies one mailbox after the other.
	OrderInode Order = "inode"
	// OrderNewest is OrderAuto, and in each mailbox the newest message first.
	OrderNewest Order = "newest"
)

// maxFirst bounds the list of what is copied first.
const maxFirst = 1000

// ErrFirst says that a text is no list of paths.
var ErrFirst = errors.New("not a list of directories in the store")

// ParseFirst reads a list of directories in the store, separated by commas:
// those of domains, of users or of mailboxes. The error is ErrFirst.
func ParseFirst(list string) ([]journal.Path, error) {
	var out []journal.Path
	for text := range strings.SplitSeq(list, ",") {
		if text = strings.Trim(strings.TrimSpace(text), "/"); text == "" {
			continue
		}
		p, err := journal.ParsePath(text)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%w: %w", ErrFirst, err)
		case len(out) == maxFirst:
			return nil, fmt.Errorf("%w: more than %d", ErrFirst, maxFirst)
		}
		out = append(out, p)
	}
	return out, nil
}

// Archive reports whether a folder is one that nobody looks into every day, or
// is in such a one.
func (Maildir) Archive(p journal.Path) bool {
	for _, name := range []string{p.Name(), p.Dir().Name()} {
		for part := range strings.SplitSeq(name, ".") {
			switch strings.ToLower(part) {
			case "archive", "archives", "trash", "deleted", "deleted messages", "deleted items", "junk", "spam":
				return true
			}
		}
	}
	return false
}
