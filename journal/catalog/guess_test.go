package catalog

import (
	"encoding/binary"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/hashicorp/go-hclog"

	"github.com/mailtwin/mailtwin/journal"
)

// guessed is a file whose content nobody has read, with a guess.
func guessed(n uint64) Item {
	it := file(n)
	it.Guess, it.Facts.Content = it.Facts.Content, journal.ContentID{}
	return it
}

// TestGuess: a guess counts and goes with its name, and the digests cover the
// file as one whose content nobody has read. It ends when something is known.
func TestGuess(t *testing.T) {
	c := openTest(t, t.TempDir())
	unread := file(1)
	unread.Facts.Content = journal.ContentID{}
	var want Digest
	update(t, c, func(tx *Tx) {
		check(t, tx.Put("a/m", unread))
		want = tx.Digest()
		check(t, tx.Put("a/m", guessed(1)))
		equal(t, "digest", tx.Digest(), want)
	})
	has := func(p journal.Path, n uint64) {
		t.Helper()
		view(t, c, func(tx *Tx) {
			it, err := tx.Lookup(p)
			check(t, err)
			equal(t, "guess", it.Guess.Known(), n > 0)
			equal(t, "guessed", tx.Totals().Guessed, n)
			if tx.Totals().Unread < n {
				t.Errorf("%d are unread, of %d with a guess", tx.Totals().Unread, n)
			}
		})
		if err := c.Check(); err != nil {
			t.Fatal(err)
		}
	}
	has("a/m", 1)
	apply := func(e journal.Entry) {
		t.Helper()
		update(t, c, func(tx *Tx) { check(t, tx.Apply(&e)) })
	}
	apply(journal.Entry{Kind: journal.KindMove, From: "a/m", Path: "a/n"})
	apply(journal.Entry{Kind: journal.KindMoveDir, From: "a", Path: "b"})
	has("b/n", 1)
	apply(journal.Entry{Kind: journal.KindLink, From: "b/n", Path: "b/o"})
	has("b/o", 2)
	touched := unread.Facts
	touched.Attr.MTime++
	apply(journal.Entry{Kind: journal.KindSetAttributes, Path: "b/n", Facts: touched})
	has("b/n", 2)

	touched.Size++ // another size: it is another content
	apply(journal.Entry{Kind: journal.KindSetAttributes, Path: "b/n", Facts: touched})
	has("b/o", 1)
	update(t, c, func(tx *Tx) {
		ok, err := tx.Identify("b/o", stamp(1), contentID("read"))
		check(t, err)
		equal(t, "identified", ok, true)
	})
	has("b/o", 0)
	missing := guessed(3)
	missing.Missing = true
	known := guessed(4)
	known.Facts.Content = contentID("x")
	update(t, c, func(tx *Tx) {
		check(t, tx.Put("b/missing", missing))
		check(t, tx.Put("b/known", known))
	})
	has("b/missing", 0)
	has("b/known", 0)
}

// TestUpgrade: a catalog of the version before guesses is one of this version
// once it was opened.
func TestUpgrade(t *testing.T) {
	dir := t.TempDir()
	c := openTest(t, dir)
	update(t, c, func(tx *Tx) { check(t, tx.Put("a/m", file(1))) })
	key := c.hash.check()
	check(t, c.Close())
	db, err := pebble.Open(dir, &pebble.Options{Logger: storeLog{hclog.NewNullLogger()}, FormatMajorVersion: storeFormat})
	check(t, err)
	check(t, db.Set([]byte(keyFormat), append(binary.AppendUvarint(nil, 1), key[:]...), pebble.Sync))
	check(t, db.Close())
	for range 2 {
		c = openTest(t, dir)
		found, version, err := checkFormat(c.store.db, key)
		check(t, err)
		equal(t, "found", found, true)
		equal(t, "version", version, uint64(formatVersion))
		check(t, c.Check())
		check(t, c.Close())
	}
}
