package salvage

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/watch"
	"github.com/mailtwin/mailtwin/replicator/hint"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
)

// TestSeen: what was added is found, also where it does not fit in memory, and nothing
// else is.
func TestSeen(t *testing.T) {
	for _, limit := range []int{sortMemory, 1 << 10} {
		s := NewSeen(t.TempDir())
		t.Cleanup(s.Close)
		s.sort.limit = limit
		name := func(i int) journal.Path { return journal.Path(fmt.Sprintf("u/new/%d", i)) }
		for i := range 1000 {
			if err := s.add(name(i)); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 2000 {
			if has, err := s.has(name(i)); err != nil || has != (i < 1000) {
				t.Fatalf("%d: %v, %v", i, has, err)
			}
		}
	}
	empty := NewSeen(t.TempDir())
	defer empty.Close()
	if has, err := empty.has("u/new/1"); has || err != nil {
		t.Errorf("%v, %v", has, err)
	}
}

// TestTakeStockBehindASalvage: a message that came since ends it, and does not enter
// the catalog, also where its name is known as one that lacks its content.
func TestTakeStockBehindASalvage(t *testing.T) {
	s := newStore(t)
	seen := NewSeen(s.state)
	defer seen.Close()
	s.must(seen.add("a/Maildir/new/1"))
	take := func() error {
		_, err := TakeStock(t.Context(), s.root, s.catalog, mailstore.Maildir{}, watch.Unwritten{}, seen)
		return err
	}
	s.write("a/Maildir/new/1", "seen")
	s.write("a/Maildir/subscriptions", "no message\n")
	s.must(take())
	s.write("a/Maildir/new/2", "late")
	err := take()
	if !errors.Is(err, errChanging) || !strings.Contains(err.Error(), "new/2") || hint.Of(err) == "" {
		t.Errorf("it ended with %v", err)
	}
	if known := s.known(); len(known) != 2 {
		t.Errorf("the catalog has %q", known)
	}
}
