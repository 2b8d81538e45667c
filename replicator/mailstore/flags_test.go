package mailstore

import (
	"slices"
	"strings"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
)

func TestParseKeywords(t *testing.T) {
	table := ParseKeywords([]byte("0 $Label1\n2 NonJunk\n26 Beyond\nx y\n3 \n-1 z\n1 Torn"))
	if table[0] != "$Label1" || table[1] != "" || table[2] != "NonJunk" || table[3] != "" {
		t.Errorf("%q", table)
	}
}

func TestFlags(t *testing.T) {
	here := KeywordTable{0: "$Label1", 1: "NonJunk", 2: "Work"}
	there := KeywordTable{0: "NonJunk", 5: "$Label1"}
	for _, c := range []struct {
		fact, sub, name string
		letters         string
		keywords        []string
		unnamed         string
		there           string
		dropped         []string
	}{
		{"no flags", "new", "1.M1.h", "", nil, "", "new/1.M1.h", nil},
		{"no flags in cur", "cur", "1.M1.h:2,", "", nil, "", "cur/1.M1.h:2,", nil},
		{"no mark in cur", "cur", "1.M1.h", "", nil, "", "cur/1.M1.h:2,", nil},
		{"flags", "cur", "1.M1.h,S=3:2,SF", "FS", nil, "", "cur/1.M1.h,S=3:2,FS", nil},
		{"flags in new", "new", "1.M1.h:2,Sa", "S", []string{"$Label1"}, "", "new/1.M1.h:2,Sf", nil},
		{"letters change places", "cur", "1:2,Sab", "S", []string{"$Label1", "NonJunk"}, "", "cur/1:2,Saf", nil},
		{"a keyword that is not there", "cur", "1:2,RSc", "RS", []string{"Work"}, "", "cur/1:2,RS", []string{"Work"}},
		{"a letter without a name", "cur", "1:2,Sz", "S", nil, "z", "cur/1:2,S", nil},
		{"a letter twice", "cur", "1:2,SSaa", "S", []string{"$Label1"}, "", "cur/1:2,Sf", nil},
		{"what is no letter", "cur", "1:2,S,9:", "S", nil, "", "cur/1:2,S", nil},
		{"another kind of info", "cur", "1:1,S", "", nil, "", "cur/1:2,", nil},
	} {
		f, unnamed := ParseFlags(c.sub, c.name, &here)
		if f.Letters != c.letters || !slices.Equal(f.Keywords, c.keywords) || unnamed != c.unnamed || f.Unseen != (c.sub == "new") {
			t.Errorf("%s: %+v, unnamed %q", c.fact, f, unnamed)
		}
		sub, name, dropped := FileName(Maildir{}.Base(c.name), f, &there)
		if sub+"/"+name != c.there || !slices.Equal(dropped, c.dropped) {
			t.Errorf("%s: %s/%s, dropped %q; want %s, %q", c.fact, sub, name, dropped, c.there, c.dropped)
		}
	}
}

func TestSplit(t *testing.T) {
	for p, want := range map[journal.Path]string{
		"a/b/cur/x:2,": "a/b cur x:2,",
		"new/x":        ". new x",
		"a/tmp/x":      "",
		"cur":          "",
		".":            "",
		"a/b":          "",
	} {
		mailbox, sub, name, ok := Split(p)
		if got := strings.TrimSpace(string(mailbox) + " " + sub + " " + name); ok != (want != "") || ok && got != want {
			t.Errorf("%q: %q, %v; want %q", p, got, ok, want)
		}
	}
}

func FuzzFlags(f *testing.F) {
	f.Add("cur", "1.M1:2,Sab", []byte("0 $Label1\n1 x y\n"))
	f.Add("new", "1", []byte("0"))
	f.Fuzz(func(t *testing.T, sub, name string, data []byte) {
		table := ParseKeywords(data)
		flags, _ := ParseFlags(sub, name, &table)
		base := Maildir{}.Base(name)
		if strings.ContainsAny(base, "/:") {
			return
		}
		into, again, dropped := FileName(base, flags, &table)
		back, unnamed := ParseFlags(into, again, &table)
		if !back.Equal(flags) || back.Unseen != flags.Unseen || len(dropped) > 0 || unnamed != "" {
			t.Errorf("%q is %+v, which is %s/%s, which is %+v (%q, %q)", name, flags, into, again, back, dropped, unnamed)
		}
	})
}
