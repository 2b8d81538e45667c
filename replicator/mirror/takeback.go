package mirror

import (
	"errors"
	"io/fs"
	"slices"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// metaMoves holds, in the catalog, the moves that a group makes of files that it has
// made itself. It is there from before the group changes the store until the catalog
// has the group.
const metaMoves = "mirror.moves"

// ownMove is such a move. Paths are bytes, which JSON keeps as they are.
type ownMove struct {
	From []byte `json:"from"`
	Path []byte `json:"path"`
}

// intend notes durably what a group is about to move of what it makes.
func (m *Mirror) intend(moves []ownMove) error {
	if len(moves) == 0 {
		return nil
	}
	return inCatalog(m.cfg.Catalog.UpdateDurably(func(t *catalog.Tx) error { return t.SetMetaJSON(metaMoves, moves) }))
}

// takeBack takes back what a group has moved that the catalog does not have. That
// group is done again from its beginning, where each file is put at the place where
// it came to first. If it lay already where it was moved, there would be two of it,
// one of which nobody knows of: until the group comes to the move, or for good, if
// this node is promoted before. It is taken back when the group comes again: before
// that, who promotes this node wants it as it is, for it may have been acknowledged.
// What was moved to a name that the catalog has stays: no message is.
func (k *committer) takeBack() error {
	if k.tookBack {
		return nil
	}
	var moves []ownMove
	err := k.m.cfg.Catalog.View(func(t *catalog.Tx) error { return t.MetaJSON(metaMoves, &moves) })
	if err != nil {
		return inCatalog(err)
	}
	clear(k.applier.touched)
	for _, move := range slices.Backward(moves) {
		from, p := journal.Path(move.From), journal.Path(move.Path)
		known, err := k.m.knows(p)
		if err != nil {
			return err
		}
		if known {
			continue
		}
		if err := k.applier.takeBack(from, p); err != nil {
			return inStore(err, "take back the move to", p)
		}
	}
	if err := k.applier.syncTouched(); err != nil {
		return err
	}
	if len(moves) > 0 {
		err = k.m.cfg.Catalog.UpdateDurably(func(t *catalog.Tx) error { return t.SetMeta(metaMoves, nil) })
	}
	k.tookBack = err == nil
	return inCatalog(err)
}

// knows reports whether the catalog has something of that name.
func (m *Mirror) knows(p journal.Path) (bool, error) {
	err := m.cfg.Catalog.View(func(t *catalog.Tx) error {
		_, err := t.Lookup(p)
		return err
	})
	if errors.Is(err, catalog.ErrNotFound) {
		return false, nil
	}
	return err == nil, inCatalog(err)
}

// takeBack renames p to from, if it is there and nothing has that name.
func (a *applier) takeBack(from, p journal.Path) error {
	d, _, found, err := a.source(p, false)
	if err != nil || !found {
		return err
	}
	to, err := a.dir(from.Dir())
	if absent(err) {
		return nil
	}
	if err == nil {
		_, err = to.Stat(from.Name())
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	a.touch(p.Dir())
	a.touch(from.Dir())
	return d.Rename(p.Name(), to, from.Name())
}
