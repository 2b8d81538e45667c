package mirror

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
)

const metaSplit = "mirror.split"

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
}

func readSplit(t *catalog.Tx) (split, error) {
	var s split
	v, err := t.Meta(metaSplit)
	if errors.Is(err, catalog.ErrNotFound) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(v, &s)
	}
	if err != nil {
		return s, fmt.Errorf("read whether something was put aside: %w", err)
	}
	return s, nil
}

func writeSplit(t *catalog.Tx, s split) error {
	v, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return t.SetMeta(metaSplit, v)
}

// openSplit notes that the comparison that begins may find what only this mirror
// has.
func openSplit(t *catalog.Tx, was journal.Epoch) error {
	s, err := readSplit(t)
	if err != nil || s.Open {
		return err
	}
	return writeSplit(t, split{Epoch: was, Open: true})
}

// closeSplit notes that the comparison is finished, and tells what it has put
// aside.
func (r *resync) closeSplit(t *catalog.Tx) error {
	a := r.k.applier
	if !a.split.Open {
		return nil
	}
	a.split.Open = false
	if a.split.Aside {
		r.k.m.cfg.Log.Warn("this mirror had what its new primary does not have: it was put aside, and nobody else may have it",
			"directory", mailstore.History(a.split.Epoch))
	}
	r.k.m.tellSplit(a.split)
	return writeSplit(t, a.split)
}

// tellSplit tells in the status where something was put aside.
func (m *Mirror) tellSplit(s split) {
	aside := journal.Path("")
	if s.Aside {
		aside = mailstore.History(s.Epoch)
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
// has the path that it had in the store.
func (a *applier) putAside(p journal.Path) error {
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
