package mailboxes

import (
	"fmt"
	"slices"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

func newCatalog(t *testing.T, mtimes map[journal.Path]int64) *catalog.Catalog {
	t.Helper()
	c, err := catalog.Open(t.TempDir(), catalog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	err = c.Update(func(tx *catalog.Tx) error {
		for p, mtime := range mtimes {
			it := catalog.Item{Facts: journal.Facts{Type: journal.TypeFile, Size: 10, Attr: journal.Attributes{MTime: mtime}}}
			if err := tx.Put(p, it); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// walk goes through all pages, and says what it found.
func walk(t *testing.T, c *catalog.Catalog, w Walk, boxes int) (found []string) {
	t.Helper()
	var place Place
	for pages, done := 0, false; !done; pages++ {
		if pages > 1000 {
			t.Fatal("the walk does not end")
		}
		n := 0
		err := c.View(func(tx *catalog.Tx) (err error) {
			place, done, err = w.Page(tx, place, func(m Mailbox) (bool, error) {
				found = append(found, fmt.Sprintf("%s %v %d/%d", m.Path, m.Inbox, m.Messages.Files, m.Newest))
				n++
				return n < boxes, nil
			})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// TestWalk: however small the pages are, each mailbox comes once, with all that
// is in it, and in the order of the paths.
func TestWalk(t *testing.T) {
	c := newCatalog(t, map[journal.Path]int64{
		"a/anna/cur/1": 5, "a/anna/cur/2": 9, "a/anna/new/3": 7, "a/anna/dovecot-uidlist": 99,
		"a/anna/.Sent/cur/1": 3, "a/anna/.Sent/tmp/2": 50,
		"a/anna/sieve/x": 1, "a/file": 1,
		"a/new/cur/1":          1, // a user who is called new
		"b/bert/Maildir/new/1": 4, "b/bert/Maildir/Archive/2020/cur/1": 2,
	})
	want := []string{
		"a/anna true 3/9", "a/anna/.Sent false 1/3", "a/new true 1/1",
		"b/bert/Maildir true 1/4", "b/bert/Maildir/Archive/2020 false 1/2",
	}
	for _, boxes := range []int{1, 2, 100} {
		for _, names := range []int{0, 1, 3} {
			if got := walk(t, c, Walk{Newest: true, Names: names}, boxes); !slices.Equal(got, want) {
				t.Errorf("%d mailboxes and %d names a page:\n%q, want\n%q", boxes, names, got, want)
			}
		}
	}
	if got := walk(t, c, Walk{Top: "b"}, 1); !slices.Equal(got, []string{
		"b/bert/Maildir true 1/0", "b/bert/Maildir/Archive/2020 false 1/0",
	}) {
		t.Errorf("beneath b: %q", got)
	}
	if got := walk(t, c, Walk{Top: "nowhere"}, 1); len(got) > 0 {
		t.Errorf("beneath nothing: %q", got)
	}
}

// TestTheStoreIsAMailbox: a store may be that of one user.
func TestTheStoreIsAMailbox(t *testing.T) {
	c := newCatalog(t, map[journal.Path]int64{"cur/1": 8, "new/2": 3, ".Sent/cur/1": 1})
	if got := walk(t, c, Walk{Newest: true}, 1); !slices.Equal(got, []string{". true 2/8", ".Sent false 1/1"}) {
		t.Errorf("%q", got)
	}
}

// TestWalkOfAStoreThatIsBeingFound: a page ends where the catalog has come to, and
// before a mailbox that it is in the middle of; what comes later is found from there
// on, and nothing twice.
func TestWalkOfAStoreThatIsBeingFound(t *testing.T) {
	c := newCatalog(t, map[journal.Path]int64{
		"a/anna/.Sent/cur/1": 3, "a/anna/cur/1": 5, "a/anna/new/2": 5, "a.b/bert/cur/1": 4, "z/zoe/cur/1": 1,
	})
	place, found := Place(""), []string{}
	for _, step := range []struct {
		reached journal.Path
		want    []string
	}{
		{"a", nil},
		{"a/anna", nil},
		{"a/anna/.Sent/new", nil},
		{"a/anna/new", nil},
		{"a/zoe", []string{"a/anna", "a/anna/.Sent"}},
		{"a.b/bert/cur", nil},
		{"z", []string{"a.b/bert"}},
		{"z/zoe/cur", nil},
		{"", []string{"z/zoe"}},
	} {
		found = nil
		err := c.View(func(tx *catalog.Tx) error {
			next, done, err := Walk{Reached: step.reached}.Page(tx, place, func(m Mailbox) (bool, error) {
				found = append(found, string(m.Path))
				return true, nil
			})
			if done != (step.reached == "") {
				t.Errorf("at %q it is over: %v", step.reached, done)
			}
			place = next
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(found, step.want) {
			t.Errorf("at %q: %q, want %q", step.reached, found, step.want)
		}
	}
	err := c.View(func(tx *catalog.Tx) error {
		_, done, err := Walk{Top: "z", Reached: "a.b"}.Page(tx, "", func(m Mailbox) (bool, error) { return true, fmt.Errorf("%q", m.Path) })
		if done {
			t.Error("what the catalog has not come to is over")
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
