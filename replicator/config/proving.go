package config

import (
	"fmt"
	"time"

	"github.com/mailtwin/mailtwin/replicator/governor"
)

// Proving says when something may be read only to prove what is assumed. The
// zero value is always.
type Proving struct {
	never bool
	hours governor.Hours
}

const never = "never"

// UnmarshalText reads "always", "never" or hours of the day.
func (p *Proving) UnmarshalText(text []byte) error {
	if string(text) == never {
		*p = Proving{never: true}
		return nil
	}
	hours, err := governor.ParseHours(string(text))
	if err != nil {
		return fmt.Errorf(`%w, or "never"`, err)
	}
	*p = Proving{hours: hours}
	return nil
}

// MarshalText is String.
func (p Proving) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// String writes it so that UnmarshalText gives it back.
func (p Proving) String() string {
	if p.never {
		return never
	}
	return p.hours.String()
}

// Contains reports whether it may be read at a time.
func (p Proving) Contains(t time.Time) bool { return !p.never && p.hours.Contains(t) }
