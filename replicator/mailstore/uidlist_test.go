package mailstore

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
)

const (
	header  = "3 V1795477000 N12 G0123456789abcdef0123456789abcdef\n"
	record1 = "1 :1795477000.M1P2.host,S=3,W=4\n"
	record2 = "2 W1830 S1800 :1795477001.M1P2.host\n"
)

func TestComplete(t *testing.T) {
	for _, c := range []struct {
		fact, name, data string
		want             string
		notNow           bool
	}{
		{"a whole uidlist", uidlist, header + record1 + record2, header + record1 + record2, false},
		{"a header alone", uidlist, header, header, false},
		{"a torn last line", uidlist, header + record1 + "2 :17954", header + record1, false},
		{"an empty uidlist", uidlist, "", "", true},
		{"half a header", uidlist, "3 V17954", "", true},
		{"a lost header", uidlist, strings.Repeat("\x00", 40) + "\n", "", true},
		{"an empty first line", uidlist, "\n" + record1, "", true},
		{"keywords", keywords, "0 $Label1\n1 $Label2\n", "0 $Label1\n1 $Label2\n", false},
		{"torn keywords", keywords, "0 $Label1\n1 $La", "0 $Label1\n", false},
		{"no keyword", keywords, "", "", false},
		{"half a keyword", keywords, "0 $Lab", "", true},
		{"subscriptions", "subscriptions", "V\t2\n\nSent\n", "V\t2\n\nSent\n", false},
		{"subscriptions that a person wrote", "subscriptions", "Sent\nTrash", "Sent\nTrash", false},
		{"another file", "dovecot-acl", "user=a lr", "user=a lr", false},
		{"an empty file", "maildirfolder", "", "", false},
	} {
		data := []byte(c.data)
		got := Maildir{}.Complete(journal.Path("u").Join(c.name), data)
		if string(got) != c.want || (got == nil) != c.notNow {
			t.Errorf("%s: %q (nil: %v); want %q (nil: %v)", c.fact, got, got == nil, c.want, c.notNow)
		}
		if string(data) != c.data {
			t.Errorf("%s: the data was changed", c.fact)
		}
	}
	if got := (Maildir{}).Complete("u/maildirfolder", nil); got == nil {
		t.Error("an empty file is whole, however it was read")
	}
}

func TestNamed(t *testing.T) {
	const base1, base2 = "1795477000.M1P2.host,S=3,W=4", "1795477001.M1P2.host"
	for _, c := range []struct {
		fact, data string
		want       []string
	}{
		{"a whole file", header + record1 + record2, []string{base1, base2}},
		{"a tail", record2, []string{base2}},
		{"the header names nothing", header, nil},
		{"nothing", "", nil},
		{"a torn last line", record1 + "2 :17954", []string{base1}},
		{"flags are cut off", "1 :x:2,S\n", []string{"x"}},
		{"the first field with a colon is the name", "1 Pa:b W3 :x :y\n", []string{"x "}},
		{"twice", "1 :x\n1 :x\n", []string{"x", "x"}},
		{"no colon, no name, no uid", "1 x\n2 :\n:x\n x :y\n\n3 ::2,S\n", nil},
		{"no name that leads elsewhere", "1 :../x\n2 :/etc/passwd\n3 :a\x00b\n", nil},
		{"no name that is too long", "1 :" + strings.Repeat("n", 256) + "\n2 :" + strings.Repeat("n", 255) + "\n", []string{strings.Repeat("n", 255)}},
		{"an older version", "1 1795477000 3\n1 1795477000.M1P2.host\n", nil},
		{"any bytes", "1 :\xff\xfe\n", []string{"\xff\xfe"}},
	} {
		if got := (Maildir{}).Named("u/"+uidlist, []byte(c.data)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q; want %q", c.fact, got, c.want)
		}
	}
	if got := (Maildir{}).Named("u/subscriptions", []byte(record1)); got != nil {
		t.Errorf("subscriptions name %q", got)
	}
}

func FuzzUIDList(f *testing.F) {
	f.Add([]byte(header + record1 + record2))
	f.Add([]byte(header + record1 + "2 :17"))
	f.Add([]byte("1 : : :x:2,\n\n\n9 ::\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := Maildir{}
		for _, name := range []string{uidlist, keywords, "subscriptions"} {
			p := journal.Path("u").Join(name)
			whole := m.Complete(p, data)
			if !bytes.HasPrefix(data, whole) {
				t.Fatalf("%q is no prefix of %q", whole, data)
			}
			if whole != nil && !bytes.Equal(m.Complete(p, whole), whole) {
				t.Fatalf("%q is not complete itself", whole)
			}
		}
		named := m.Named(uidlist, data)
		for _, base := range named {
			if base == "" || len(base) > journal.MaxName || strings.ContainsAny(base, "/\x00\n:") {
				t.Fatalf("a message called %q", base)
			}
		}
		// Wherever the file is cut at a line, both parts name the same.
		if i := bytes.IndexByte(data, '\n') + 1; i > 0 {
			parts := append(m.Named(uidlist, data[:i]), m.Named(uidlist, data[i:])...)
			if !slices.Equal(parts, named) {
				t.Fatalf("in parts %q, as a whole %q", parts, named)
			}
		}
	})
}
