package mirror

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/journal/watch"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// maxKept bounds what one directory keeps back until its listing has come to
// an end. Beyond it a rename is taken for a removal and a new file, which costs
// a copy and nothing else.
const maxKept = 10000

// task is a directory to be compared.
type task struct {
	path      journal.Path
	parent    *task  // whose postponed files wait for this one
	waits     int    // message directories that are not compared yet
	postponed []want // control files of a mailbox, asked for behind its messages
	children  []*task
	again     bool  // not everything could be asked for: compare once more
	blind     bool  // asked for without a digest: the listing has none of subdirectories
	passes    int   // how often that was so
	alone     bool  // of the directories in it, only those of messages are compared
	since     int64 // not 0: only files that are not older are asked for
	partial   bool  // what is not listed may be there all the same
	listing
}

// listing is what a task knows while pages come.
type listing struct {
	from string // the pages so far ended before this name
	page *wire.Listing
	// removals are our names that the primary does not have. They wait for the
	// end of the listing: perhaps they are found under a new name.
	removals map[journal.Path]struct{}
	// renamed are those that were found so.
	renamed map[journal.Path]struct{}
	later   map[string]wire.Item // its names that may be new ones of names on a later page
}

// takeListing compares what the primary has in a directory with the catalog.
func (r *resync) takeListing(l *wire.Listing) error {
	if len(r.asked) == 0 || r.asked[0].path != l.Path {
		return fmt.Errorf("%w: a listing of %q was not asked for now", wire.ErrProtocol, string(l.Path))
	}
	t := r.asked[0]
	if err := checkListing(l, t.from); err != nil {
		return err
	}
	t.partial = t.partial || l.Partial
	if l.Outcome == wire.OK {
		d := &differ{resync: r, t: t}
		if err := r.k.m.cfg.Catalog.View(func(tx *catalog.Tx) error {
			d.tx = tx
			if t.since != 0 {
				return d.some(l)
			}
			return d.page(l)
		}); err != nil {
			return inCatalog(err)
		}
		r.progress.ChangesDone += uint64(len(d.changes))
		for _, c := range d.changes {
			if err := r.k.add(c); err != nil {
				return err
			}
		}
	}
	if !l.Last {
		return nil
	}
	return r.compared(t)
}

// compared ends a task.
func (r *resync) compared(t *task) error {
	r.asked = r.asked[1:]
	if t.partial {
		clear(t.removals)
	}
	t.partial = false
	maps.DeleteFunc(t.removals, func(p journal.Path, _ struct{}) bool { return r.k.m.broken(p) })
	r.progress.ChangesDone += uint64(len(t.removals))
	for _, p := range slices.Sorted(maps.Keys(t.removals)) {
		if err := r.k.add(removal(p)); err != nil {
			return err
		}
	}
	r.queueHeld()
	children := t.children
	t.listing, t.children = listing{}, nil
	r.progress.Directories -= min(1, r.progress.Directories)
	if t.again {
		t.again, t.postponed = false, nil
		t.passes++
		r.push(append(children, t)...)
		return nil
	}
	r.push(children...)
	if t.parent != nil {
		t.parent.waits--
		if err := r.release(t.parent); err != nil {
			return err
		}
	}
	return r.release(t)
}

// release asks for the control files of a mailbox when its messages were. Those
// that are derived are noted as lacking: what they tell of may have to be asked
// for once more, so they are asked for when the comparison has ended.
func (r *resync) release(t *task) error {
	if t.waits > 0 {
		return nil
	}
	for _, w := range t.postponed {
		if !r.k.m.isDerived(w.path) {
			r.want(w)
			continue
		}
		ch := &change{}
		ch.Kind, ch.Path, ch.Facts, ch.Outcome = journal.KindPut, w.path, w.facts, wire.Changed
		if err := r.k.add(ch); err != nil {
			return err
		}
	}
	t.postponed = nil
	return nil
}

// overtake takes note of an entry that changes a directory of which a part of
// the listing has come: it is newer than that part.
func (r *resync) overtake(c *change) {
	if len(r.asked) == 0 || r.asked[0].from == "" {
		return // only the first can have begun
	}
	t := r.asked[0]
	for _, p := range []journal.Path{c.Path, c.From} {
		if p == "" {
			continue
		}
		if t.path.Within(p) && c.Kind != journal.KindSetAttributes {
			clear(t.removals)
			clear(t.later)
		}
		if p != journal.Root && p.Dir() == t.path {
			delete(t.removals, p)
			delete(t.later, p.Name())
		}
	}
}

// differ compares one page.
type differ struct {
	*resync
	tx      *catalog.Tx
	t       *task
	changes []*change
}

var errPageEnd = errors.New("end of the page")

// page merges one page of a listing with the names of the catalog in the same
// range.
func (d *differ) page(l *wire.Listing) error {
	t := d.t
	if t.from == "" {
		if err := d.itself(l.Facts); err != nil {
			return err
		}
	}
	t.page = l
	theirs := l.Items
	end := ""
	if !l.Last {
		end = theirs[len(theirs)-1].Name
	}
	err := d.tx.List(t.path, t.from, func(name string, ours catalog.Item) error {
		for ; len(theirs) > 0 && theirs[0].Name < name; theirs = theirs[1:] {
			if err := d.added(&theirs[0]); err != nil {
				return err
			}
		}
		if end != "" && name > end {
			return errPageEnd
		}
		if len(theirs) > 0 && theirs[0].Name == name {
			it := &theirs[0]
			theirs = theirs[1:]
			return d.both(it, ours)
		}
		d.removed(t.path.Join(name))
		return nil
	})
	if err != nil && !errors.Is(err, errPageEnd) && !errors.Is(err, catalog.ErrNotFound) {
		return err
	}
	for i := range theirs {
		if err := d.added(&theirs[i]); err != nil {
			return err
		}
	}
	t.from = end + "\x00"
	if !l.Last {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(t.later)) {
		it := t.later[name]
		if err := d.added(&it); err != nil {
			return err
		}
	}
	return nil
}

// itself compares what the directory is.
func (d *differ) itself(f journal.Facts) error {
	f.Type = journal.TypeDirectory
	ours, err := d.tx.Lookup(d.t.path)
	if errors.Is(err, catalog.ErrNotFound) {
		d.change(journal.KindMakeDir, d.t.path, f)
		return nil
	}
	if err != nil || sameAttributes(ours.Facts.Attr, f.Attr) {
		return err
	}
	d.change(journal.KindSetAttributes, d.t.path, f)
	return nil
}

// removed handles a name that only the mirror has.
func (d *differ) removed(p journal.Path) {
	if _, renamed := d.t.renamed[p]; renamed {
		return
	}
	if len(d.t.removals) >= maxKept {
		if !d.t.partial {
			d.add(removal(p))
		}
		return
	}
	if d.t.removals == nil {
		d.t.removals = make(map[journal.Path]struct{})
	}
	d.t.removals[p] = struct{}{}
}

// added handles a name that only the primary has.
func (d *differ) added(it *wire.Item) error {
	p := d.t.path.Join(it.Name)
	switch it.Facts.Type {
	case journal.TypeDirectory:
		d.descend(p)
		d.change(journal.KindMakeDir, p, it.Facts)
		return nil
	case journal.TypeSymlink:
		d.change(journal.KindSymlink, p, it.Facts)
		return nil
	default:
	}
	if done, err := d.rename(it); done || err != nil {
		return err
	}
	return d.bring(p, it)
}

// bring sees to a file that is not here.
func (d *differ) bring(p journal.Path, it *wire.Item) error {
	if done, err := d.linked(p, it); done || err != nil {
		return err
	}
	w := want{path: p, size: it.Facts.Size, link: it.Link, facts: it.Facts, turn: it.Turn}
	if !it.Facts.Content.Known() || !d.isMessage(p) {
		d.fetch(w)
		return nil // control files keep their turn behind the messages
	}
	paths, err := d.tx.FindContent(it.Facts.Content)
	if err != nil {
		return err
	}
	if len(paths) == 0 && it.Facts.Size > 0 {
		d.fetch(w)
		return nil
	}
	ch := &change{link: it.Link}
	ch.Kind, ch.Path, ch.Facts, ch.Outcome = journal.KindPut, p, it.Facts, wire.OK
	d.add(ch)
	return nil
}

// both handles a name that both have.
func (d *differ) both(it *wire.Item, ours catalog.Item) error {
	p := d.t.path.Join(it.Name)
	if it.Facts.Type != ours.Facts.Type {
		d.add(removal(p))
		return d.added(it)
	}
	same := sameAttributes(it.Facts.Attr, ours.Facts.Attr)
	switch it.Facts.Type {
	case journal.TypeDirectory:
		if d.t.blind || it.Digest != ours.Digest {
			d.descend(p)
		}
	case journal.TypeSymlink:
		if it.Facts.Target != ours.Facts.Target || !same {
			d.change(journal.KindSymlink, p, it.Facts)
			return nil
		}
		return nil
	case journal.TypeFile:
		if d.equal(p, it, ours) || ours.Missing && d.cannotHave(p, it, ours) {
			return nil
		}
		if theirs := it.Facts.Content; ours.Missing || !theirs.Known() || theirs != ours.Facts.Content {
			w := want{path: p, size: it.Facts.Size, link: it.Link, facts: it.Facts, turn: it.Turn}
			if !ours.Missing && !theirs.Known() {
				w.have = ownContent(ours)
			}
			d.fetch(w)
			return nil
		}
	}
	if same {
		return nil
	}
	d.change(journal.KindSetAttributes, p, it.Facts)
	return nil
}

// rename finds out whether a message that is new under this name was here
// under another one: then it is renamed, and both names are never there at one
// time.
func (d *differ) rename(it *wire.Item) (bool, error) {
	p := d.t.path.Join(it.Name)
	if !d.isMessage(p) {
		return false, nil
	}
	from, ours, later, err := d.earlierName(it)
	if later && len(d.t.later) < maxKept {
		if d.t.later == nil {
			d.t.later = make(map[string]wire.Item)
		}
		d.t.later[it.Name] = *it
		return true, err
	}
	if from == "" || err != nil {
		return false, err
	}
	delete(d.t.removals, from)
	if d.t.renamed == nil {
		d.t.renamed = make(map[journal.Path]struct{})
	}
	d.t.renamed[from] = struct{}{}
	ch := &change{}
	ch.Kind, ch.Path, ch.From, ch.Outcome = journal.KindMove, p, from, wire.OK
	d.add(ch)
	switch theirs := it.Facts.Content; {
	case d.equal(p, it, ours):
	case theirs.Known() && theirs == ours.Facts.Content:
		d.change(journal.KindSetAttributes, p, it.Facts)
	default:
		d.fetch(want{path: p, size: it.Facts.Size, link: it.Link, have: ownContent(ours), facts: it.Facts, turn: it.Turn})
	}
	return true, nil
}

// earlierName returns the name that a message has on the mirror, in the same
// directory or in new/, and no longer has on the primary; "" if there is none.
// It reports true if a later page decides.
func (d *differ) earlierName(it *wire.Item) (found journal.Path, item catalog.Item, later bool, err error) {
	names := d.k.m.cfg.Rules
	base := names.Base(it.Name)
	dirs := []journal.Path{d.t.path}
	if d.t.path.Name() == "cur" { // nothing ever goes back to new/
		dirs = append(dirs, d.t.path.Dir().Join("new"))
	}
	for _, dir := range dirs {
		err := d.tx.ListPrefix(dir, base, func(name string, ours catalog.Item) error {
			_, taken := d.t.renamed[dir.Join(name)]
			if taken || names.Base(name) != base || !sameMessage(ours, it.Facts) {
				return nil
			}
			if dir == d.t.path {
				has, unknown := d.primaryHas(name)
				if later = later || unknown; has || unknown {
					return nil
				}
			}
			found, item = dir.Join(name), ours
			return errPageEnd
		})
		if err != nil && !errors.Is(err, errPageEnd) && !errors.Is(err, catalog.ErrNotFound) {
			return "", item, false, err
		}
		if found != "" || later {
			break
		}
	}
	return found, item, later && found == "", nil
}

// primaryHas reports whether the primary has a name in the directory, and
// whether that is for a later page to tell.
func (d *differ) primaryHas(name string) (has, unknown bool) {
	items := d.t.page.Items
	if len(items) > 0 && name >= items[0].Name && name <= items[len(items)-1].Name {
		_, has = slices.BinarySearchFunc(items, name, func(it wire.Item, name string) int { return strings.Compare(it.Name, name) })
		return has, false
	}
	if len(items) > 0 && name > items[len(items)-1].Name {
		return false, !d.t.page.Last
	}
	// Before this page: what the primary lacks there is among the removals.
	_, lacks := d.t.removals[d.t.path.Join(name)]
	return !lacks && name < d.t.from, false
}

// sameMessage reports whether our file can be the primary's.
func sameMessage(ours catalog.Item, theirs journal.Facts) bool {
	if ours.Facts.Type != journal.TypeFile || ours.Missing || ours.Facts.Size != theirs.Size {
		return false
	}
	mine := ownContent(ours)
	if theirs.Content.Known() && mine.Known() {
		return theirs.Content == mine
	}
	// The unique part of the name and the size are enough for what is proven
	// later, and a copy need not have kept the time.
	return mine.Known() || ours.Facts.Attr.MTime == theirs.Attr.MTime
}

// descend compares a directory beneath, if that is of interest.
func (d *differ) descend(p journal.Path) {
	sub := &task{path: p}
	messages := d.isMessage(p.Join("1"))
	if d.t.alone && !messages {
		return
	}
	if n := len(d.t.children); n >= tasksEach && n+len(d.todo) >= tasksKept {
		d.t.again = d.t.passes < maxPasses
		return
	}
	if messages {
		sub.parent = d.t
		d.t.waits++
	}
	d.t.children = append(d.t.children, sub)
}

// fetch asks for a content; a control file waits for the messages beside it.
func (d *differ) fetch(w want) {
	if _, asked := d.asking[w.path]; asked {
		return
	}
	switch {
	case len(d.queue)+len(d.held)+len(d.t.postponed) >= fetchesKept:
		d.t.again = d.t.passes < maxPasses
	case d.isMessage(w.path):
		w.late = d.t.since != 0
		d.hold(w)
	default:
		d.t.postponed = append(d.t.postponed, w)
	}
}

func (d *differ) add(c *change) { d.changes = append(d.changes, c) }

func (d *differ) change(kind journal.Kind, p journal.Path, f journal.Facts) {
	ch := &change{}
	ch.Kind, ch.Path, ch.Facts, ch.Outcome = kind, p, f, wire.OK
	d.add(ch)
}

// removal removes a name that the primary does not have. Whether it is a
// directory is seen when it is removed.
func removal(p journal.Path) *change {
	ch := &change{compared: true}
	ch.Kind, ch.Path, ch.Outcome = journal.KindRemoveDir, p, wire.OK
	return ch
}

func sameAttributes(a, b journal.Attributes) bool {
	return a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID && a.MTime == b.MTime &&
		slices.EqualFunc(a.Xattrs, b.Xattrs, func(x, y journal.Xattr) bool {
			return x.Name == y.Name && string(x.Value) == string(y.Value)
		})
}

// isMessage reports whether a file at p is a message.
func (r *resync) isMessage(p journal.Path) bool {
	return r.k.m.cfg.Rules.Classify(p, journal.TypeFile) == watch.ClassMessage
}
