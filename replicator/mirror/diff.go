package mirror

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/journal/watch"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// maxRemovals bounds the removals of one directory that are kept back until
// its listing has come to an end; beyond it a rename is taken for a removal and
// a new file, which costs a copy and nothing else.
const maxRemovals = 10000

func errTransfer(number uint64) error {
	return fmt.Errorf("%w: transfer %d was not asked for", wire.ErrProtocol, number)
}

// takeListing compares what the primary has in a directory with the catalog.
func (r *resync) takeListing(l *wire.Listing) error {
	if len(r.asked) == 0 || r.asked[0].path != l.Path {
		return fmt.Errorf("%w: a listing of %q was not asked for now", wire.ErrProtocol, string(l.Path))
	}
	t := r.asked[0]
	if l.Outcome == wire.OK {
		err := r.k.m.cfg.Catalog.View(func(tx *catalog.Tx) error { return r.diff(tx, t, l) })
		if err != nil {
			return err
		}
	}
	if !l.Last {
		return nil
	}
	r.asked = r.asked[1:]
	r.progress.Directories -= min(1, r.progress.Directories)
	for _, p := range t.removals {
		if _, renamed := t.renamed[p]; !renamed {
			r.remove(p)
		}
	}
	r.push(t.children...)
	t.removals, t.renamed, t.children = nil, nil, nil
	if t.parent != nil {
		t.parent.waits--
		r.release(t.parent)
	}
	r.release(t)
	return nil
}

// release asks for the control files of a mailbox when its messages were.
func (r *resync) release(t *task) {
	if t.waits > 0 {
		return
	}
	for _, w := range t.postponed {
		r.want(w)
	}
	t.postponed = nil
}

// diff merges one page of a listing with the names of the catalog in the same
// range.
func (r *resync) diff(tx *catalog.Tx, t *task, l *wire.Listing) error {
	if t.path == journal.Root && t.from == "" {
		r.attributes(journal.Root, l.Facts)
	}
	theirs := l.Items
	if !slices.IsSortedFunc(theirs, func(a, b wire.Item) int { return strings.Compare(a.Name, b.Name) }) {
		return fmt.Errorf("%w: the listing of %q is not in order", wire.ErrProtocol, string(t.path))
	}
	l.From = t.from
	end := ""
	if !l.Last {
		if len(theirs) == 0 {
			return fmt.Errorf("%w: an empty page of %q", wire.ErrProtocol, string(t.path))
		}
		end = theirs[len(theirs)-1].Name
	}
	i := 0
	errEnd := errors.New("end of the page")
	err := tx.List(t.path, t.from, func(name string, ours catalog.Item) error {
		for i < len(theirs) && theirs[i].Name < name {
			if err := r.added(tx, t, l, &theirs[i]); err != nil {
				return err
			}
			i++
		}
		if end != "" && name > end {
			return errEnd
		}
		if i < len(theirs) && theirs[i].Name == name {
			i++
			return r.both(tx, t, l, &theirs[i-1], ours)
		}
		if len(t.removals) < maxRemovals {
			t.removals = append(t.removals, t.path.Join(name))
		} else {
			r.remove(t.path.Join(name))
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnd) && !errors.Is(err, catalog.ErrNotFound) {
		return err
	}
	for ; i < len(theirs); i++ {
		if err := r.added(tx, t, l, &theirs[i]); err != nil {
			return err
		}
	}
	t.from = end + "\x00"
	return nil
}

// added handles a name that only the primary has.
func (r *resync) added(tx *catalog.Tx, t *task, l *wire.Listing, it *wire.Item) error {
	p := t.path.Join(it.Name)
	switch it.Facts.Type {
	case journal.TypeDirectory:
		r.change(journal.KindMakeDir, p, it.Facts)
		r.descend(t, p)
		return nil
	case journal.TypeSymlink:
		r.change(journal.KindSymlink, p, it.Facts)
		return nil
	}
	if done, err := r.rename(tx, t, l, it); done || err != nil {
		return err
	}
	if done, err := r.linked(tx, p, it); done || err != nil {
		return err
	}
	if it.Facts.Content.Known() {
		paths, err := tx.FindContent(it.Facts.Content)
		if err != nil {
			return err
		}
		if len(paths) > 0 || it.Facts.Size == 0 {
			r.copied(t, p, it)
			return nil
		}
	}
	r.fetch(t, want{path: p, size: it.Facts.Size, link: it.Link})
	return nil
}

// copied makes a file from a content that the mirror has.
func (r *resync) copied(t *task, p journal.Path, it *wire.Item) {
	if !r.isMessage(p) {
		// Control files keep their turn behind the messages.
		r.fetch(t, want{path: p, size: it.Facts.Size, link: it.Link})
		return
	}
	ch := &change{link: it.Link}
	ch.Kind, ch.Path, ch.Facts, ch.Outcome = journal.KindPut, p, it.Facts, wire.OK
	r.k.group.add(ch)
}

// both handles a name that both have.
func (r *resync) both(tx *catalog.Tx, t *task, l *wire.Listing, it *wire.Item, ours catalog.Item) error {
	p := t.path.Join(it.Name)
	if it.Facts.Type != ours.Facts.Type {
		r.remove(p)
		return r.added(tx, t, l, it)
	}
	switch it.Facts.Type {
	case journal.TypeDirectory:
		if !sameAttributes(it.Facts.Attr, ours.Facts.Attr) {
			r.attributes(p, it.Facts)
		}
		if it.Digest != ours.Digest {
			r.descend(t, p)
		}
		return nil
	case journal.TypeSymlink:
		if it.Facts.Target != ours.Facts.Target || !sameAttributes(it.Facts.Attr, ours.Facts.Attr) {
			r.change(journal.KindSymlink, p, it.Facts)
		}
		return nil
	}
	theirs, mine := it.Facts.Content, ours.Facts.Content
	switch {
	case ours.Missing:
		r.fetch(t, want{path: p, size: it.Facts.Size, link: it.Link})
	case theirs.Known() && theirs == mine:
		if !sameAttributes(it.Facts.Attr, ours.Facts.Attr) {
			r.attributes(p, it.Facts)
		}
	default:
		w := want{path: p, size: it.Facts.Size, link: it.Link}
		if !theirs.Known() {
			w.have = mine
		}
		r.fetch(t, w)
	}
	return nil
}

// rename finds out whether a message that is new under this name was here
// under another one: then it is renamed, and both names are never there at one
// time.
func (r *resync) rename(tx *catalog.Tx, t *task, l *wire.Listing, it *wire.Item) (bool, error) {
	p := t.path.Join(it.Name)
	if !r.isMessage(p) {
		return false, nil
	}
	from, err := r.earlierName(tx, t, l, it)
	if from == "" || err != nil {
		return false, err
	}
	if t.renamed == nil {
		t.renamed = make(map[journal.Path]struct{})
	}
	t.renamed[from] = struct{}{}
	ch := &change{}
	ch.Kind, ch.Path, ch.From, ch.Outcome = journal.KindMove, p, from, wire.OK
	r.k.group.add(ch)
	if it.Facts.Content.Known() {
		r.attributes(p, it.Facts)
	} else {
		r.fetch(t, want{path: p, size: it.Facts.Size, link: it.Link})
	}
	return true, nil
}

// earlierName returns the name that a message has on the mirror, in the same
// directory or in new/, and no longer has on the primary; "" if there is none.
func (r *resync) earlierName(tx *catalog.Tx, t *task, l *wire.Listing, it *wire.Item) (journal.Path, error) {
	names := r.k.m.cfg.Rules
	base := names.Base(it.Name)
	dirs := []journal.Path{t.path}
	if t.path.Name() == "cur" { // nothing ever goes back to new/
		dirs = append(dirs, t.path.Dir().Join("new"))
	}
	var found journal.Path
	for _, dir := range dirs {
		err := tx.ListPrefix(dir, base, func(name string, ours catalog.Item) error {
			from := dir.Join(name)
			_, taken := t.renamed[from]
			if !taken && names.Base(name) == base && sameMessage(ours, it.Facts) && !(dir == t.path && mayHave(l, name)) {
				found = from
			}
			return nil
		})
		if err != nil && !errors.Is(err, catalog.ErrNotFound) {
			return "", err
		}
		if found != "" {
			break
		}
	}
	return found, nil
}

// mayHave reports whether the primary has a name, or may have it on another
// page.
func mayHave(l *wire.Listing, name string) bool {
	_, has := slices.BinarySearchFunc(l.Items, name, func(it wire.Item, name string) int { return strings.Compare(it.Name, name) })
	if has || l.Last && len(l.Items) == 0 {
		return has
	}
	first, last := l.Items[0].Name, l.Items[len(l.Items)-1].Name
	return name < first && l.From != "" || name > last && !l.Last
}

// sameMessage reports whether our file can be the primary's.
func sameMessage(ours catalog.Item, theirs journal.Facts) bool {
	if ours.Facts.Type != journal.TypeFile || ours.Missing || ours.Facts.Size != theirs.Size {
		return false
	}
	if theirs.Content.Known() && ours.Facts.Content.Known() {
		return theirs.Content == ours.Facts.Content
	}
	return ours.Facts.Attr.MTime == theirs.Attr.MTime
}

// descend compares a directory beneath t.
func (r *resync) descend(t *task, p journal.Path) {
	sub := &task{path: p}
	if r.isMessage(p.Join("1")) {
		sub.parent = t
		t.waits++
	}
	t.children = append(t.children, sub)
}

// fetch asks for a content; a control file waits for the messages beside it.
func (r *resync) fetch(t *task, w want) {
	if r.isMessage(w.path) {
		r.want(w)
		return
	}
	t.postponed = append(t.postponed, w)
}

func (r *resync) change(kind journal.Kind, p journal.Path, f journal.Facts) {
	ch := &change{}
	ch.Kind, ch.Path, ch.Facts, ch.Outcome = kind, p, f, wire.OK
	r.k.group.add(ch)
}

// attributes gives what is at p the facts of the primary.
func (r *resync) attributes(p journal.Path, f journal.Facts) {
	r.change(journal.KindSetAttributes, p, f)
}

// remove removes a name that the primary does not have.
func (r *resync) remove(p journal.Path) {
	// Whether it is a directory is seen when it is removed.
	r.change(journal.KindRemoveDir, p, journal.Facts{})
}

func sameAttributes(a, b journal.Attributes) bool {
	return a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID && a.MTime == b.MTime &&
		slices.EqualFunc(a.Xattrs, b.Xattrs, func(x, y journal.Xattr) bool {
			return x.Name == y.Name && string(x.Value) == string(y.Value)
		})
}

// isMessage reports whether a file at p is a message.
func (r *resync) isMessage(p journal.Path) bool {
	return r.k.m.cfg.Rules.Classify(p, journal.TypeFile) == watch.ClassMessage
}
