package mailstore

import (
	"errors"
	"fmt"
	"strings"

	"github.com/mailtwin/mailtwin/journal"
)

// ErrPattern says that a pattern over paths does not say whose mail lies there.
var ErrPattern = errors.New("not a pattern of users' directories")

// MaxUser is the most bytes in the name of a user.
const MaxUser = 512

// Users is a pattern over the paths of mailboxes that says whose they are,
// with the variables of Dovecot's mail_location: %u is the user's name, %n
// what is before its @ and %d what is after it. A * stands for any name. The
// zero Users matches nothing.
type Users struct {
	parts []part
}

// part is one name of a path: a variable between two texts, or without a
// variable the text before alone.
type part struct {
	before, after string
	variable      byte // u, n, d, * or 0
}

// ParseUsers reads a pattern such as "%d/%n/Maildir". The error is ErrPattern.
func ParseUsers(pattern string) (Users, error) {
	var u Users
	seen := map[byte]int{}
	for name := range strings.SplitSeq(pattern, "/") {
		p, err := parsePart(name)
		if err != nil {
			return Users{}, fmt.Errorf("%w: in %q, %w", ErrPattern, pattern, err)
		}
		seen[p.variable]++
		u.parts = append(u.parts, p)
	}
	switch {
	case seen['u'] == 1 && seen['n'] == 0 && seen['d'] == 0:
	case seen['u'] == 0 && seen['n'] == 1 && seen['d'] <= 1:
	default:
		return Users{}, fmt.Errorf("%w: %q needs %%u once, or %%n once and %%d at most once", ErrPattern, pattern)
	}
	return u, nil
}

func parsePart(name string) (part, error) {
	if name == "" || name == "." || name == ".." {
		return part{}, fmt.Errorf("%q cannot be a name", name)
	}
	if name == "*" {
		return part{variable: '*'}, nil
	}
	before, rest, found := strings.Cut(name, "%")
	if !found {
		return part{before: name}, nil
	}
	if rest == "" || !strings.Contains("und", rest[:1]) {
		return part{}, fmt.Errorf("%q has another variable than %%u, %%n and %%d", name)
	}
	if strings.Contains(rest[1:], "%") {
		return part{}, fmt.Errorf("%q has two variables", name)
	}
	return part{before: before, after: rest[1:], variable: rest[0]}, nil
}

// Of returns the user whose mail lies at the path p or in what p is in. ok is
// false if the pattern says nothing of it, or if no user can have that name.
func (u Users) Of(p journal.Path) (user string, ok bool) {
	rest := string(p)
	var domain string
	for i, part := range u.parts {
		name, below, more := strings.Cut(rest, "/")
		if !more && i < len(u.parts)-1 {
			return "", false
		}
		rest = below
		value, ok := part.match(name)
		if !ok {
			return "", false
		}
		switch part.variable {
		case 'u', 'n':
			user = value
		case 'd':
			domain = value
		}
	}
	if domain != "" {
		user += "@" + domain
	}
	return user, ValidUser(user)
}

// Owner returns whose mail lies in the home of an INBOX, and the domain, "" if
// there is none. Where the pattern says nothing of it, it is guessed from the
// path: DOMAIN/USER or DOMAIN/USER/Maildir is a user of a domain, anything else
// a user whose name is the path.
func (u Users) Owner(inbox journal.Path) (user, domain string) {
	user, ok := u.Of(inbox)
	if !ok {
		home := inbox
		switch strings.ToLower(home.Name()) {
		case "maildir", "mail", "inbox":
			if home.Dir() != journal.Root {
				home = home.Dir()
			}
		}
		user = string(home)
		if up := home.Dir(); up != journal.Root && up.Dir() == journal.Root && strings.Contains(string(up), ".") {
			user = home.Name() + "@" + string(up)
		}
	}
	if at := strings.LastIndexByte(user, '@'); at >= 0 {
		domain = user[at+1:]
	}
	return user, domain
}

// match returns what the variable of the part is in a name.
func (p part) match(name string) (value string, ok bool) {
	switch p.variable {
	case 0:
		return "", name == p.before
	case '*':
		return name, true
	}
	value, ok = strings.CutPrefix(name, p.before)
	if ok {
		value, ok = strings.CutSuffix(value, p.after)
	}
	return value, ok && value != ""
}

// ValidUser reports whether a user can have that name: 1 to MaxUser bytes, no
// control characters, and neither * nor ?, which are patterns to Dovecot.
func ValidUser(name string) bool {
	return name != "" && len(name) <= MaxUser &&
		!strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '*' || r == '?' })
}
