package modseq

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
)

// TestNewMailboxesGetANewUIDVALIDITY: the number is raised in the directory that keeps
// it, which may be some above that of a mailbox, and only there.
func TestNewMailboxesGetANewUIDVALIDITY(t *testing.T) {
	for _, c := range []struct {
		name  string
		least uint64
		had   []string
		want  []string // besides the first file, if that is there
	}{
		{"the time is above", 0x6b000000, []string{uidvalidity, uidvalidity + ".6a000001"}, []string{uidvalidity + ".6b000000"}},
		{"many were made", 0x60000000, []string{uidvalidity, uidvalidity + ".6a000001"}, []string{uidvalidity + ".6a0003e9"}},
		{"a rename was cut off", 0x60000000, []string{uidvalidity, uidvalidity + ".00000001", uidvalidity + ".00000002"}, []string{uidvalidity + ".00000001", uidvalidity + ".60000000"}},
		{"there is no number", 1, []string{uidvalidity, uidvalidity + ".x", uidvalidity + ".1"}, []string{uidvalidity + ".1", uidvalidity + ".x"}},
		{"there is no room", 1, []string{uidvalidity, uidvalidity + ".ffffff00"}, []string{uidvalidity + ".ffffff00"}},
		{"the time is out of bounds", 1 << 40, []string{uidvalidity, uidvalidity + ".00000001"}, []string{uidvalidity + ".000003e9"}},
		{"nothing is kept", 1, []string{"dovecot-uidlist"}, []string{"dovecot-uidlist"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := t.TempDir()
			home := filepath.Join(store, "u", "Maildir")
			if err := os.MkdirAll(filepath.Join(home, ".Sent"), 0o700); err != nil {
				t.Fatal(err)
			}
			for _, name := range c.had {
				if err := os.WriteFile(filepath.Join(home, name), nil, 0o444); err != nil {
					t.Fatal(err)
				}
			}
			root, err := beneath.Open(store)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			at, err := renumber(root, "u/Maildir/.Sent", c.least)
			want := journal.Path("u/Maildir")
			kept := c.had[0] == uidvalidity
			if err != nil || kept != (at == want) {
				t.Errorf("in %q: %v", at, err)
			}
			if kept {
				c.want = append(c.want, uidvalidity)
			}
			var got []string
			entries, err := os.ReadDir(home)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if !e.IsDir() {
					got = append(got, e.Name())
				}
			}
			slices.Sort(c.want)
			if !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func FuzzValidity(f *testing.F) {
	f.Add(uidvalidity + ".6a3f00ff")
	f.Fuzz(func(t *testing.T, name string) {
		if n := validityOf(name); n != 0 && validityName(n) != name {
			t.Fatalf("%q is %d", name, n)
		}
	})
}
