package mailboxes

import (
	"fmt"
	"slices"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

func TestOf(t *testing.T) {
	for p, want := range map[journal.Path]journal.Path{
		"u/cur/1.h:2,S": "u", "u/.A/new/1.h": "u/.A", "u/dovecot-uidlist": "u", "subscriptions": journal.Root, "new/1.h": journal.Root,
	} {
		if got := Of(p); got != want {
			t.Errorf("%q is in %q, want %q", p, got, want)
		}
	}
	for dir, want := range map[journal.Path]journal.Path{"u/cur": "u", "u/.A": "u/.A", "u": "u", journal.Root: journal.Root} {
		if got := Containing(dir); got != want {
			t.Errorf("the directory %q is of %q, want %q", dir, got, want)
		}
	}
}

// TestTally: those with the most come first, and no more are kept than there is
// room for.
func TestTally(t *testing.T) {
	var tally Tally
	for i := range maxTallied + 10 {
		tally.Add(journal.Path(fmt.Sprintf("u%06d", i)), 1)
	}
	tally.Add("u000007", 2)
	most, more := tally.Most(2)
	if want := []Count{{"u000007", 3}, {"u000000", 1}}; !slices.Equal(most, want) || more != maxTallied-2+1 {
		t.Errorf("%v and %d more, want %v", most, more, want)
	}
	if most, more = new(Tally).Most(2); len(most) > 0 || more > 0 {
		t.Errorf("of nothing %v and %d more", most, more)
	}
}

// TestUnsure: what never came and what is assumed is counted in its mailbox,
// wherever that is.
func TestUnsure(t *testing.T) {
	c := newCatalog(t, map[journal.Path]int64{"d/fine/cur/1.h": 1})
	content := journal.ContentID{1}
	put := func(p journal.Path, missing bool) {
		t.Helper()
		it := catalog.Item{Facts: journal.Facts{Type: journal.TypeFile, Size: 10}, Missing: missing}
		if missing {
			it.Facts.Content = content
		} else {
			it.Guess = content
		}
		if err := c.Update(func(tx *catalog.Tx) error { return tx.Put(p, it) }); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []journal.Path{"d/a/cur/1.h", "d/a/new/2.h", "d/a/dovecot-uidlist", "d/a/.X/cur/3.h", "top", "cur/cur/4.h"} {
		put(p, true)
	}
	put("d/a/.X/cur/5.h", false)
	err := c.View(func(tx *catalog.Tx) error {
		missing, guessed, err := Unsure(tx)
		if err != nil {
			return err
		}
		m, _ := missing.Most(10)
		if want := []Count{{"d/a", 3}, {".", 1}, {"cur", 1}, {"d/a/.X", 1}}; !slices.Equal(m, want) {
			t.Errorf("missing in %v, want %v", m, want)
		}
		if g, _ := guessed.Most(10); !slices.Equal(g, []Count{{"d/a/.X", 1}}) {
			t.Errorf("assumed in %v", g)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
