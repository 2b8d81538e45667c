package mirror

import (
	"errors"
	"slices"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// recorder makes the changes of one group in the catalog, after they were made
// in the store.
type recorder struct {
	k  *committer
	tx *catalog.Tx
	// What follows from it, once the catalog has it.
	wants   []want
	compare []journal.Path
}

// record tells the catalog of the group, with the place that it leads to, but not
// durably. The last thing before that is behind: if it fails, the catalog is as it
// was.
func (k *committer) record(g *group, behind func() error) error {
	r := &recorder{k: k}
	k.resync.answered(g.changes)
	position, applied := k.position, max(k.applied, g.last)
	if g.position.Sequence > 0 {
		position = g.position
	}
	var totals catalog.Totals
	var left noted
	var failure error
	err := k.m.cfg.Catalog.Update(func(t *catalog.Tx) error {
		r.tx = t
		for _, c := range g.changes {
			if err := r.change(c); err != nil {
				return err
			}
		}
		t.SetPosition(position)
		if len(r.compare) > 0 {
			if err := writeWhole(t, false); err != nil {
				return err
			}
		}
		totals = t.Totals()
		if err := writeProgress(t, progressMeta{Applied: applied, Owed: k.debts.oldest(), Open: true}); err != nil {
			return err
		}
		var err error
		if left, err = k.forget(t, g, applied); err != nil {
			return err
		}
		if len(k.applier.left) > k.applier.noted {
			if err := k.applier.writeLeft(t); err != nil {
				return err
			}
		}
		failure = behind()
		return failure
	})
	if failure != nil {
		return failure
	}
	if err != nil {
		return inCatalog(err)
	}
	k.position, k.applied, k.noted = position, applied, left
	k.m.update(func(s *Status) { s.Applied, s.Totals, s.Attention = applied, totals, "" })
	if len(k.applier.left) > k.applier.noted {
		k.m.tellLeft(k.applier)
	}
	for i := range r.wants {
		k.resync.want(r.wants[i])
	}
	for _, p := range r.compare {
		k.resync.need(p)
	}
	return nil
}

// change makes one change in the catalog.
func (r *recorder) change(c *change) error {
	if c.answers != nil && c.Outcome != wire.OK && c.Outcome != wire.Same {
		return r.without(c)
	}
	if c.settle && !c.missing {
		r.k.debts.pay(c.Path)
		return r.tx.Put(c.Path, catalog.Item{Facts: c.Facts, Stamp: c.stamp, Link: c.link})
	}
	switch c.Kind {
	case journal.KindPut:
		return r.put(c)
	case journal.KindMove, journal.KindLink:
		return r.moveOrLink(c)
	case journal.KindMoveDir:
		return r.moveDir(c)
	case journal.KindRemove, journal.KindRemoveDir:
		// Whatever was there is gone from the store.
		r.k.debts.forget(c.Path)
		return r.tx.Remove(c.Path)
	case journal.KindSetAttributes:
		return r.setAttributes(c)
	default:
		if c.Kind == journal.KindSymlink {
			r.k.debts.forget(c.Path)
		}
		return r.apply(c)
	}
}

// compareLater has a directory compared.
func (r *recorder) compareLater(p journal.Path) {
	if !slices.Contains(r.compare, p) {
		r.compare = append(r.compare, p)
	}
}

// apply does what the entry says.
func (r *recorder) apply(c *change) error {
	e := c.Entry.Entry
	e.Stamp = c.stamp
	return r.tx.Apply(&e)
}

func (r *recorder) put(c *change) error {
	if !c.missing {
		r.k.debts.pay(c.Path)
		return r.tx.Put(c.Path, catalog.Item{Facts: c.Facts, Stamp: c.stamp, Link: c.link})
	}
	if r.k.m.isDerived(c.Path) {
		return r.putLater(c)
	}
	switch c.Outcome {
	case wire.OK:
		r.owe(c)
	case wire.Unreadable:
		r.k.debts.pay(c.Path) // nobody can have it
	default:
		// What became of it is told by entries that follow.
		r.k.debts.owe(c.Path, c.sequence)
	}
	return r.lack(c.Path, c.Facts)
}

// lack notes that there ought to be a file, which is not there.
func (r *recorder) lack(p journal.Path, f journal.Facts) error {
	f.Type = journal.TypeFile
	return r.tx.Put(p, catalog.Item{Facts: f, Missing: true, Derived: r.k.m.isDerived(p)})
}

// owe asks for the content of what a change has made.
func (r *recorder) owe(c *change) {
	since := c.sequence
	if c.Kind == journal.KindMove {
		since = r.k.debts.since(c.From, since)
	}
	if since > 0 && !r.k.m.isDerived(c.Path) {
		r.k.debts.owe(c.Path, since)
	}
	r.wants = append(r.wants, want{
		path: c.Path, plain: c.plain, size: c.Facts.Size, owed: since > 0,
		alone: c.Kind == journal.KindLink && c.sequence == 0,
	})
}

// without handles an answer that brought nothing. It comes after all entries
// that the primary sent before.
func (r *recorder) without(c *change) error {
	w := c.answers
	item, err := r.tx.Lookup(c.Path)
	unknown := errors.Is(err, catalog.ErrNotFound)
	if err != nil && !unknown {
		return err
	}
	switch {
	case r.k.m.isDerived(c.Path):
		return r.withoutDerived(c, item, unknown)
	case c.Outcome == wire.Unreadable && item.Guess.Known():
		// What is here stays what is taken to be the primary's.
		return nil
	case c.Outcome == wire.Unreadable:
		// What the mirror has under that name stays in the store.
		r.k.debts.pay(c.Path)
		if w.facts.Type != journal.TypeFile || !unknown && item.Facts.Type != journal.TypeFile {
			return nil
		}
		return r.lack(c.Path, w.facts)
	case !unknown && item.Missing && w.round:
		// It is owed until an entry says what became of it.
		r.k.debts.owe(c.Path, r.k.debts.floor)
	case unknown && c.Outcome == wire.Changed && w.tries < maxTries:
		// Entries that only change attributes do not bring the content.
		again := *w
		again.tries++
		r.wants = append(r.wants, again)
	}
	return nil
}

// moveOrLink handles a file that got another name. Its facts do not travel.
func (r *recorder) moveOrLink(c *change) error {
	from, err := r.tx.Lookup(c.From)
	unknown := errors.Is(err, catalog.ErrNotFound)
	if err != nil && !unknown {
		return err
	}
	if c.Kind == journal.KindMove {
		defer r.k.debts.pay(c.From)
	}
	if unknown || from.Facts.Type == journal.TypeDirectory {
		return r.unknown(c)
	}
	c.Facts = from.Facts
	if c.missing {
		return r.lost(c)
	}
	if from.Missing {
		r.owe(c)
	} else {
		r.k.debts.pay(c.Path)
	}
	if err := r.apply(c); err != nil || c.link == 0 {
		return err
	}
	for _, p := range []journal.Path{c.From, c.Path} {
		item, err := r.tx.Lookup(p)
		if err != nil {
			return err
		}
		item.Link = c.link
		if err := r.tx.Put(p, item); err != nil {
			return err
		}
	}
	return nil
}

// unknown handles another name of a file of which the catalog knows nothing:
// a comparison has not come to it yet. Nothing of it was ever acknowledged.
func (r *recorder) unknown(c *change) error {
	if !r.k.resync.running {
		r.compareLater(c.Path.Dir())
	}
	r.wants = append(r.wants, want{path: c.Path})
	return r.lack(c.Path, journal.Facts{})
}

// lost handles another name of a file that the catalog knows and the store
// does not have.
func (r *recorder) lost(c *change) error {
	if c.Kind == journal.KindMove {
		if err := r.tx.Remove(c.From); err != nil {
			return err
		}
	}
	if c.Facts.Type != journal.TypeFile {
		r.compareLater(c.Path.Dir())
		return r.tx.Remove(c.Path)
	}
	r.owe(c)
	return r.lack(c.Path, c.Facts)
}

// moveDir handles a directory that was moved. If it was not here, or nothing
// is known of it, a comparison has to tell what is in it.
func (r *recorder) moveDir(c *change) error {
	from, err := r.tx.Lookup(c.From)
	unknown := errors.Is(err, catalog.ErrNotFound)
	if err != nil && !unknown {
		return err
	}
	r.k.debts.forget(c.Path)
	for _, p := range r.k.debts.move(c.From, c.Path) {
		r.wants = append(r.wants, want{path: p})
	}
	if c.missing || unknown || from.Facts.Type != journal.TypeDirectory {
		r.compareLater(c.Path)
		facts := from.Facts
		facts.Type = journal.TypeDirectory
		if err := errors.Join(r.tx.Remove(c.From), r.tx.Remove(c.Path)); err != nil {
			return err
		}
		return r.tx.Put(c.Path, catalog.Item{Facts: facts, Stamp: c.stamp})
	}
	if r.k.resync.running {
		// What was to be compared beneath the old name is beneath this one.
		r.compareLater(c.Path)
	}
	c.Facts = from.Facts
	return r.apply(c)
}

// setAttributes passes over what is not known: a comparison that goes on comes
// to it, or has asked for it; else one is needed.
func (r *recorder) setAttributes(c *change) error {
	item, err := r.tx.Lookup(c.Path)
	if errors.Is(err, catalog.ErrNotFound) {
		if !r.k.resync.running {
			r.compareLater(c.Path.Dir())
		}
		return nil
	}
	if err != nil {
		return err
	}
	if c.assumed != nil {
		return r.assume(c, item)
	}
	if item.Facts.Type != c.Facts.Type {
		return nil // an entry that follows has replaced it, or the digests differ
	}
	if !item.Missing && !sameContent(&item.Facts, &c.Facts) {
		return r.ofAnother(c, item)
	}
	if item.Missing && r.k.debts.has(c.Path) {
		r.wants = append(r.wants, want{path: c.Path})
	}
	if err := r.apply(c); err != nil || !c.missing {
		return err
	}
	if item, err = r.tx.Lookup(c.Path); err != nil {
		return err
	}
	return r.lack(c.Path, item.Facts)
}

// ofAnother handles new attributes of a file that has another content here: a
// comparison has not come to it yet. The catalog must not say that it has the
// content which the entry speaks of, or no comparison would ever find out.
func (r *recorder) ofAnother(c *change, item catalog.Item) error {
	if !r.k.resync.running {
		r.compareLater(c.Path.Dir())
	}
	item.Facts.Attr, item.Stamp = c.Facts.Attr, c.stamp
	return r.tx.Put(c.Path, item)
}

// sameContent reports whether two files may have the same content, as far as that
// is known.
func sameContent(f, g *journal.Facts) bool {
	return f.Type != journal.TypeFile ||
		f.Size == g.Size && (f.Content == g.Content || !f.Content.Known() || !g.Content.Known())
}
