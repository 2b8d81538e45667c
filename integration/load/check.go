package load

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Check returns in words, at most limit lines, how the user's mail in a store
// differs from what was done: messages that are missing, there twice, or back
// after they had been expunged. The store is the one that was changed, or a
// mirror of it.
func (g *Generator) Check(store string, limit int) ([]string, error) {
	var found []string
	say := func(format string, args ...any) {
		if len(found) < limit {
			found = append(found, fmt.Sprintf(format, args...))
		}
	}
	home := filepath.Join(store, g.opt.User, "Maildir")
	for _, f := range g.folders {
		want := map[string]bool{}
		for _, m := range f.messages {
			want[filepath.Join(m.sub, m.name())] = true
		}
		for _, sub := range []string{"cur", "new"} {
			entries, err := os.ReadDir(filepath.Join(home, f.name, sub))
			if err != nil {
				return nil, fmt.Errorf("checking the mail of %q: %w", g.opt.User, err)
			}
			for _, e := range entries {
				name := filepath.Join(sub, e.Name())
				base, _, _ := strings.Cut(e.Name(), ":")
				switch {
				case want[name]:
					delete(want, name)
				case g.gone[base]:
					say("%s%s: %q is back from the dead", g.opt.User, f.name, name)
				default:
					say("%s%s: %q should not be there", g.opt.User, f.name, name)
				}
			}
		}
		for name := range want {
			say("%s%s: %q is missing", g.opt.User, f.name, name)
		}
	}
	return found, nil
}
