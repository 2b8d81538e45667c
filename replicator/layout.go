package replicator

import (
	"errors"
	"fmt"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/watch"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
)

// ErrLayout says that a store keeps its mail in a way that is not supported.
var ErrLayout = errors.New("a mailstore of another format")

// detectDirectories bounds the directories that look looks into.
const detectDirectories = 500

// errFound ends a look that has found what it was for.
var errFound = errors.New("found")

// detectLayout looks into the first directories of a store, so that it need not
// look into many of an array that is not in memory, and returns
// ErrLayout if mail lies in them as Dovecot's dbox formats keep it:
// there the index is the truth, and copying files as if they were Maildir
// would make a mirror that looks complete and is not. A store in which nothing
// is found, such as an empty one, is taken for Maildir.
func detectLayout(root *beneath.Root) error {
	return look(root, func(p journal.Path, dir *beneath.Dir, most int) (below []journal.Path, err error) {
		kinds := make(map[string]bool)
		err = dir.Each(func(names []beneath.Name) error {
			for _, n := range names {
				kinds[n.Name] = true
				if n.Type == journal.TypeDirectory && len(below) < most {
					below = append(below, p.Join(n.Name))
				}
			}
			if kinds["cur"] && kinds["new"] {
				return errFound
			}
			return nil
		})
		switch {
		case errors.Is(err, errFound):
			return nil, err
		case kinds["dovecot.map.index"] || kinds["dbox-Mails"]:
			return nil, fmt.Errorf("%w: %q is of Dovecot's dbox (sdbox or mdbox); only Maildir can be replicated", ErrLayout, string(p))
		}
		return below, nil
	})
}

// look shows f the first directories of a store, depth first, each with how many
// of the directories in it may be looked into too; f returns which. What cannot be
// read now is left out: it is reported by who watches it. An error of f ends it;
// errFound is none.
func look(root *beneath.Root, f func(p journal.Path, dir *beneath.Dir, most int) ([]journal.Path, error)) error {
	stack := []journal.Path{journal.Root}
	for looked := 0; len(stack) > 0 && looked < detectDirectories; looked++ {
		p := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		dir, err := root.Dir(p)
		if err != nil {
			continue
		}
		below, err := f(p, dir, detectDirectories-len(stack))
		_ = dir.Close()
		if errors.Is(err, errFound) {
			return nil
		}
		if err != nil {
			return err
		}
		stack = append(stack, below...)
	}
	return nil
}

// Holds returns the name of something in a directory that would be part of a store
// there, or "" if there is nothing.
func Holds(store string) (string, error) {
	root, err := beneath.Open(store)
	if err != nil {
		return "", err
	}
	defer func() { _ = root.Close() }()
	top, err := root.Dir(journal.Root)
	if err != nil {
		return "", err
	}
	defer func() { _ = top.Close() }()
	return watch.SomethingIn(top, mailstore.Maildir{})
}
