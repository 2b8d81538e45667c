package mirror

import (
	"errors"
	"slices"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/journal/watch"
)

// Files of watch.ClassDerived (the index of a mailbox) tell of messages, and
// must never tell of what is not there yet. So they are
//
//   - put in place in the order in which they come, and not while one that goes
//     before is lacking: what is there stays, which is older and belongs
//     together;
//   - not taken from entries while catalogs are compared: an entry overtakes
//     the contents that are on their way. They are asked for afterwards;
//   - never owed: nothing is lost with them, so that they hold up no
//     acknowledgement and do not count as missing.

// isDerived reports whether a file at p is one that may come later than all
// others.
func (m *Mirror) isDerived(p journal.Path) bool {
	return m.cfg.Rules.Classify(p, journal.TypeFile) == watch.ClassDerived
}

// before returns the files that are put in place before the derived file p.
func (m *Mirror) before(p journal.Path) []journal.Path {
	members := m.cfg.Rules.Members(p.Dir())
	first := slices.Clone(members[slices.Index(members, p)+1:])
	slices.Reverse(first)
	return first
}

// tooEarly reports whether a derived file must not be put in place yet.
func (k *committer) tooEarly(c *change, s *shelf) (bool, error) {
	if c.sequence > 0 && k.resync.running {
		return true, nil
	}
	early := false
	err := k.m.cfg.Catalog.View(func(t *catalog.Tx) error {
		for _, p := range k.m.before(c.Path) {
			if lacking, ok := s.lacking[p]; ok {
				early = early || lacking
				continue
			}
			it, err := t.Lookup(p)
			if err != nil && !errors.Is(err, catalog.ErrNotFound) {
				return err
			}
			early = early || it.Missing
		}
		return nil
	})
	return early, inCatalog(err)
}

// putLater notes that a derived file is lacking.
func (r *recorder) putLater(c *change) error {
	if c.sequence > 0 && !r.k.resync.running {
		r.wants = append(r.wants, want{path: c.Path, size: c.Facts.Size})
	}
	return r.lack(c.Path, c.Facts)
}

// withoutDerived handles an answer that brought no derived file: that it is
// lacking has to show in the catalog, for there may be no further entry soon.
// Should what is noted here be older than an entry that came meanwhile, then
// the digests find it.
func (r *recorder) withoutDerived(c *change, item catalog.Item, unknown bool) error {
	facts := c.answers.facts
	if facts.Type != journal.TypeFile || !unknown && (item.Missing || item.Facts.Type != journal.TypeFile) {
		return nil
	}
	return r.lack(c.Path, facts)
}

// askDerived asks for a derived file that is missing, and before it for those
// that are put in place before. It returns how many that are.
func (r *resync) askDerived(t *catalog.Tx, p journal.Path) (asked int, err error) {
	for _, q := range append(r.k.m.before(p), p) {
		it, err := t.Lookup(q)
		if err != nil && !errors.Is(err, catalog.ErrNotFound) {
			return asked, err
		}
		if _, twice := r.asking[q]; twice || !it.Missing {
			continue
		}
		r.want(want{path: q, size: it.Facts.Size, round: true})
		asked++
	}
	return asked, nil
}
