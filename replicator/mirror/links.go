package mirror

import (
	"errors"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// linked makes a further name of a file that is here already, or is on its way.
func (d *differ) linked(p journal.Path, it *wire.Item) (bool, error) {
	if it.Link == 0 {
		return false, nil
	}
	ch := change{link: it.Link}
	ch.Kind, ch.Path, ch.Facts, ch.Outcome = journal.KindLink, p, it.Facts, wire.OK
	if w := d.links[it.Link]; w != nil && len(w.names) < maxKept {
		ch.From = w.path
		w.names = append(w.names, ch)
		return true, nil
	}
	from, err := d.sameFile(d.tx, p, it.Link, it.Facts)
	if err != nil || from == "" {
		return false, err
	}
	ch.From = from
	d.add(&ch)
	return true, nil
}

// joinLinks turns a content that has come into a further name of a file that
// is here, if the primary has it under several names.
func (r *resync) joinLinks(ch *change, w *want) error {
	if ch.link == 0 || w.alone {
		return nil
	}
	from := r.k.group.links[ch.link]
	if from == "" {
		if err := r.k.m.cfg.Catalog.View(func(t *catalog.Tx) error {
			var err error
			from, err = r.sameFile(t, ch.Path, ch.link, ch.Facts)
			return err
		}); err != nil {
			return inCatalog(err)
		}
	}
	if from == "" || from == ch.Path {
		if r.k.group.links == nil {
			r.k.group.links = make(map[uint64]journal.Path)
		}
		r.k.group.links[ch.link] = ch.Path
		return nil
	}
	r.k.c.stage.drop(ch.file)
	ch.Kind, ch.From, ch.file = journal.KindLink, from, nil
	return nil
}

// sameFile returns another name under which the mirror has the file that the
// primary has in a group of hard links. The number of the group is known from
// comparisons only; what came as an entry is recognized by its content and all
// its attributes, the mtime in nanoseconds among them.
func (r *resync) sameFile(t *catalog.Tx, p journal.Path, link uint64, facts journal.Facts) (journal.Path, error) {
	names, err := t.FindLink(link)
	if err != nil {
		return "", err
	}
	if facts.Content.Known() {
		more, err := t.FindContent(facts.Content)
		if err != nil {
			return "", err
		}
		names = append(names, more...)
	}
	for _, from := range names {
		ours, err := t.Lookup(from)
		if errors.Is(err, catalog.ErrNotFound) {
			continue
		}
		if err != nil {
			return "", err
		}
		if from != p && sameMessage(ours, facts) && sameAttributes(ours.Facts.Attr, facts.Attr) {
			return from, nil
		}
	}
	return "", nil
}
