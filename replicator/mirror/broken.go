package mirror

import (
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// metaLeft holds, in the catalog, the names that the primary has no longer and that
// could not be removed here, for they cannot even be looked at: JSON of [][]byte. They
// are removed when they can be.
const metaLeft = "mirror.left"

// maxLeft is how many names are left: where there are more, the disk fails, and nothing
// is acknowledged any more.
const maxLeft = 64

// broken reports whether a name of the store cannot even be looked at. Then nothing can
// be put in its place, nor can it be removed: a content for it is not asked for.
func (m *Mirror) broken(p journal.Path) bool {
	_, err := m.cfg.Root.Stat(p)
	return err != nil && !absent(err)
}

// cannotHave sees to a file whose place is broken, if it is: nothing is fetched, but what
// there ought to be is known, so that the digests agree.
func (d *differ) cannotHave(p journal.Path, it *wire.Item, ours catalog.Item) bool {
	if !d.k.m.broken(p) {
		return false
	}
	f, g := it.Facts, ours.Facts
	if f.Size == g.Size && f.Content == g.Content && sameAttributes(f.Attr, g.Attr) {
		return true
	}
	ch := &change{}
	ch.Kind, ch.Path, ch.Facts, ch.Outcome = journal.KindPut, p, it.Facts, wire.Unreadable
	d.add(ch)
	return true
}

// damaged reports whether an error says that the disk does not give what a name is.
func damaged(err error) bool { return errors.Is(err, syscall.EIO) || errors.Is(err, syscall.EUCLEAN) }

// leave notes that a name stays, though it was to be removed; err says why it could not
// be, and is returned if that is no reason to leave it. That the directory is well all
// the same is seen when it is made durable.
func (a *applier) leave(p journal.Path, err error) error {
	switch {
	case !damaged(err) || !a.m.broken(p):
		return err
	case slices.Contains(a.left, p):
	case len(a.left) >= maxLeft:
		return hint.Add(fmt.Errorf("%w (%d names cannot be looked at)", err, len(a.left)), "the disk fails: check it and its file system")
	default:
		a.left = append(a.left, p)
		a.m.cfg.Log.Warn("a name that the primary does not have any more cannot be removed now", "path", string(p), "error", err)
	}
	return nil
}

// readLeft reads which names were left.
func (a *applier) readLeft(t *catalog.Tx) error {
	var all [][]byte
	err := t.MetaJSON(metaLeft, &all)
	for _, p := range all {
		a.left = append(a.left, journal.Path(p))
	}
	a.noted = len(a.left)
	return err
}

// writeLeft notes which names are left.
func (a *applier) writeLeft(t *catalog.Tx) error {
	if len(a.left) == 0 {
		return t.SetMeta(metaLeft, nil)
	}
	all := make([][]byte, 0, len(a.left))
	for _, p := range a.left {
		all = append(all, []byte(p))
	}
	return t.SetMetaJSON(metaLeft, all)
}

// sweep removes the names that were left and can be looked at now. One that the catalog
// has is the primary's again. It waits until nothing is in the store that only a group
// which is to be done again knows of.
func (k *committer) sweep() error {
	a := k.applier
	if len(a.left) == 0 || !k.m.tidy || k.resync.running || len(k.group.changes) > 0 {
		return nil
	}
	left := a.left
	a.left = nil
	clear(a.touched)
	for _, p := range left {
		known, err := k.m.knows(p)
		switch {
		case err != nil:
			return err
		case known:
		case k.m.broken(p):
			a.left = append(a.left, p)
		default:
			if err := a.remove(p, false); err != nil {
				return inStore(err, "remove", p)
			}
		}
	}
	if len(a.left) == len(left) {
		return nil
	}
	if err := a.syncTouched(); err != nil {
		return err
	}
	if err := inCatalog(k.m.cfg.Catalog.UpdateDurably(a.writeLeft)); err != nil {
		return err
	}
	k.m.tellLeft(a)
	return nil
}

// tellLeft tells which names are left.
func (m *Mirror) tellLeft(a *applier) {
	a.noted = len(a.left)
	left := slices.Clone(a.left)
	m.update(func(s *Status) { s.Left = left })
}
