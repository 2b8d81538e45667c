package salvage

import (
	"errors"
	"os"
	"testing"

	"github.com/mailtwin/mailtwin/journal/watch"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
)

// TestAgainWithAnotherPrimary: a rejoin had begun with a primary that is one no more. What
// it delivered there and its owner expunged does not come back; and what it took stock of,
// and never reached the next primary, is not taken for replicated.
func TestAgainWithAnotherPrimary(t *testing.T) {
	for _, stock := range []bool{true, false} {
		w := newWorld(t, shared)
		w.a.put("u/new/expunged", "expunged")
		w.a.write("u/new/lost", "lost") // nobody observed it
		w.salvage()
		w.told("new delivered u/new/expunged", "new delivered u/new/lost")
		if stock {
			_, err := TakeStock(t.Context(), w.a.root, w.a.catalog, mailstore.Maildir{}, watch.Unwritten{}, nil)
			w.a.must(err)
		}
		w.b.remove("u/new/expunged")
		w.b.remove("u/new/lost") // it never came to the next primary, which is made of this one here
		w.promoteAgain(true)
		there := w.b.mail()
		s, err := w.try(func(c *Config) { c.Again = true })
		w.a.must(err)
		w.told("present doubt u/new/expunged", "present doubt u/new/lost")
		same(t, "the new primary", w.b.mail(), there)
		if s.Uncertain == "" {
			t.Error("it is certain")
		}
		for _, m := range []string{"expunged", "lost"} {
			if data, err := os.ReadFile(w.a.full("..mailtwin/history/1/u/new/" + m)); string(data) != m {
				t.Errorf("%s is not kept: %q, %v", m, data, err)
			}
		}
	}
}

// TestBegin: nothing is delivered before it is noted that it begins, and a look notes nothing.
func TestBegin(t *testing.T) {
	w := newWorld(t, shared)
	w.a.put("u/new/only", "only here")
	begin := func() error { return errors.ErrUnsupported }
	_, err := w.try(func(c *Config) { c.Begin, c.LookOnly = begin, true })
	w.a.must(err)
	there := w.b.mail()
	if _, err := w.try(func(c *Config) { c.Begin = begin }); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("it began: %v", err)
	}
	same(t, "the new primary", w.b.mail(), there)
}
