package primary

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/zeebo/blake3"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/journal/vfs/crashfs"
)

// digestKey is the key of all catalogs here.
var digestKey = [32]byte{1}

// primaryStore is a store with its journal and catalog; the test is its
// observer, and journals each change that it makes.
type primaryStore struct {
	t       testing.TB
	dir     string
	root    *beneath.Root
	catalog *catalog.Catalog
	journal *journal.Log
	server  *Server

	mu       sync.Mutex // of what follows, and of the order of changes
	complete bool
	reached  journal.Path
	looked   func() // is told when somebody asks how the store is; nil: nobody is
	state    string
	lazy     bool // the catalog follows the journal with a delay
	peer     string

	superseded []string
}

func newStore(t testing.TB) *primaryStore {
	t.Helper()
	return newStoreOf(t, journal.Options{})
}

// newStoreOf makes a store whose journal has settings of its own.
func newStoreOf(t testing.TB, opt journal.Options) *primaryStore {
	t.Helper()
	p := &primaryStore{t: t, dir: t.TempDir(), complete: true, state: "watching", peer: "mx2"}
	var err error
	if p.root, err = beneath.Open(p.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.root.Close() })
	p.catalog = openCatalog(t)
	opt.Now, opt.Epoch = time.Now, 3
	if p.journal, err = journal.Open(crashfs.New(), "journal", opt); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.journal.Close() })
	p.server = New(Config{
		Name: "mx1", Epoch: 3, Root: p.root, Catalog: p.catalog, Journal: p.journal,
		Log: hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: t.Output()}), Now: time.Now,
		Store: p.storeState,
		Peer:  func(context.Context) (string, error) { return p.peer, nil },
		Superseded: func(mirror string, epoch journal.Epoch) {
			p.mu.Lock()
			p.superseded = append(p.superseded, fmt.Sprint(mirror, " ", epoch))
			p.mu.Unlock()
		},
		Changed: func() {},
	})
	return p
}

func openCatalog(t testing.TB) *catalog.Catalog {
	t.Helper()
	c, err := catalog.Open(t.TempDir(), catalog.Options{DigestKey: digestKey})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func (p *primaryStore) storeState() StoreState {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.looked != nil {
		p.looked()
	}
	return StoreState{State: p.state, Complete: p.complete, Reached: p.reached}
}

func (p *primaryStore) full(path journal.Path) string { return filepath.Join(p.dir, string(path)) }

// must fails the test; it may be called by any goroutine.
func (p *primaryStore) must(err error) {
	if err != nil {
		p.t.Helper()
		p.t.Error(err)
	}
}

// info looks at a path.
func (p *primaryStore) info(path journal.Path) beneath.Info {
	info, err := p.root.Stat(path)
	p.must(err)
	return info
}

// write puts a file into the store, whole, and journals nothing.
func (p *primaryStore) write(path journal.Path, data []byte) {
	temp := filepath.Join(filepath.Dir(p.dir), "..temp")
	p.must(os.MkdirAll(filepath.Dir(p.full(path)), 0o700))
	p.must(os.WriteFile(temp, data, 0o600))
	p.must(os.Rename(temp, p.full(path)))
}

// unread puts a file into the store and, as the first scan does, into the
// catalog without its content.
func (p *primaryStore) unread(path journal.Path, data []byte) {
	p.write(path, data)
	info := p.info(path)
	p.must(p.catalog.Update(func(t *catalog.Tx) error {
		for d := path.Dir(); d != journal.Root; d = d.Dir() {
			dir := p.info(d)
			if err := t.Put(d, catalog.Item{Facts: dir.Facts, Stamp: dir.Stamp}); err != nil {
				return err
			}
		}
		return t.Put(path, catalog.Item{Facts: info.Facts, Stamp: info.Stamp})
	}))
}

// append journals an entry, and then applies it to the catalog. A lazy store
// announces it, and now and then one more that never comes.
func (p *primaryStore) append(e journal.Entry) journal.Record {
	if p.lazy {
		p.server.Ahead([]journal.Entry{e})
		p.delay()
		if rand.IntN(8) == 0 {
			e := e
			e.Stamp.Change++
			p.server.Ahead([]journal.Entry{e})
		}
	}
	records, err := p.journal.Append(e)
	p.must(err)
	if err != nil {
		return journal.Record{}
	}
	if p.lazy {
		p.delay()
	}
	p.must(p.catalog.Update(func(t *catalog.Tx) error {
		t.SetPosition(records[0].Position)
		return t.Apply(&e)
	}))
	return records[0]
}

// delay is long enough for a sender to see what is not finished.
func (p *primaryStore) delay() {
	<-time.After(time.Duration(rand.IntN(3)) * time.Millisecond)
}

func contentID(data []byte) journal.ContentID { return blake3.Sum256(data) }

// entry makes the entry of a file as it is now.
func (p *primaryStore) entry(kind journal.Kind, path journal.Path, data []byte) journal.Entry {
	info := p.info(path)
	e := journal.Entry{Kind: kind, Path: path, Facts: info.Facts, Stamp: info.Stamp}
	if info.Facts.Type == journal.TypeFile {
		e.Facts.Content = contentID(data)
	}
	return e
}

// put delivers a file.
func (p *primaryStore) put(path journal.Path, data []byte) journal.Record {
	if _, err := os.Stat(p.full(path.Dir())); err != nil {
		p.mkdir(path.Dir())
	}
	p.write(path, data)
	return p.append(p.entry(journal.KindPut, path, data))
}

// mkdir makes a directory.
func (p *primaryStore) mkdir(path journal.Path) {
	if _, err := os.Stat(p.full(path.Dir())); err != nil {
		p.mkdir(path.Dir())
	}
	p.must(os.Mkdir(p.full(path), 0o700))
	p.append(p.entry(journal.KindMakeDir, path, nil))
}

// move renames a file or a directory.
func (p *primaryStore) move(kind journal.Kind, from, to journal.Path) {
	p.must(os.Rename(p.full(from), p.full(to)))
	info := p.info(to)
	e := journal.Entry{Kind: kind, Path: to, From: from, Facts: info.Facts, Stamp: info.Stamp}
	p.must(p.catalog.View(func(t *catalog.Tx) error {
		it, err := t.Lookup(from)
		e.Facts.Content = it.Facts.Content
		return err
	}))
	p.append(e)
}

// remove removes a file or a tree.
func (p *primaryStore) remove(kind journal.Kind, path journal.Path) {
	p.must(os.RemoveAll(p.full(path)))
	p.append(journal.Entry{Kind: kind, Path: path})
}
