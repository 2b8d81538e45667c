package mirror

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/zeebo/blake3"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// metaVersions holds, in the catalog, which contents a group gives to the names that it
// gives more than one. It is there from before the group changes the store until the
// catalog has all of its entries.
const metaVersions = "mirror.versions"

const versionsFormat = 1

// maxNoted bounds the contents that are noted: two groups have less.
const maxNoted = 4 * maxAgain

var (
	errVersions      = errors.New("the note of what a group was to put is damaged")
	errVersionsNewer = errors.New("the note of what a group was to put is of a newer version of mailtwin")
)

// version is a content that an entry gives to a name, or an answer behind that entry.
type version struct {
	entry   journal.Sequence
	content journal.ContentID // of a symbolic link, that of linkID
}

// versions are the contents of some names, each in their order.
type versions map[journal.Path][]version

// add adds a version; one that is there already is no other one.
func (v versions) add(p journal.Path, more ...version) {
	for _, one := range more {
		if !slices.Contains(v[p], one) {
			v[p] = append(v[p], one)
		}
	}
}

// after returns the versions of entries behind last.
func (v versions) after(last journal.Sequence) versions {
	left := make(versions)
	for p, all := range v {
		for _, one := range all {
			if one.entry > last {
				left.add(p, one)
			}
		}
	}
	return left
}

// with returns these versions and more, unless all of them are too many.
func (v versions) with(more versions) versions {
	all := make(versions)
	for _, some := range []versions{v, more} {
		for p, list := range some {
			all.add(p, list...)
		}
	}
	if all.count() > maxNoted {
		return more
	}
	return all
}

func (v versions) count() (n int) {
	for _, all := range v {
		n += len(all)
	}
	return n
}

// last returns the last entry that gave p this content; 0 if none is known to.
func (v versions) last(p journal.Path, content journal.ContentID) (last journal.Sequence) {
	for _, one := range v[p] {
		if one.content == content {
			last = max(last, one.entry)
		}
	}
	return last
}

// The note as it is kept. Paths are bytes, which JSON keeps as they are.
type (
	notedVersions struct {
		Version int           `json:"version"`
		Epoch   journal.Epoch `json:"epoch"` // of the primary that sent the entries
		Names   []notedName   `json:"names"`
	}
	notedName struct {
		Path []byte     `json:"path"`
		Puts []notedPut `json:"puts"`
	}
	notedPut struct {
		Entry   journal.Sequence `json:"entry"`
		Content []byte           `json:"content"`
	}
)

func (v versions) marshal(epoch journal.Epoch) ([]byte, error) {
	out := notedVersions{Version: versionsFormat, Epoch: epoch}
	for _, p := range slices.Sorted(maps.Keys(v)) {
		name := notedName{Path: []byte(p)}
		for _, one := range slices.SortedStableFunc(slices.Values(v[p]), func(a, b version) int { return cmp.Compare(a.entry, b.entry) }) {
			name.Puts = append(name.Puts, notedPut{one.entry, one.content[:]})
		}
		out.Names = append(out.Names, name)
	}
	return json.Marshal(out)
}

// parseVersions reads a note. Of entries of another primary's it says nothing.
func parseVersions(data []byte, epoch journal.Epoch) (versions, error) {
	var form struct {
		Version int `json:"version"`
	}
	var in notedVersions
	switch err := json.Unmarshal(data, &form); {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errVersions, err)
	case form.Version > versionsFormat:
		return nil, errVersionsNewer
	case form.Version < 1:
		return nil, errVersions
	}
	if err := json.Unmarshal(data, &in); err != nil {
		return nil, fmt.Errorf("%w: %w", errVersions, err)
	}
	v, count := make(versions), 0
	for _, name := range in.Names {
		for _, put := range name.Puts {
			count++
			if len(put.Content) != len(journal.ContentID{}) || put.Entry == 0 || count > maxNoted {
				return nil, errVersions
			}
			v.add(journal.Path(name.Path), version{put.Entry, journal.ContentID(put.Content)})
		}
	}
	if in.Epoch != epoch {
		return nil, nil
	}
	return v, nil
}

// linkID stands for the content of a symbolic link.
func linkID(target string) journal.ContentID {
	return journal.ContentID(blake3.Sum256([]byte("-> " + target)))
}

// versions returns what the group puts under the names that it puts more than once.
func (g *group) versions() versions {
	if g.trail.again == 0 {
		return nil
	}
	v := make(versions)
	var last journal.Sequence
	for _, c := range g.changes {
		last = max(last, c.sequence)
		if id, puts := c.puts(); puts && last > 0 {
			v.add(c.Path, version{last, id})
		}
	}
	maps.DeleteFunc(v, func(_ journal.Path, all []version) bool { return len(all) < 2 })
	return v
}

// puts returns which content a change gives to its name, if it gives it one.
func (c *change) puts() (id journal.ContentID, puts bool) {
	switch {
	case c.Kind == journal.KindSymlink:
		return linkID(c.Facts.Target), true
	case c.Kind != journal.KindPut, c.settle, c.missing:
		return id, false
	case c.file != nil:
		return c.file.id, true
	}
	return c.Facts.Content, c.Facts.Content.Known()
}

// findReached finds out which changes need not be made because the store has what they
// make, or what came later in its place: a group that the catalog does not have made
// that before. It would have to make the later one once more, and until then there would
// be an older uidlist beside newer messages, or a log that ends before its index.
func (k *committer) findReached(changes []*change) error {
	if len(k.noted.versions) == 0 {
		return nil
	}
	here := make(map[journal.Path]journal.ContentID)
	for _, c := range changes {
		if k.noted.versions[c.Path] == nil || c.sequence == 0 {
			continue
		}
		id, puts := c.puts()
		if !puts && c.Kind != journal.KindSetAttributes || c.Kind == journal.KindPut && c.Outcome != wire.OK {
			continue
		}
		content, looked := here[c.Path]
		if !looked {
			var err error
			if content, err = k.applier.contentOf(c.Path); err != nil {
				return inStore(err, "look at", c.Path)
			}
			here[c.Path] = content
		}
		last := k.noted.versions.last(c.Path, content)
		c.reached = last > 0 && c.sequence <= last
		c.same = c.reached && puts && c.sequence == last && id == content
	}
	return nil
}

// contentOf returns the content of what is at p; not known if there is none, or it cannot
// be read.
func (a *applier) contentOf(p journal.Path) (id journal.ContentID, err error) {
	d, info, found, err := a.source(p, false)
	if err != nil || !found {
		return id, err
	}
	if info.Facts.Type == journal.TypeSymlink {
		target, err := d.Readlink(p.Name())
		if err != nil {
			return id, nil //nolint:nilerr // it is replaced
		}
		return linkID(target), nil
	}
	if id, err = hashFile(d, p.Name()); err != nil {
		return journal.ContentID{}, nil //nolint:nilerr // the same
	}
	return id, nil
}

// keep leaves what is there, which may not have been made durable. Where it is not what
// the change makes, the catalog gets no stamp of it, so that whoever looks at the store
// before the later entry has come finds out.
func (a *applier) keep(c *change) error {
	a.touch(c.Path.Dir())
	if !c.same {
		return nil
	}
	if err := a.setAttributes(c); err != nil {
		return err
	}
	c.missing = c.stamp.Inode == 0
	return nil
}

// recall reads what is noted of groups before this stream. A note of versions that
// cannot be read is passed over: without it nothing is lost, but what is done again may
// be older for a moment.
func (k *committer) recall() error {
	if k.noted.read {
		return nil
	}
	var data []byte
	err := k.m.cfg.Catalog.View(func(t *catalog.Tx) (err error) {
		if err = t.MetaJSON(metaMoves, &k.noted.moves); err != nil {
			return err
		}
		if data, err = t.Meta(metaVersions); errors.Is(err, catalog.ErrNotFound) {
			err = nil
		}
		return err
	})
	if err != nil {
		return inCatalog(err)
	}
	if data != nil {
		all, err := parseVersions(data, k.epoch)
		if err != nil {
			k.m.cfg.Log.Warn("what was done before a crash is done again without regard to what is there", "reason", err)
		}
		k.noted.versions = all.after(k.applied)
	}
	k.noted.read = true
	return nil
}

// writeVersions keeps versions beside those that are noted.
func (n noted) writeVersions(t *catalog.Tx, epoch journal.Epoch, more versions) error {
	all := n.versions.with(more)
	if len(all) == 0 {
		return t.SetMeta(metaVersions, nil)
	}
	data, err := all.marshal(epoch)
	if err != nil {
		return err
	}
	return t.SetMeta(metaVersions, data)
}
