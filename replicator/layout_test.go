package replicator

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/mailtwin/mailtwin/journal/beneath"
)

func TestDetectLayout(t *testing.T) {
	for name, c := range map[string]struct {
		dirs, files []string
		refused     bool
	}{
		"empty":    {},
		"maildir":  {dirs: []string{"d/u/Maildir/cur", "d/u/Maildir/new", "d/u/Maildir/tmp"}},
		"sdbox":    {dirs: []string{"d/u/sdbox/mailboxes/INBOX/dbox-Mails"}, refused: true},
		"mdbox":    {dirs: []string{"d/u/mdbox/storage"}, files: []string{"d/u/mdbox/storage/dovecot.map.index"}, refused: true},
		"homes":    {dirs: []string{"d/u/sieve"}, files: []string{"d/u/.dovecot.sieve"}},
		"of mixed": {dirs: []string{"a/Maildir/cur", "a/Maildir/new", "b/mdbox/storage/deep"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, d := range c.dirs {
				if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			for _, f := range c.files {
				full := filepath.Join(dir, f)
				if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(full, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			root, err := beneath.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = root.Close() }()
			if err := detectLayout(root); errors.Is(err, ErrLayout) != c.refused {
				t.Errorf("got %v, want it refused: %v", err, c.refused)
			}
		})
	}
}
