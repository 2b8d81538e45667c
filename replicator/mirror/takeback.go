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
	Made journal.Sequence `json:"made"` // by this entry the file was made
	From []byte           `json:"from"`
	Path []byte           `json:"path"`
}

// noted is what groups before this stream have moved, and put under one name, that the
// catalog does not have.
type noted struct {
	read     bool
	moves    []ownMove
	versions versions
}

// writeMoves keeps moves beside those that are noted.
func (n noted) writeMoves(t *catalog.Tx, more []ownMove) error {
	all := slices.Concat(n.moves, more)
	if len(all) == 0 {
		return t.SetMeta(metaMoves, nil)
	}
	return t.SetMetaJSON(metaMoves, all)
}

// cut takes out the moves of files that are made again by the entries up to last.
func (n *noted) cut(last journal.Sequence) (back []ownMove) {
	var left []ownMove
	for _, move := range n.moves {
		if move.Made <= last {
			back = append(back, move)
		} else {
			left = append(left, move)
		}
	}
	n.moves = left
	return back
}

// intend notes durably what a group is about to move of what it makes, and what it is
// about to put under the names that it puts more than once. Most groups do neither.
func (k *committer) intend(g *group) error {
	v := g.versions()
	if len(g.trail.moves) == 0 && len(v) == 0 {
		return nil
	}
	return inCatalog(k.m.cfg.Catalog.UpdateDurably(func(t *catalog.Tx) error {
		return errors.Join(k.noted.writeMoves(t, g.trail.moves), k.noted.writeVersions(t, k.epoch, v))
	}))
}

// forget takes from the note what the catalog has with a group. It returns what is left.
func (k *committer) forget(t *catalog.Tx, g *group, applied journal.Sequence) (noted, error) {
	left := k.noted
	left.versions = k.noted.versions.after(applied)
	var err error
	if len(g.trail.moves) > 0 {
		err = left.writeMoves(t, nil)
	}
	if err == nil && (g.trail.again > 0 || len(k.noted.versions) > 0) {
		err = left.writeVersions(t, k.epoch, nil)
	}
	return left, err
}

// takeBack takes back what a group has moved that the catalog does not have, before
// the entries up to last are done again. That begins with each file at the place where
// it came to first. If it lay already where it was moved, there would be two of it,
// one of which nobody knows of: until the move comes again, or for good, if this node
// is promoted before. What does not come again stays as it is, for it may have been
// acknowledged. So does what was moved to a name that the catalog has: no message is.
func (k *committer) takeBack(last journal.Sequence) error {
	if err := k.recall(); err != nil {
		return err
	}
	back := k.noted.cut(last)
	if len(back) == 0 {
		return nil
	}
	clear(k.applier.touched)
	for _, move := range slices.Backward(back) {
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
	return inCatalog(k.m.cfg.Catalog.UpdateDurably(func(t *catalog.Tx) error { return k.noted.writeMoves(t, nil) }))
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
