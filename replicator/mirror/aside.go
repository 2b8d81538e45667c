package mirror

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

const metaSplit = "mirror.split"

// maxEarlier is how many epochs are remembered of which something was put aside.
const maxEarlier = 64

// maxAside is how many different things may be put aside under one name.
const maxAside = 1000

// split says that this mirror may have more of the history of an epoch than the
// primary of a later one, which it follows now: of two mirrors not the one that
// had more was promoted. What only it has was acknowledged as safe, so the
// comparison removes nothing, but puts it aside.
type split struct {
	// Epoch is that of the history that may have been longer here.
	Epoch journal.Epoch `json:"epoch"`
	// Open says that the comparison is not finished.
	Open bool `json:"open"`
	// Aside says that something was put aside.
	Aside bool `json:"aside"`
	// Earlier are other epochs of which something was put aside.
	Earlier []journal.Epoch `json:"earlier,omitempty"`
}

// mayHaveMore reports whether this mirror may have what the primary of a later
// epoch never had. One that has less, or was away, has what the primary removed
// since, and that is not to come back. Of an epoch further back nobody knows
// here where it ended.
func mayHaveMore(pos journal.Position, was progressMeta, w wire.WelcomeMessage) bool {
	if was.Epoch == 0 || w.Epoch <= was.Epoch {
		return false
	}
	return w.Epoch > was.Epoch+1 || max(pos.Sequence, was.Applied) > w.Began
}

func readSplit(t *catalog.Tx) (split, error) {
	var s split
	if err := t.MetaJSON(metaSplit, &s); err != nil {
		return s, fmt.Errorf("read whether something was put aside: %w", err)
	}
	return s, nil
}

func writeSplit(t *catalog.Tx, s split) error { return t.SetMetaJSON(metaSplit, s) }

// openSplit notes that the comparison that begins may find what only this mirror
// has.
func openSplit(t *catalog.Tx, was journal.Epoch) error {
	s, err := readSplit(t)
	if err != nil || s.Open {
		return err
	}
	now := split{Epoch: was, Open: true, Earlier: s.Earlier}
	if s.Aside && !slices.Contains(now.Earlier, s.Epoch) {
		now.Earlier = append(now.Earlier, s.Epoch)
		now.Earlier = now.Earlier[max(0, len(now.Earlier)-maxEarlier):]
	}
	return writeSplit(t, now)
}

// closeSplit notes that both stores are equal, and tells what was put aside for
// that.
func (r *resync) closeSplit() error {
	a := r.k.applier
	if !a.split.Open {
		return nil
	}
	closed := a.split
	closed.Open = false
	if err := inCatalog(r.k.m.cfg.Catalog.UpdateDurably(func(t *catalog.Tx) error { return writeSplit(t, closed) })); err != nil {
		return err
	}
	a.split = closed
	if a.split.Aside {
		r.k.m.cfg.Log.Warn("this mirror had what its new primary does not have: it was put aside, and nobody else may have it",
			"directory", mailstore.History(a.split.Epoch))
	}
	r.k.m.tellSplit(a.split)
	return nil
}

// tellSplit tells in the status where something was put aside.
func (m *Mirror) tellSplit(s split) {
	var aside []journal.Path
	for _, epoch := range s.Earlier {
		aside = append(aside, mailstore.History(epoch))
	}
	if place := mailstore.History(s.Epoch); s.Aside && !slices.Contains(aside, place) {
		aside = append(aside, place)
	}
	m.update(func(st *Status) { st.Aside = aside })
}

// noteAside notes durably that something is about to be put aside.
func (a *applier) noteAside() error {
	if a.split.Aside {
		return nil
	}
	a.split.Aside = true
	if err := a.m.cfg.Catalog.UpdateDurably(func(t *catalog.Tx) error { return writeSplit(t, a.split) }); err != nil {
		return err
	}
	a.m.tellSplit(a.split)
	return nil
}

// putAside moves p, with all beneath it, to where no mail server looks. There it
// has the path that it had in the store. What can be made anew is removed.
func (a *applier) putAside(p journal.Path) error {
	if a.m.isDerived(p) {
		return a.remove(p, true)
	}
	from, err := a.dir(p.Dir())
	if err == nil {
		_, err = from.Stat(p.Name())
	}
	if absent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := a.noteAside(); err != nil {
		return err
	}
	place := mailstore.History(a.split.Epoch)
	if dir := p.Dir(); dir != journal.Root {
		place = place.Join(string(dir))
	}
	to, err := a.m.cfg.Root.MakeDirs(strings.Split(string(place), "/")...)
	if err != nil {
		return err
	}
	defer func() { _ = to.Close() }()
	a.touch(p.Dir())
	a.inPlace = true // no directory of the mailboxes makes the new name durable
	a.forget(p)
	for t := range a.touched {
		if t.Within(p) {
			delete(a.touched, t)
		}
	}
	return rename(from, to, p.Name())
}

// rename gives a thing a place in another directory, under a name that is free.
func rename(from, to *beneath.Dir, name string) error {
	for i := range maxAside {
		as := name
		if i > 0 {
			mark := "~" + strconv.Itoa(i)
			as = name[:min(len(name), journal.MaxName-len(mark))] + mark
		}
		err := from.RenameNoReplace(name, to, as)
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return fmt.Errorf("%q: more than %d things of that name are put aside", name, maxAside)
}
