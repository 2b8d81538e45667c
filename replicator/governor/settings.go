package governor

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Reaction is what becomes of everything but live mail while the array is not
// well.
type Reaction string

// The reactions.
const (
	Pause   Reaction = "pause"    // nothing is read but live mail
	AtFloor Reaction = "floor"    // it goes on at the least rate
	Ignore  Reaction = "ignore"   // it goes on as ever
	Rescue  Reaction = "evacuate" // it goes on as fast as can be
)

// Settings are what the operator may change while the governor runs.
type Settings struct {
	Profile        Profile
	BytesPerSecond int64 // 0: no cap
	ReadsPerSecond int   // 0: no cap
	ReadsInFlight  int   // 0: as the profile has it
	Hours          Hours
	OnDegraded     Reaction // Pause, AtFloor or Ignore
	OnFailing      Reaction // Pause or Rescue
	Paused         bool
}

// Hours are those of the day, in local time, in which everything but live mail
// may go faster than at the floor. The zero value is always.
type Hours struct {
	from, to int // minutes of the day; from > to is over midnight
}

// ErrHours says that hours are not written as such.
var ErrHours = errors.New("cannot be read as hours of the day")

// ParseHours reads "22:00-06:00"; the empty text and "always" are always.
func ParseHours(s string) (Hours, error) {
	if s == "" || s == "always" {
		return Hours{}, nil
	}
	wrong := fmt.Errorf(`%q %w: write them like "22:00-06:00", or "always"`, s, ErrHours)
	from, to, found := strings.Cut(s, "-")
	if !found {
		return Hours{}, wrong
	}
	var h Hours
	for i, minutes := range []*int{&h.from, &h.to} {
		t, err := time.Parse("15:04", []string{from, to}[i])
		if err != nil {
			return Hours{}, wrong
		}
		*minutes = t.Hour()*60 + t.Minute()
	}
	if h.from == h.to {
		return Hours{}, fmt.Errorf("%w; from %s to %s there is no time at all", wrong, from, to)
	}
	return h, nil
}

// String writes the hours so that ParseHours gives them back.
func (h Hours) String() string {
	if h == (Hours{}) {
		return "always"
	}
	return fmt.Sprintf("%02d:%02d-%02d:%02d", h.from/60, h.from%60, h.to/60, h.to%60)
}

// UnmarshalText is ParseHours.
func (h *Hours) UnmarshalText(text []byte) (err error) {
	*h, err = ParseHours(string(text))
	return err
}

// MarshalText is String.
func (h Hours) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// Contains reports whether a time is within the hours.
func (h Hours) Contains(t time.Time) bool {
	m := t.Hour()*60 + t.Minute()
	switch {
	case h == (Hours{}):
		return true
	case h.from < h.to:
		return m >= h.from && m < h.to
	}
	return m >= h.from || m < h.to
}
