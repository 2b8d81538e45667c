package mirror

import (
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/zeebo/blake3"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// file is a file of the model, message-like by default.
type file struct {
	data   string
	target string // a symbolic link
	dir    bool
	mtime  int64
	mode   uint32
	link   uint64
}

func text(data string) file { return file{data: data, mtime: 1e18 + int64(len(data)), mode: 0o600} }

func (f file) facts() journal.Facts {
	out := journal.Facts{Type: journal.TypeFile, Attr: journal.Attributes{
		Mode: f.mode, UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), MTime: f.mtime,
	}}
	switch {
	case f.dir:
		out.Type, out.Attr.MTime, out.Attr.Mode = journal.TypeDirectory, 0, 0o700
	case f.target != "":
		out.Type, out.Target, out.Attr.Mode = journal.TypeSymlink, f.target, 0o777
	default:
		out.Size, out.Content = int64(len(f.data)), contentID(f.data)
	}
	return out
}

func contentID(data string) journal.ContentID { return journal.ContentID(blake3.Sum256([]byte(data))) }

// entry is one entry of a script, with its content.
type entry struct {
	wire.Entry
	data  string
	bring bool // the content travels with it
}

// put is an entry that brings its content.
func put(p string, f file) entry {
	e := entry{data: f.data, bring: len(f.data) > 0}
	e.Kind, e.Path, e.Facts, e.Outcome = journal.KindPut, journal.Path(p), f.facts(), wire.OK
	return e
}

// without is a put whose content does not come.
func without(p string, f file, o wire.Outcome) entry {
	e := put(p, f)
	e.bring, e.Outcome = false, o
	return e
}

func named(k journal.Kind, from, to string) entry {
	var e entry
	e.Kind, e.From, e.Path, e.Outcome = k, journal.Path(from), journal.Path(to), wire.OK
	return e
}

func does(k journal.Kind, p string, f file) entry {
	var e entry
	e.Kind, e.Path, e.Outcome = k, journal.Path(p), wire.OK
	if k != journal.KindRemove && k != journal.KindRemoveDir {
		e.Facts = f.facts()
	}
	return e
}

// listings are the pages of a directory, each of so many items.
func listings(store map[string]file, dir string, page int) []wire.Listing {
	items := make(map[string]wire.Item)
	for p, f := range store {
		rest := p
		if dir != "." {
			var ok bool
			if rest, ok = strings.CutPrefix(p, dir+"/"); !ok {
				continue
			}
		}
		name, below, found := strings.Cut(rest, "/")
		it := wire.Item{Name: name, Facts: f.facts(), Link: f.link}
		if found {
			it = wire.Item{Name: name, Facts: file{dir: true}.facts(), Digest: [32]byte{1, byte(len(below))}}
		}
		items[name] = it
	}
	out := []wire.Listing{{Path: journal.Path(dir), Outcome: wire.OK, Facts: file{dir: true}.facts()}}
	for _, name := range slices.Sorted(maps.Keys(items)) {
		last := &out[len(out)-1]
		if len(last.Items) == page {
			out = append(out, wire.Listing{Path: journal.Path(dir), Outcome: wire.OK, Facts: file{dir: true}.facts()})
			last = &out[len(out)-1]
		}
		last.Items = append(last.Items, items[name])
	}
	out[len(out)-1].Last = true
	return out
}

// lists sends a listing.
func (p *fakePrimary) lists(l wire.Listing) {
	p.f.t.Helper()
	plain, err := wire.MarshalListing(l)
	if err != nil {
		p.f.t.Fatal(err)
	}
	packed, err := p.entries.Compress(plain)
	if err != nil {
		p.f.t.Fatal(err)
	}
	p.send(wire.ListingMessage(packed, len(plain)))
}

// whole makes a mirror that is at position 0 and needs no comparison.
func (f *fixture) whole() *fakePrimary {
	f.t.Helper()
	err := f.m.cfg.Catalog.UpdateDurably(func(t *catalog.Tx) error { return writeWhole(t, true) })
	if err != nil {
		f.t.Fatal(err)
	}
	p := f.connect()
	p.welcome(p.hello.Position, "")
	return p
}

// again ends a stream and begins another one from where the mirror is.
func (p *fakePrimary) again() *fakePrimary {
	p.f.t.Helper()
	p.hangUp()
	q := p.f.connect()
	q.welcome(q.hello.Position, "")
	return q
}
