package replicator

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/mailtwin/mailtwin/replicator/governor"
	"github.com/mailtwin/mailtwin/replicator/operator"
	"github.com/mailtwin/mailtwin/replicator/sealedfile"
)

// goldenByHand is the file of an array that is evacuated with a cap.
const goldenByHand = "mailtwin-pace 1\nprofile evacuate\nbytes 41943040\nreads -\nhours always\npaused true\n" +
	"sha256 376242d5bc16f3b7abde775d1606a302c74806ad1055cc4e1660d0ee732dfa17\n"

func TestByHandIsKeptUntilItIsReset(t *testing.T) {
	dir := t.TempDir()
	settings := governor.Settings{Profile: governor.Gentle, ReadsPerSecond: 200, OnFailing: governor.Pause}
	b, err := loadByHand(dir)
	if err != nil || b != (byHand{}) {
		t.Fatalf("without a file: %+v, %v", b, err)
	}
	profile, hours, capped, yes, no := "evacuate", "always", uint64(40<<20), true, false
	b = b.with(operator.PaceChange{Profile: &profile, Hours: &hours}).with(operator.PaceChange{BytesPerSecond: &capped, Paused: &yes})
	if err := b.save(dir); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, byHandFile)); err != nil || string(data) != goldenByHand {
		t.Errorf("the file is %q, %v", data, err)
	}
	if b, err = loadByHand(dir); err != nil {
		t.Fatal(err)
	}
	want := settings
	want.Profile, want.BytesPerSecond, want.Paused = governor.Evacuate, 40<<20, true
	want.OnFailing = governor.Rescue
	if got, err := b.over(settings); err != nil || got != want {
		t.Errorf("after a restart: %+v, %v", got, err)
	}
	if got := b.names(); !slices.Equal(got, []string{"profile", "bytes", "hours", "paused"}) {
		t.Errorf("changed: %v", got)
	}
	if got := b.with(operator.PaceChange{Paused: &no}).names(); slices.Contains(got, "paused") {
		t.Errorf("after it goes on: %v", got)
	}
	if got := b.with(operator.PaceChange{Reset: true}); got != (byHand{}) {
		t.Errorf("after a reset: %+v", got)
	}
}

func TestByHandThatCannotBeReadIsAPause(t *testing.T) {
	for name, c := range map[string]struct {
		data string
		want error
	}{
		"newer":      {"mailtwin-pace 2\nwhatever\n", sealedfile.ErrNewer},
		"cut":        {goldenByHand[:30], sealedfile.ErrCorrupt},
		"no profile": {string(sealedfile.Seal(byHandKind, 1, "profile fast\nbytes -\nreads -\nhours -\npaused -\n")), sealedfile.ErrCorrupt},
		"no number":  {string(sealedfile.Seal(byHandKind, 1, "profile -\nbytes 1k\nreads -\nhours -\npaused -\n")), sealedfile.ErrCorrupt},
		"more lines": {string(sealedfile.Seal(byHandKind, 1, "profile -\nbytes -\nreads -\nhours -\npaused -\nx\n")), sealedfile.ErrCorrupt},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, byHandFile), []byte(c.data), 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := loadByHand(dir)
		if s, oerr := b.over(governor.Settings{}); !errors.Is(err, c.want) || oerr != nil || !s.Paused {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
}

func TestWhatCannotBeSetByHandChangesNothing(t *testing.T) {
	fast, late := "fast", "25:00-26:00"
	for _, c := range []operator.PaceChange{{Profile: &fast}, {Hours: &late}} {
		if _, err := (byHand{}).with(c).over(governor.Settings{}); err == nil {
			t.Errorf("%v was agreed to", byHand(c))
		}
	}
}

func FuzzByHand(f *testing.F) {
	f.Add("profile -\nbytes -\nreads 5\nhours 22:00-06:00\npaused true\n")
	f.Add("profile gentle\nbytes 7\nreads -\nhours -\npaused -\n")
	f.Fuzz(func(t *testing.T, text string) {
		if b, err := parseByHand(text); err == nil && b.String() != text {
			t.Fatalf("%q is read as %q", text, b)
		}
	})
}
