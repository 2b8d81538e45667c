package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// ErrUnit says that a size or a duration is not written as one.
var ErrUnit = errors.New("cannot be read")

// Size is a number of bytes, written with a unit: "40MiB". It is never negative.
type Size int64

type unit struct {
	name string
	size int64
}

// sizeUnits are the units of a size, the largest first. The powers of two
// come first, for they are what String writes.
func sizeUnits() []unit {
	return []unit{
		{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
		{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3},
		{"B", 1},
	}
}

// ParseSize reads a whole number and a unit: B, KiB, MiB, GiB, TiB, or kB,
// MB, GB, TB for powers of ten. The error is ErrUnit.
func ParseSize(s string) (Size, error) {
	for _, u := range sizeUnits() {
		digits, found := strings.CutSuffix(s, u.name)
		if !found {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimRight(digits, " "), 10, 63)
		if err != nil || int64(n) > math.MaxInt64/u.size {
			break
		}
		return Size(int64(n) * u.size), nil
	}
	return 0, fmt.Errorf(`%q %w: a size is a whole number and a unit, such as "512KiB", "40MiB" or "4GiB"`, s, ErrUnit)
}

// String writes the size in the largest unit that leaves a whole number, so
// that ParseSize gives it back exactly.
func (s Size) String() string {
	for _, u := range sizeUnits()[:4] {
		if s != 0 && int64(s)%u.size == 0 {
			return strconv.FormatInt(int64(s)/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// UnmarshalText is ParseSize.
func (s *Size) UnmarshalText(text []byte) (err error) {
	*s, err = ParseSize(string(text))
	return err
}

// MarshalText is String.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Duration is a span of time, written with units: "36h", "7d", "1d12h". It is
// never negative.
type Duration time.Duration

const day = 24 * time.Hour

// ParseDuration reads what time.ParseDuration reads, with whole days before
// it or alone. The error is ErrUnit.
func ParseDuration(s string) (Duration, error) {
	days, rest, found := strings.Cut(s, "d")
	if !found {
		days, rest = "0", s
	}
	n, err := strconv.ParseUint(days, 10, 63)
	if err == nil && n > uint64(math.MaxInt64/day) {
		err = ErrUnit
	}
	var d time.Duration
	if err == nil && (rest != "" || !found) {
		d, err = time.ParseDuration(rest)
	}
	if err != nil || d < 0 || strings.HasPrefix(rest, "-") || strings.HasPrefix(rest, "+") ||
		time.Duration(n)*day > math.MaxInt64-d {
		return 0, fmt.Errorf(`%q %w: a duration is a number and a unit, such as "500ms", "90s", "36h" or "7d"`, s, ErrUnit)
	}
	return Duration(time.Duration(n)*day + d), nil
}

// String writes whole days as such and the rest as time.Duration does, so
// that ParseDuration gives it back exactly.
func (d Duration) String() string {
	days, rest := time.Duration(d)/day, time.Duration(d)%day
	switch {
	case days == 0:
		return short(rest)
	case rest == 0:
		return fmt.Sprintf("%dd", days)
	}
	return fmt.Sprintf("%dd%s", days, short(rest))
}

// short leaves out the zeros that time.Duration writes: 36h0m0s is 36h.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// UnmarshalText is ParseDuration.
func (d *Duration) UnmarshalText(text []byte) (err error) {
	*d, err = ParseDuration(string(text))
	return err
}

// MarshalText is String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }
