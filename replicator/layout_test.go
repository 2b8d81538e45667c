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

// TestUIDsApart: Dovecot's CONTROL= may take the uidlists to where they are not
// replicated.
func TestUIDsApart(t *testing.T) {
	for name, c := range map[string]struct {
		files []string
		apart bool
	}{
		"empty":                {},
		"beside":               {files: []string{"d/u/Maildir/cur/1:2,S", "d/u/Maildir/dovecot-uidlist"}},
		"apart":                {files: []string{"d/u/Maildir/cur/1:2,S", "d/v/Maildir/cur/1:2,S", "d/v/Maildir/.A/cur/2:2,"}, apart: true},
		"in the store":         {files: []string{"mail/u/cur/1:2,S", "control/u/dovecot-uidlist"}},
		"one was never read":   {files: []string{"d/u/Maildir/cur/1:2,S", "d/u/Maildir/.A/cur/1:2,S", "d/u/Maildir/.A/dovecot-uidlist"}},
		"nobody has read it":   {files: []string{"d/u/Maildir/new/1", "d/u/Maildir/cur/.x"}},
		"of Courier":           {files: []string{"d/u/Maildir/cur/1:2,S", "d/u/Maildir/courierimapuiddb"}},
		"no place of mail":     {files: []string{"d/u/.dovecot.sieve", "d/u/sieve/main.sieve"}},
		"a name for a uidlist": {files: []string{"d/u/Maildir/cur/1:2,S", "d/u/Maildir/dovecot-uidlist.lock"}, apart: true},
	} {
		dir := t.TempDir()
		for _, f := range c.files {
			full := filepath.Join(dir, f)
			if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o700), os.WriteFile(full, nil, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		if got := UIDsApart(dir); got != c.apart {
			t.Errorf("%s: %v", name, got)
		}
	}
	if UIDsApart(filepath.Join(t.TempDir(), "gone")) {
		t.Error("of a store that cannot be looked at")
	}
}

// TestHolds: what is no part of a store does not count, such as what a new file
// system has.
func TestHolds(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"lost+found", "..mailtwin"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if name, err := Holds(dir); name != "" || err != nil {
		t.Errorf("an empty store holds %q, %v", name, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "letter"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if name, err := Holds(dir); name != "letter" || err != nil {
		t.Errorf("a store with a file holds %q, %v", name, err)
	}
	if _, err := Holds(filepath.Join(dir, "gone")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a store that is not there: %v", err)
	}
}
