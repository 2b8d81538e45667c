package load

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailtwin/mailtwin/integration/compare"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run makes a generator that has done steps things in a store.
func run(t *testing.T, steps int) (*Generator, string) {
	t.Helper()
	store := t.TempDir()
	g, err := New(Options{Store: store, User: "example.org/ann", Seed: 3, MeanSize: 200})
	must(t, err)
	for range steps {
		must(t, g.Step())
	}
	return g, store
}

func TestDoesAndRemembers(t *testing.T) {
	g, store := run(t, 2000)
	c := g.Counts()
	for name, n := range map[string]int{"deliveries": c.Delivered, "readings": c.Read, "flags": c.Flagged, "moves": c.Moved,
		"copies": c.Copied, "expunges": c.Expunged, "folders": c.Folders} {
		if n == 0 {
			t.Errorf("no %s in %+v", name, c)
		}
	}
	found, err := g.Check(store, 10)
	must(t, err)
	if len(found) != 0 {
		t.Errorf("%q in the very store", found)
	}
	doubled, err := compare.Duplicates(store, 10)
	must(t, err)
	if len(doubled) != 0 {
		t.Errorf("%q", doubled)
	}
}

func TestSameSeedSameMail(t *testing.T) {
	_, a := run(t, 500)
	_, b := run(t, 500)
	got, err := compare.Trees(t.Context(), a, b, compare.Options{Ignored: func(path string, dir bool) bool {
		// These are stamped by the clock of the machine.
		return !dir && !strings.Contains(path, "/cur/") && !strings.Contains(path, "/new/")
	}})
	must(t, err)
	if !got.Equal() {
		t.Error(got)
	}
}

func TestCheckFinds(t *testing.T) {
	g, store := run(t, 300)
	m := g.folders[0].messages[0]
	must(t, os.Rename(g.folders[0].path(m), g.folders[0].path(m)+"X"))
	for base := range g.gone {
		must(t, os.WriteFile(filepath.Join(g.folders[0].dir, "cur", base+":2,S"), nil, 0o600))
		break
	}
	found, err := g.Check(store, 10)
	must(t, err)
	all := strings.Join(found, "\n")
	for _, want := range []string{"missing", "back from the dead", "should not be there"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not among %q", want, found)
		}
	}
}
