package replicator

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mailtwin/mailtwin/replicator/atomicfile"
	"github.com/mailtwin/mailtwin/replicator/governor"
	"github.com/mailtwin/mailtwin/replicator/operator"
	"github.com/mailtwin/mailtwin/replicator/sealedfile"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// The file of what was changed by hand, in the state directory; see the package's
// comment.
const (
	byHandFile    = "pace"
	byHandKind    = "pace"
	byHandVersion = 2
)

// unset stands in the file for what the settings say.
const unset = "-"

// byHand is what operators have changed of the pace. It holds until it is changed
// again, over restarts too: an array that must be spared is not forgotten.
type byHand struct {
	operator.PaceChange
	since [5]int64 // when each was set, in the order of the file and seconds since 1970; 0: not known
}

// with returns what was changed by hand after one more change.
func (b byHand) with(c operator.PaceChange, now time.Time) byHand {
	if c.Reset {
		b = byHand{}
	}
	set := func(i int, changed bool) {
		if changed {
			b.since[i] = now.Unix()
		}
	}
	set(0, replace(&b.Profile, c.Profile))
	set(1, replace(&b.BytesPerSecond, c.BytesPerSecond))
	set(2, replace(&b.ReadsPerSecond, c.ReadsPerSecond))
	set(3, replace(&b.Hours, c.Hours))
	set(4, replace(&b.Paused, c.Paused))
	if b.Paused != nil && !*b.Paused {
		b.Paused, b.since[4] = nil, 0 // as the settings have it
	}
	return b
}

// replace reports whether the value is another one now.
func replace[T comparable](old **T, by *T) bool {
	if by == nil || *old != nil && **old == *by {
		return false
	}
	*old = by
	return true
}

// over returns settings with what was changed by hand; an error says what cannot
// be.
func (b byHand) over(s governor.Settings) (governor.Settings, error) {
	const most = 1 << 40
	if b.Hours != nil {
		hours, err := governor.ParseHours(*b.Hours)
		if err != nil {
			return s, err
		}
		s.Hours = hours
	}
	if b.Profile != nil {
		s.Profile = governor.Profile(*b.Profile)
		if !slices.Contains(governor.Profiles(), s.Profile) {
			return s, fmt.Errorf("there is no profile %q; choose one of %v", s.Profile, governor.Profiles())
		}
		// Who says evacuate while the array is failing means just that; in the
		// settings it may have been meant for an array that is well.
		if s.Profile == governor.Evacuate {
			s.OnFailing = governor.Rescue
		}
	}
	if b.BytesPerSecond != nil {
		s.BytesPerSecond = int64(min(*b.BytesPerSecond, most))
	}
	if b.ReadsPerSecond != nil {
		s.ReadsPerSecond = int(min(*b.ReadsPerSecond, most))
	}
	if b.Paused != nil {
		s.Paused = *b.Paused
	}
	return s, nil
}

// lines are what may be changed, in the order of the file: its name, its value, and
// the command that sets it.
func (b byHand) lines() [5][3]string {
	bytes := "none"
	if n := b.BytesPerSecond; n != nil && *n > 0 {
		bytes = fmt.Sprint(*n)
	}
	return [5][3]string{
		{"profile", written(b.Profile), "mailtwin pace " + written(b.Profile)},
		{"bytes", written(b.BytesPerSecond), "mailtwin pace --bytes " + bytes},
		{"reads", written(b.ReadsPerSecond), "mailtwin pace --reads " + written(b.ReadsPerSecond)},
		{"hours", written(b.Hours), "mailtwin pace --hours " + written(b.Hours)},
		{"paused", written(b.Paused), "mailtwin hold"},
	}
}

// changes are what was changed, for the status.
func (b byHand) changes() (names []string, changes []status.PaceChange) {
	for i, l := range b.lines() {
		if l[1] == unset {
			continue
		}
		c := status.PaceChange{Name: l[0], Command: l[2]}
		if b.since[i] != 0 {
			at := time.Unix(b.since[i], 0)
			c.Since = &at
		}
		names, changes = append(names, l[0]), append(changes, c)
	}
	return names, changes
}

// String returns the lines of the file.
func (b byHand) String() string { return b.version(byHandVersion) }

// version returns the lines of a file of that version; the first one has no times.
func (b byHand) version(version int) string {
	var text strings.Builder
	for i, l := range b.lines() {
		text.WriteString(l[0] + " " + l[1])
		if version > 1 && l[1] != unset {
			fmt.Fprintf(&text, " %d", b.since[i])
		}
		text.WriteString("\n")
	}
	return text.String()
}

func written[T any](v *T) string {
	if v == nil {
		return unset
	}
	return fmt.Sprint(*v)
}

// parseByHand reads the lines of a file of a version; anything that is not written so
// is sealedfile.ErrCorrupt.
func parseByHand(version int, text string) (b byHand, err error) {
	note := func(e error) { err = errors.Join(err, e) }
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		name, value, _ := strings.Cut(line, " ")
		if value == unset || i >= len(b.since) {
			continue // too many are found below
		}
		if version > 1 {
			at := max(0, strings.LastIndex(value, " "))
			n, e := strconv.ParseInt(strings.TrimPrefix(value[at:], " "), 10, 64)
			b.since[i], value = n, value[:at]
			note(e)
		}
		switch name {
		case "profile":
			b.Profile = &value
		case "hours":
			b.Hours = &value
		case "bytes":
			n, e := strconv.ParseUint(value, 10, 64)
			b.BytesPerSecond = &n
			note(e)
		case "reads":
			n, e := strconv.ParseUint(value, 10, 64)
			b.ReadsPerSecond = &n
			note(e)
		case "paused":
			is, e := strconv.ParseBool(value)
			b.Paused = &is
			note(e)
		}
	}
	_, e := b.over(governor.Settings{})
	note(e)
	if err == nil && b.version(version) != text {
		err = errors.New("its lines are not profile, bytes, reads, hours and paused")
	}
	if err != nil {
		return byHand{}, fmt.Errorf("%w: %w", sealedfile.ErrCorrupt, err)
	}
	return b, nil
}

// loadByHand reads the file. Where there is none nothing was changed. What cannot
// be read may have been a pause, and so it is one; the error tells why.
func loadByHand(stateDir string) (byHand, error) {
	content, version, err := sealedfile.Read(filepath.Join(stateDir, byHandFile), byHandKind, byHandVersion)
	if errors.Is(err, fs.ErrNotExist) {
		return byHand{}, nil
	}
	var b byHand
	if err == nil {
		b, err = parseByHand(version, content)
	}
	if err != nil {
		paused := true
		return byHand{PaceChange: operator.PaceChange{Paused: &paused}}, fmt.Errorf("reading the pace that was set by hand: %w", err)
	}
	return b, nil
}

// save writes the file; it is durable when save returns nil.
func (b byHand) save(stateDir string) error {
	data := sealedfile.Seal(byHandKind, byHandVersion, b.String())
	if err := atomicfile.Write(filepath.Join(stateDir, byHandFile), data, 0o600); err != nil {
		return fmt.Errorf("keep the pace that was set by hand: %w", err)
	}
	return nil
}
