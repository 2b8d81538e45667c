package replicator

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/mailtwin/mailtwin/replicator/atomicfile"
	"github.com/mailtwin/mailtwin/replicator/governor"
	"github.com/mailtwin/mailtwin/replicator/operator"
	"github.com/mailtwin/mailtwin/replicator/sealedfile"
)

// The file of what was changed by hand, in the state directory; see the package's
// comment.
const (
	byHandFile    = "pace"
	byHandKind    = "pace"
	byHandVersion = 1
)

// unset stands in the file for what the settings say.
const unset = "-"

// byHand is what operators have changed of the pace. It holds until it is changed
// again, over restarts too: an array that must be spared is not forgotten.
type byHand operator.PaceChange

// with returns what was changed by hand after one more change.
func (b byHand) with(c operator.PaceChange) byHand {
	if c.Reset {
		b = byHand{}
	}
	replace(&b.Profile, c.Profile)
	replace(&b.BytesPerSecond, c.BytesPerSecond)
	replace(&b.ReadsPerSecond, c.ReadsPerSecond)
	replace(&b.Hours, c.Hours)
	replace(&b.Paused, c.Paused)
	if b.Paused != nil && !*b.Paused {
		b.Paused = nil // as the settings have it
	}
	return b
}

func replace[T any](old **T, by *T) {
	if by != nil {
		*old = by
	}
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

// names are those of what was changed.
func (b byHand) names() []string {
	var changed []string
	for line := range strings.Lines(b.String()) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), " "); value != unset {
			changed = append(changed, name)
		}
	}
	return changed
}

// String returns the lines of the file.
func (b byHand) String() string {
	return "profile " + written(b.Profile) + "\nbytes " + written(b.BytesPerSecond) + "\nreads " + written(b.ReadsPerSecond) +
		"\nhours " + written(b.Hours) + "\npaused " + written(b.Paused) + "\n"
}

func written[T any](v *T) string {
	if v == nil {
		return unset
	}
	return fmt.Sprint(*v)
}

// parseByHand reads the lines of the file; anything that String does not write is
// sealedfile.ErrCorrupt.
func parseByHand(text string) (b byHand, err error) {
	note := func(e error) { err = errors.Join(err, e) }
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if value == unset {
			continue
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
	if err == nil && b.String() != text {
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
	content, _, err := sealedfile.Read(filepath.Join(stateDir, byHandFile), byHandKind, byHandVersion)
	if errors.Is(err, fs.ErrNotExist) {
		return byHand{}, nil
	}
	var b byHand
	if err == nil {
		b, err = parseByHand(content)
	}
	if err != nil {
		paused := true
		return byHand{Paused: &paused}, fmt.Errorf("reading the pace that was set by hand: %w", err)
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
