package catalog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/hashicorp/go-hclog"
	"github.com/mailtwin/mailtwin/journal"
)

// openTest opens a catalog that is checked and closed at the end of the test.
func openTest(t testing.TB, dir string) *Catalog {
	t.Helper()
	c, err := Open(dir, Options{CacheBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Check(); err != nil && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func contentID(s string) (id journal.ContentID) {
	copy(id[:], s)
	return id
}

// file is a message; its content, size and inode are made of n.
func file(n uint64) Item {
	return Item{
		Facts: journal.Facts{
			Type: journal.TypeFile, Size: int64(n), Content: contentID(fmt.Sprint("content ", n)),
			Attr: journal.Attributes{Mode: 0o600, UID: 1000, GID: 1000, MTime: 1_700_000_000_000_000_000 + int64(n)},
		},
		Stamp: stamp(n),
	}
}

func stamp(n uint64) journal.Stamp {
	return journal.Stamp{Device: 2049, Inode: n, Birth: 1_700_000_001_000_000_000, Change: 1_700_000_002_000_000_000}
}

func directory(mode uint32) Item {
	return Item{Facts: journal.Facts{Type: journal.TypeDirectory, Attr: journal.Attributes{Mode: mode}}}
}

func update(t testing.TB, c *Catalog, f func(tx *Tx)) {
	t.Helper()
	if err := c.Update(func(tx *Tx) error { f(tx); return nil }); err != nil {
		t.Fatal(err)
	}
}

func view(t testing.TB, c *Catalog, f func(tx *Tx)) {
	t.Helper()
	if err := c.View(func(tx *Tx) error { f(tx); return nil }); err != nil {
		t.Fatal(err)
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal(t testing.TB, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s: got %+v, want %+v", what, got, want)
	}
}

func TestPutLookupListAndReopen(t *testing.T) {
	dir := t.TempDir()
	c := openTest(t, dir)
	pos := journal.Position{Epoch: 3, Sequence: 7, Digest: journal.Digest{1}}
	var digest Digest
	update(t, c, func(tx *Tx) {
		for i, name := range []string{"b", "a", "a\xff", "ab"} {
			check(t, tx.Put("u/cur/"+journal.Path(name), file(uint64(i+1))))
		}
		check(t, tx.Put("u", directory(0o700)))
		tx.SetPosition(pos)
		for _, key := range []string{"store", "stops", "at:b", "at:", "at:a", "at;"} {
			check(t, tx.SetMeta(key, []byte("x")))
		}
		check(t, tx.SetMetaJSON("progress", map[string]int{"applied": 7}))
		digest = tx.Digest()
	})
	check(t, c.Close())
	c = openTest(t, dir)
	equal(t, "durable position", c.DurablePosition(), pos)
	view(t, c, func(tx *Tx) {
		it, err := tx.Lookup("u/cur/a")
		check(t, err)
		equal(t, "item", it, file(2))
		if _, err := tx.Lookup("u/cur/c"); !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
		if _, err := tx.Lookup("u/cur/a/b"); !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
		progress := map[string]int{}
		check(t, tx.MetaJSON("nothing", &progress))
		equal(t, "progress that nobody has kept", progress, map[string]int{})
		check(t, tx.MetaJSON("progress", &progress))
		equal(t, "progress", progress, map[string]int{"applied": 7})
		if tx.MetaJSON("store", &progress) == nil {
			t.Error("what is no JSON was read as such")
		}
		equal(t, "position", tx.Position(), pos)
		equal(t, "digest", tx.Digest(), digest)
		equal(t, "totals", tx.Totals(), Totals{Files: 4, Directories: 2, Bytes: 10})
		equal(t, "names", names(t, tx, "u/cur"), []string{"a", "ab", "a\xff", "b"})
		var got []string
		collect := func(name string, _ Item) error { got = append(got, name); return nil }
		check(t, tx.List("u/cur", "ab", collect))
		equal(t, "from", got, []string{"ab", "a\xff", "b"})
		got = nil
		check(t, tx.ListPrefix("u/cur", "a", collect))
		equal(t, "prefix", got, []string{"a", "ab", "a\xff"})
		if err := tx.List("nowhere", "", collect); !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
		v, err := tx.Meta("store")
		check(t, err)
		equal(t, "meta", string(v), "x")
		if _, err := tx.Meta("other"); !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
		got = nil
		check(t, tx.EachMeta("at:", func(rest string) error { got = append(got, rest); return nil }))
		equal(t, "keys", got, []string{"", "a", "b"})
		root, err := tx.Lookup(journal.Root)
		check(t, err)
		equal(t, "root", root.Digest, digest)
	})
}

func names(t testing.TB, tx *Tx, p journal.Path) (names []string) {
	t.Helper()
	check(t, tx.List(p, "", func(name string, _ Item) error {
		names = append(names, name)
		return nil
	}))
	return names
}

func TestUpdateIsAllOrNothing(t *testing.T) {
	c := openTest(t, t.TempDir())
	update(t, c, func(tx *Tx) { check(t, tx.Put("d/kept", file(1))) })
	failure := errors.New("failure")
	change := func(tx *Tx) {
		check(t, tx.Put("new/x", file(2)))
		check(t, tx.Remove("d"))
		check(t, tx.Put("d/other", file(3)))
		tx.SetPosition(journal.Position{Sequence: 9})
		if _, err := tx.Lookup("d/kept"); !errors.Is(err, ErrNotFound) {
			t.Fatal("an update does not see its own removal")
		}
		if _, err := tx.Lookup("d/other"); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Update(func(tx *Tx) error { change(tx); return failure }); !errors.Is(err, failure) {
		t.Fatal(err)
	}
	func() {
		defer func() { _ = recover() }()
		_ = c.Update(func(tx *Tx) error { change(tx); panic("at the worst moment") })
	}()
	update(t, c, func(tx *Tx) { check(t, tx.Put("later/x", file(4))) })
	view(t, c, func(tx *Tx) {
		equal(t, "root", names(t, tx, journal.Root), []string{"d", "later"})
		equal(t, "d", names(t, tx, "d"), []string{"kept"})
		equal(t, "later", names(t, tx, "later"), []string{"x"})
		equal(t, "position", tx.Position(), journal.Position{})
	})
}

func TestViewIsASnapshot(t *testing.T) {
	c := openTest(t, t.TempDir())
	update(t, c, func(tx *Tx) { check(t, tx.Put("a/sub/x", file(1))) })
	view(t, c, func(tx *Tx) {
		update(t, c, func(tx *Tx) {
			check(t, tx.Apply(&journal.Entry{Kind: journal.KindMoveDir, From: "a", Path: "b"}))
			check(t, tx.Put("a/sub/y", file(2)))
			check(t, tx.Put("new/z", file(3)))
		})
		view(t, c, func(tx *Tx) { // fills the new cache
			equal(t, "now", names(t, tx, "a/sub"), []string{"y"})
			equal(t, "now", names(t, tx, "new"), []string{"z"})
		})
		equal(t, "then", names(t, tx, "a/sub"), []string{"x"})
		if err := tx.List("new", "", nil); !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
		if err := tx.Put("no", file(1)); !errors.Is(err, ErrReadOnly) {
			t.Fatal(err)
		}
	})
	view(t, c, func(tx *Tx) { equal(t, "moved", names(t, tx, "b/sub"), []string{"x"}) })
	if err := c.View(func(tx *Tx) error { tx.SetPosition(journal.Position{}); return nil }); !errors.Is(err, ErrReadOnly) {
		t.Fatal(err)
	}
}

func TestFind(t *testing.T) {
	c := openTest(t, t.TempDir())
	update(t, c, func(tx *Tx) {
		check(t, tx.Put("a/x", file(1)))
		check(t, tx.Apply(&journal.Entry{Kind: journal.KindLink, From: "a/x", Path: "b/x"}))
		unread := file(5)
		unread.Facts.Content = journal.ContentID{}
		check(t, tx.Put("a/unread", unread))
		missing := file(6)
		missing.Missing = true
		check(t, tx.Put("b/missing", missing))
		missing.Derived = true
		check(t, tx.Put("b/derived", missing))
		other := file(1) // the inode was given again
		other.Stamp.Birth++
		check(t, tx.Put("b/young", other))
		dir := directory(0o755)
		dir.Stamp = stamp(77)
		check(t, tx.Put("b", dir))
		check(t, tx.Put(journal.Root, Item{Facts: dir.Facts, Stamp: stamp(78)}))
	})
	both := []journal.Path{"a/x", "b/x"}
	view(t, c, func(tx *Tx) {
		got, err := tx.FindStamp(stamp(1))
		check(t, err)
		equal(t, "stamp", got, both)
		got, err = tx.FindStamp(stamp(77))
		check(t, err)
		equal(t, "directory", got, []journal.Path{"b"})
		got, err = tx.FindStamp(stamp(78))
		check(t, err)
		equal(t, "root", got, []journal.Path{journal.Root})
		got, err = tx.FindLink(1)
		check(t, err)
		equal(t, "link", got, both)
		got, err = tx.FindContent(file(1).Facts.Content)
		check(t, err)
		equal(t, "content", got, []journal.Path{"a/x", "b/x", "b/young"})
		got, err = tx.FindContent(file(6).Facts.Content)
		check(t, err)
		equal(t, "missing content", len(got), 0)
		got, err = tx.Missing(10)
		check(t, err)
		slices.Sort(got)
		equal(t, "missing", got, []journal.Path{"b/derived", "b/missing"})
		equal(t, "totals", tx.Totals(), Totals{Files: 6, Directories: 2, Bytes: 20, Unread: 1, Missing: 1})
	})
	update(t, c, func(tx *Tx) {
		for _, s := range []journal.Stamp{stamp(6), {}} {
			if ok, err := tx.Identify("a/unread", s, contentID("y")); ok || err != nil {
				t.Fatal(ok, err)
			}
		}
		ok, err := tx.Identify("a/unread", stamp(5), contentID("y"))
		check(t, err)
		equal(t, "identified", ok, true)
		equal(t, "unread", tx.Totals().Unread, uint64(0))
		check(t, tx.Observed("b", 99))
		it, err := tx.Lookup("b")
		check(t, err)
		equal(t, "observed", it.Observed, int64(99))
		if err := tx.Observed("c", 1); !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
	})
}

func TestUnreadResumes(t *testing.T) {
	c := openTest(t, t.TempDir())
	update(t, c, func(tx *Tx) {
		for i := range 25 {
			it := file(uint64(i + 1))
			it.Facts.Content = journal.ContentID{}
			check(t, tx.Put(journal.Path(fmt.Sprintf("d%d/f%02d", i%3, i)), it))
		}
	})
	var got []journal.Path
	var at Cursor
	for rounds := 0; ; rounds++ {
		view(t, c, func(tx *Tx) {
			var err error
			at, err = tx.Unread(at, 7, func(p journal.Path, _ Item) error {
				got = append(got, p)
				return nil
			})
			check(t, err)
		})
		if at == "" {
			equal(t, "rounds", rounds, 3)
			break
		}
		update(t, c, func(tx *Tx) { check(t, tx.Remove(got[len(got)-1])) })
	}
	seen := map[journal.Path]bool{}
	for _, p := range got {
		seen[p] = true
	}
	equal(t, "files", len(seen), 25)
	equal(t, "calls", len(got), 25)
}

func TestRemovedDirectoryIsSweptBitByBit(t *testing.T) {
	c := openTest(t, t.TempDir())
	const files = 4 * swept
	update(t, c, func(tx *Tx) {
		for i := range files {
			check(t, tx.Put(journal.Path(fmt.Sprintf("u/%d/f%d", i%2, i)), file(uint64(i+1))))
		}
		check(t, tx.Put("kept/x", file(files)))
	})
	update(t, c, func(tx *Tx) { check(t, tx.Remove("u")) })
	view(t, c, func(tx *Tx) {
		equal(t, "totals", tx.Totals(), Totals{Files: 1, Directories: 1, Bytes: files})
		got, err := tx.FindStamp(stamp(files))
		check(t, err)
		equal(t, "stamp", got, []journal.Path{"kept/x"})
		got, err = tx.FindContent(file(files - 1).Facts.Content)
		check(t, err)
		equal(t, "content", len(got), 0)
	})
	check(t, c.Check())
	rounds := 0
	for waiting := true; waiting; rounds++ {
		update(t, c, func(tx *Tx) {})
		view(t, c, func(tx *Tx) { waiting = tx.state.trash.first < tx.state.trash.next })
		check(t, c.Check())
	}
	if rounds < 3 || rounds > 5 {
		t.Fatalf("swept in %d updates", rounds)
	}
	keys := 0
	check(t, scan(c.store.db, []byte{spaceStamp}, []byte{spaceStamp + 1}, func(_, _ []byte) error { keys++; return nil }))
	equal(t, "stamps left", keys, 1)
}

func TestDigestCoversFactsAndNothingElse(t *testing.T) {
	build := func(key byte, put func(tx *Tx)) (d Digest) {
		c, err := Open(t.TempDir(), Options{DigestKey: [32]byte{key}})
		check(t, err)
		defer c.Close()
		update(t, c, func(tx *Tx) {
			check(t, tx.Put("u/cur/m", file(1)))
			check(t, tx.Put("u/cur", directory(0o700)))
			check(t, tx.Put("u/link", Item{Facts: journal.Facts{Type: journal.TypeSymlink, Target: "a"}}))
			if put != nil {
				put(tx)
			}
		})
		check(t, c.Check())
		view(t, c, func(tx *Tx) { d = tx.Digest() })
		return d
	}
	base := build(0, nil)
	change := func(f func(it *Item)) func(tx *Tx) {
		return func(tx *Tx) {
			it, err := tx.Lookup("u/cur/m")
			check(t, err)
			f(&it)
			check(t, tx.Put("u/cur/m", it))
		}
	}
	same := map[string]func(tx *Tx){
		"stamp":   change(func(it *Item) { it.Stamp = stamp(9) }),
		"link":    change(func(it *Item) { it.Link = 4 }),
		"missing": change(func(it *Item) { it.Missing = true }),
		"observed": func(tx *Tx) {
			check(t, tx.Observed("u/cur", 5))
		},
		"root's own": func(tx *Tx) { check(t, tx.Put(journal.Root, directory(0o711))) },
		"there and back": func(tx *Tx) {
			check(t, tx.Put("u/cur/n", file(2)))
			tx.Digest()
			check(t, tx.Apply(&journal.Entry{Kind: journal.KindMoveDir, From: "u", Path: "v"}))
			check(t, tx.Remove("v/cur/n"))
			check(t, tx.Apply(&journal.Entry{Kind: journal.KindMoveDir, From: "v", Path: "u"}))
		},
	}
	for name, f := range same {
		equal(t, name, build(0, f), base)
	}
	seen := map[Digest]string{base: "base", build(1, nil): "another key"}
	for name, f := range map[string]func(tx *Tx){
		"mode":    change(func(it *Item) { it.Facts.Attr.Mode++ }),
		"uid":     change(func(it *Item) { it.Facts.Attr.UID++ }),
		"gid":     change(func(it *Item) { it.Facts.Attr.GID++ }),
		"mtime":   change(func(it *Item) { it.Facts.Attr.MTime++ }),
		"size":    change(func(it *Item) { it.Facts.Size++ }),
		"content": change(func(it *Item) { it.Facts.Content[3]++ }),
		"xattr":   change(func(it *Item) { it.Facts.Attr.Xattrs = []journal.Xattr{{Name: "user.a", Value: []byte("1")}} }),
		"type":    change(func(it *Item) { it.Facts.Type = journal.TypeSymlink }),
		"name": func(tx *Tx) {
			check(t, tx.Apply(&journal.Entry{Kind: journal.KindMove, From: "u/cur/m", Path: "u/cur/n"}))
		},
		"place":   func(tx *Tx) { check(t, tx.Apply(&journal.Entry{Kind: journal.KindMove, From: "u/cur/m", Path: "u/m"})) },
		"dirmode": func(tx *Tx) { check(t, tx.Put("u/cur", directory(0o701))) },
		"target": func(tx *Tx) {
			check(t, tx.Put("u/link", Item{Facts: journal.Facts{Type: journal.TypeSymlink, Target: "b"}}))
		},
		"dirname": func(tx *Tx) {
			check(t, tx.Apply(&journal.Entry{Kind: journal.KindMoveDir, From: "u", Path: "v"}))
		},
	} {
		d := build(0, f)
		if other, ok := seen[d]; ok {
			t.Errorf("%s has the digest of %s", name, other)
		}
		seen[d] = name
	}
}

func TestDurablePosition(t *testing.T) {
	c := openTest(t, t.TempDir())
	at := func(n int) journal.Position { return journal.Position{Epoch: 1, Sequence: journal.Sequence(n)} }
	update(t, c, func(tx *Tx) { tx.SetPosition(at(1)) })
	equal(t, "after update", c.DurablePosition(), journal.Position{})
	check(t, c.UpdateDurably(func(tx *Tx) error { tx.SetPosition(at(2)); return nil }))
	equal(t, "after durable update", c.DurablePosition(), at(2))
	update(t, c, func(tx *Tx) { tx.SetPosition(at(1)) })
	equal(t, "before sync", c.DurablePosition(), at(2))
	check(t, c.Sync())
	equal(t, "after sync", c.DurablePosition(), at(1))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if err := c.UpdateDurably(func(tx *Tx) error { return tx.Put(journal.Path(fmt.Sprint("f", i)), file(uint64(i+1))) }); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	view(t, c, func(tx *Tx) { equal(t, "files", tx.Totals().Files, uint64(8)) })
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	c := openTest(t, dir)
	if _, err := Open(dir, Options{}); err == nil {
		t.Fatal("opened twice")
	}
	check(t, c.Close())
	if err := c.Sync(); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{DigestKey: [32]byte{1}}); !errors.Is(err, ErrKey) {
		t.Fatal(err)
	}
	db, err := pebble.Open(dir, &pebble.Options{Logger: storeLog{hclog.NewNullLogger()}, FormatMajorVersion: storeFormat})
	check(t, err)
	check(t, db.Set([]byte(keyFormat), []byte{formatVersion + 1}, pebble.Sync))
	check(t, db.Close())
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrNewer) || errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	// Pebble's own format may be newer too.
	check(t, os.RemoveAll(dir))
	c = openTest(t, dir)
	check(t, c.Close())
	markers, err := filepath.Glob(filepath.Join(dir, "marker.format-version.*"))
	check(t, err)
	for _, m := range markers {
		check(t, os.Remove(m))
	}
	check(t, os.WriteFile(filepath.Join(dir, "marker.format-version.000099.999"), nil, 0o600))
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrNewer) {
		t.Fatal(err)
	}
}
