package mailstore

import (
	"errors"
	"strings"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
)

func TestOwner(t *testing.T) {
	for _, c := range []struct{ pattern, inbox, user, domain string }{
		{"%d/%n/Maildir", "ex.com/anna/Maildir", "anna@ex.com", "ex.com"},
		{"", "ex.com/anna/Maildir", "anna@ex.com", "ex.com"},
		{"", "ex.com/anna", "anna@ex.com", "ex.com"},
		{"", "home/anna/Maildir", "home/anna", ""},
		{"", "anna@ex.com/mail", "anna@ex.com", "ex.com"},
		{"", "a.b/c/d", "a.b/c/d", ""},
		{"", "Maildir", "Maildir", ""},
		{"", ".", ".", ""},
	} {
		var u Users
		if c.pattern != "" {
			var err error
			if u, err = ParseUsers(c.pattern); err != nil {
				t.Fatal(err)
			}
		}
		if user, domain := u.Owner(journal.Path(c.inbox)); user != c.user || domain != c.domain {
			t.Errorf("%q, %q: %q of %q", c.pattern, c.inbox, user, domain)
		}
	}
}

func TestUsersOfPaths(t *testing.T) {
	for _, c := range []struct{ pattern, path, user string }{
		{"%d/%n/Maildir", "example.org/ann/Maildir", "ann@example.org"},
		{"%d/%n/Maildir", "example.org/ann/Maildir/.Work", "ann@example.org"},
		{"%d/%n/Maildir", "example.org/ann/mail", ""},
		{"%d/%n/Maildir", "example.org/ann", ""},
		{"%d/%n/Maildir", ".", ""},
		{"%u", "ann", "ann"},
		{"%u", "ann/.Work", "ann"},
		{"*/%u", "a/ann@example.org", "ann@example.org"},
		{"vol*/%u", "vol1/ann", ""}, // a * is a whole name
		{"home-%n.d/%d", "home-ann.d/example.org/x", "ann@example.org"},
		{"home-%n.d/%d", "home-.d/example.org", ""},
		{"%n", "a*b", ""},
		{"%n", "a\nb", ""},
		{"%n", strings.Repeat("x", MaxUser+1), ""},
	} {
		u, err := ParseUsers(c.pattern)
		if err != nil {
			t.Errorf("%s: %v", c.pattern, err)
			continue
		}
		user, ok := u.Of(journal.Path(c.path))
		if ok != (c.user != "") || ok && user != c.user {
			t.Errorf("%s of %q: %q, %v; want %q", c.pattern, c.path, user, ok, c.user)
		}
	}
	for _, pattern := range []string{"", "Maildir", "%d", "%u/%n", "%n/%n", "%d/%d/%n", "%1n/%n", "%h", "a%", "%n%d", "/%n", "%n/", "%n/../x", "*"} {
		if _, err := ParseUsers(pattern); !errors.Is(err, ErrPattern) {
			t.Errorf("%q: %v", pattern, err)
		}
	}
	if _, ok := (Users{}).Of("a/b"); ok {
		t.Error("no pattern knows no user")
	}
}

func FuzzUsers(f *testing.F) {
	f.Add("%d/%n/Maildir", "example.org/ann/Maildir/.Work")
	f.Add("*/a%ub", "x/acb")
	f.Fuzz(func(t *testing.T, pattern, path string) {
		u, err := ParseUsers(pattern)
		if err != nil {
			return
		}
		if user, ok := u.Of(journal.Path(path)); ok && !ValidUser(user) {
			t.Fatalf("%q of %q is %q", pattern, path, user)
		}
	})
}
