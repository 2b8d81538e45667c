package watch

import (
	"reflect"
	"testing"
)

// TestMountTable finds what is mounted below a store in the text of a mount table.
func TestMountTable(t *testing.T) {
	table := []byte(`22 1 8:1 / / rw - ext4 /dev/sda1 rw
30 22 8:2 / /var/mail rw,relatime shared:1 - ext4 /dev/sda2 rw
31 30 8:3 / /var/mail/exa\040mple.org rw - ext4 /dev/sda3 rw
32 22 8:4 / /var/mailman rw - ext4 /dev/sda4 rw
33 30 8:2 /x /var/mail/a\134b/c rw - ext4 /dev/sda2 rw
short line
`)
	want := []mountAt{{"30", "."}, {"31", "exa mple.org"}, {"33", `a\b/c`}}
	if got := parseMounts(table, "/var/mail"); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}
	if got := parseMounts(table, "/"); len(got) != 5 {
		t.Errorf("below the root: %q", got)
	}
	if got := unescaped(`\\12\9999\040`); got != `\\12\9999 ` {
		t.Errorf("unescaped: %q", got)
	}
}

func FuzzMountTable(f *testing.F) {
	f.Add([]byte(`31 30 8:3 / /s/exa\040mple.org rw - ext4 /dev/sda3 rw`))
	f.Fuzz(func(t *testing.T, table []byte) {
		for _, m := range parseMounts(table, "/s") {
			if len(m.at) > 0 && m.at[0] == '/' && len(m.at) > len(table) {
				t.Errorf("%q", m.at)
			}
		}
	})
}
