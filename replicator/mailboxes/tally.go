package mailboxes

import (
	"cmp"
	"path"
	"strings"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/replicator/ranked"
)

// Of returns the directory that people know a message by, or another file of a
// mailbox.
func Of(p journal.Path) journal.Path { return Containing(p.Dir()) }

// Containing returns the mailbox that a directory is, or is a part of.
func Containing(dir journal.Path) journal.Path {
	switch path.Base(string(dir)) {
	case "cur", "new", "tmp":
		return dir.Dir()
	}
	return dir
}

// Count is how many of something there are in a mailbox.
type Count struct {
	Mailbox journal.Path
	Number  uint64
}

// Doubts are what a primary cannot vouch for, when it cannot observe its store:
// changes that it knows of, and that are not in its journal.
type Doubts struct {
	// Mailboxes are those with such changes, most first, and More counts those
	// that are not among them.
	Mailboxes []Count
	More      uint64
	// All says that there may be changes in any mailbox of the store.
	All bool
	// After is when changes began that it may not even know of, on its own clock:
	// what was made before is in its journal, or in one of the mailboxes. Zero: it
	// is not known.
	After time.Time
}

// MaxDoubts bounds Doubts.Mailboxes.
const MaxDoubts = 1000

// maxTallied bounds the mailboxes that a Tally tells apart.
const maxTallied = 100_000

// Tally counts something by mailbox. The zero value is empty. It is for one
// goroutine.
type Tally struct {
	counts map[journal.Path]uint64
	others uint64 // counted in mailboxes that there was no room for
}

// Add counts n more in a mailbox.
func (t *Tally) Add(mailbox journal.Path, n uint64) {
	if _, known := t.counts[mailbox]; !known && len(t.counts) >= maxTallied {
		t.others++
		return
	}
	if t.counts == nil {
		t.counts = make(map[journal.Path]uint64)
	}
	t.counts[mailbox] += n
}

// Most returns the mailboxes with the most, up to a limit, and how many more there
// are, at least.
func (t *Tally) Most(limit int) (most []Count, more uint64) {
	first := ranked.NewFirst(limit, func(a, b Count) int {
		return cmp.Or(cmp.Compare(b.Number, a.Number), strings.Compare(string(a.Mailbox), string(b.Mailbox)))
	})
	for box, n := range t.counts {
		first.Add(Count{box, n})
	}
	most, more = first.Sorted()
	if t.others > 0 {
		more++ // which of them are the same mailbox was not kept
	}
	return most, more
}
