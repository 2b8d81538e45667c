package mirror

import (
	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// broken reports whether a name of the store cannot even be looked at. Then nothing can
// be put in its place, nor can it be removed: a content for it is not asked for.
func (m *Mirror) broken(p journal.Path) bool {
	_, err := m.cfg.Root.Stat(p)
	return err != nil && !absent(err)
}

// cannotHave sees to a file whose place is broken: nothing is fetched, but what there
// ought to be is known, so that the digests agree.
func (d *differ) cannotHave(p journal.Path, it *wire.Item, ours catalog.Item) {
	f, g := it.Facts, ours.Facts
	if f.Size == g.Size && f.Content == g.Content && sameAttributes(f.Attr, g.Attr) {
		return
	}
	ch := &change{}
	ch.Kind, ch.Path, ch.Facts, ch.Outcome = journal.KindPut, p, it.Facts, wire.Unreadable
	d.add(ch)
}
