package watch

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// metaInherited holds, in a catalog that was a mirror's and that said then what was
// in its store, when that was: the text of a Moment. It is there until the first scan
// has found what is not in the store.
const metaInherited = "watch.inherited"

// metaTroubled holds, while metaInherited is there and when a scan has been everywhere,
// which names were still to be decided of then, as troubledText puts it. Nothing but
// those, and what is in them, may be lost since.
const metaTroubled = "watch.inherited.troubled"

// Moment is one moment by two clocks.
type Moment struct {
	Store time.Time // by that of the machine which has the store: files are stamped with it
	Node  time.Time // by that of the node
}

func (m Moment) before(d time.Duration) Moment { return Moment{m.Store.Add(-d), m.Node.Add(-d)} }

// text is both as nanoseconds since 1970, in decimal, with a space between them.
func (m Moment) text() []byte {
	return fmt.Appendf(nil, "%d %d", m.Store.UnixNano(), m.Node.UnixNano())
}

// parseMoment is the reverse of text. Where there is one number, both clocks were
// taken for the same.
func parseMoment(text string) (Moment, error) {
	store, node, two := strings.Cut(text, " ")
	if !two {
		node = store
	}
	s, err := strconv.ParseInt(store, 10, 64)
	n, nerr := strconv.ParseInt(node, 10, 64)
	if err = errors.Join(err, nerr); err != nil {
		return Moment{}, fmt.Errorf("until when the store was a mirror's: %w", err)
	}
	return Moment{Store: time.Unix(0, s), Node: time.Unix(0, n)}, nil
}

// findInherited finds until when the store was a mirror's, and what may be lost since.
func (w *Watcher) findInherited() error {
	return w.cfg.Catalog.View(func(tx *catalog.Tx) error {
		value, err := tx.Meta(metaInherited)
		if errors.Is(err, catalog.ErrNotFound) {
			return nil
		}
		if err == nil {
			w.inherited, err = parseMoment(string(value))
		}
		if err == nil {
			value, err = tx.Meta(metaTroubled)
		}
		if errors.Is(err, catalog.ErrNotFound) {
			return nil
		}
		if err == nil {
			w.troubled, err = parseTroubled(value)
		}
		if err != nil {
			return fmt.Errorf("what the store lost as a mirror's: %w", err)
		}
		return nil
	})
}

// endInherited forgets until when the store was a mirror's, when a scan has found all
// that the mirror had lost, and that is decided: nothing is left to be looked at that
// may be gone, whether the scan has come upon it in a listing or by another way. What
// is removed from then on is not taken for lost, whatever the clocks say. Where
// something cannot be read for long, it is forgotten for everything else.
func (w *Watcher) endInherited() error {
	if w.inherited == (Moment{}) || !w.sought || w.forgotten != w.found || !w.dirty.calm() ||
		w.troubled == nil && w.agenda.deciding() > maxTroubled {
		return nil
	}
	left := w.agenda.undecided(w.mayBeLost)
	if len(left) > 0 {
		return w.narrowInherited(left)
	}
	err := w.cfg.Catalog.UpdateDurably(func(tx *catalog.Tx) error {
		return errors.Join(tx.SetMeta(metaInherited, nil), tx.SetMeta(metaTroubled, nil))
	})
	if err == nil {
		w.inherited, w.troubled = Moment{}, nil
	}
	return err
}

// narrowInherited has nothing but these names, and what is in them, be what may be
// lost, if that was not said before. They stay so until none of them is to be decided.
func (w *Watcher) narrowInherited(left []journal.Path) error {
	if w.troubled != nil {
		return nil
	}
	troubled := make(map[journal.Path]struct{}, len(left))
	for _, p := range left {
		troubled[p] = struct{}{}
	}
	text, err := troubledText(left)
	if err == nil {
		err = w.cfg.Catalog.UpdateDurably(func(tx *catalog.Tx) error { return tx.SetMeta(metaTroubled, text) })
	}
	if err == nil {
		w.troubled = troubled
	}
	return err
}

// mayBeLost reports whether a name is one of which it is not decided since this node
// was a mirror whether it is there, or is in such a one.
func (w *Watcher) mayBeLost(p journal.Path) bool {
	for ; w.troubled != nil; p = p.Dir() {
		if _, ok := w.troubled[p]; ok || p == journal.Root {
			return ok
		}
	}
	return true
}

// stillComes reports whether a file is one whose content is still to come, or a
// directory one that is itself.
func (w *Watcher) stillComes(it *catalog.Item) bool {
	return (it.Missing || it.Facts.Type == journal.TypeDirectory && it.Stamp.Inode == 0) && !w.giveUp.Load()
}

// lostIn reports whether what is gone from a directory was lost by the mirror that
// this node was, and not removed by those who use the mail: the directory has not
// changed since. It is to be asked behind the look at the names, and as soon as they
// are missed: mail may come there before it is confirmed that they are gone. A clock
// that was set back would have it unchanged for hours, with all that is removed
// meanwhile.
func (w *Watcher) lostIn(d *beneath.Dir, p journal.Path) bool {
	if w.inherited == (Moment{}) || w.cfg.Clock.Now().Before(w.inherited.Node) || w.giveUp.Load() || w.doubts.adopted(p) {
		return false
	}
	info, err := d.Info()
	return err == nil && max(info.Stamp.Change, info.DirMTime) < w.inherited.Store.UnixNano()
}

// former reports whether the catalog has had a name since this node was a mirror. One
// that it got afterwards was seen, so that nobody but a user can have removed it. So
// was one that a scan has found in its place.
func (w *Watcher) former(p journal.Path, it *catalog.Item) bool {
	return it.Stamp.Change < w.inherited.Store.UnixNano() && w.mayBeLost(p)
}

// formerOf returns those of the names that are former.
func (c *cycle) formerOf(names []journal.Path) (former []journal.Path, err error) {
	for _, p := range names {
		it, err := c.tx.Lookup(p)
		switch {
		case errors.Is(err, catalog.ErrNotFound):
		case err != nil:
			return nil, err
		case c.former(p, &it):
			former = append(former, p)
		}
	}
	return former, nil
}

// wasLost reports whether a name that is gone was noted as lost, and is to be kept.
func (c *cycle) wasLost(p journal.Path) bool {
	w := c.agenda.get(p)
	return (c.losing || w != nil && w.lost) && !c.giveUp.Load() && !c.doubts.adopted(p.Dir())
}

// loseNow keeps names of one directory that were lost and did not come on the agenda,
// for want of room: nobody would know later that they were.
func (w *Watcher) loseNow(dir journal.Path, names []journal.Path) error {
	names = slices.DeleteFunc(names, func(p journal.Path) bool { return w.agenda.get(p) != nil })
	for more := len(names) > 0; more; {
		err := w.cycle(nil, func(c *cycle) error {
			c.losing, more = true, false
			d := c.dir(dir)
			if d.err != nil {
				return nil //nolint:nilerr // it is the directory's, and no end of observing
			}
			gone, err := c.confirmed(d.Dir, dir, names)
			if err == nil {
				_, err = c.loseAll(dir, gone) // the others are found by a listing again
			}
			more = c.spent
			return errors.Join(err, c.ctx.Err())
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// maxLost bounds what is noted as lost in one cycle.
const maxLost = 10 * maxCycleEntries

// loseAll keeps names that were lost, so that whoever has them keeps them: a file
// becomes one whose content never came, and a directory one that never came, with all
// in it. It returns those of which that cannot be said.
func (c *cycle) loseAll(dir journal.Path, gone []goneName) (others []goneName, err error) {
	lost, left := 0, maxLost
	for _, g := range gone {
		kept := false
		if g.absent && left > 0 && c.wasLost(g.path) {
			if kept, err = c.loseItem(g.path, g.item, &left); err != nil {
				return nil, err
			}
		}
		switch {
		case left <= 0 && c.losing:
			c.spent = true
		case left <= 0:
			c.again(g.path) // there is more of it
		case kept:
			lost++
			c.resolved(g.path)
		default:
			others = append(others, g)
		}
	}
	c.changed = c.changed || left < maxLost
	if lost > 0 {
		c.cfg.Log.Warn("this node has lost what it had as a mirror: it is kept as missing", "directory", string(dir), "names", lost)
	}
	return others, nil
}

// loseItem keeps one name, and reports false if it cannot; left is how many more may
// be looked at now.
func (c *cycle) loseItem(p journal.Path, it catalog.Item, left *int) (bool, error) {
	switch it.Facts.Type {
	case journal.TypeFile:
		*left--
		if c.cfg.Rules.Classify(p, it.Facts.Type) == ClassDerived {
			return false, nil
		}
		return true, c.tx.Put(p, catalog.Item{Facts: it.Facts, Missing: true})
	case journal.TypeDirectory:
		return true, c.loseDir(p, it, left)
	default:
		*left--
		return false, nil
	}
}

// loseDir is lose for a directory: one that never came has no stamp. It gets that
// when all in it is noted.
func (c *cycle) loseDir(p journal.Path, it catalog.Item, left *int) error {
	var in []journal.Path
	err := c.tx.List(p, "", func(name string, it catalog.Item) error {
		if !c.stillComes(&it) {
			in = append(in, p.Join(name))
		}
		if len(in) >= *left {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	for _, q := range in {
		it, err := c.tx.Lookup(q)
		if err == nil {
			_, err = c.loseItem(q, it, left)
		}
		if err != nil {
			return err
		}
	}
	if *left--; *left <= 0 {
		return nil
	}
	c.unwatch(p)
	c.settler.forget(p)
	c.snapshots.forget(p)
	it.Stamp, it.Observed = journal.Stamp{}, 0
	return c.tx.Put(p, it)
}
