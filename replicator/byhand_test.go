package replicator

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/replicator/governor"
	"github.com/mailtwin/mailtwin/replicator/operator"
	"github.com/mailtwin/mailtwin/replicator/sealedfile"
)

// goldenByHand is the file of an array that is evacuated with a cap.
const goldenByHand = "mailtwin-pace 2\nprofile evacuate 1777888800\nbytes 41943040 1777888900\nreads -\nhours always 1777888800\n" +
	"paused true 1777888900\nsha256 20564774c60105c8fdec0b678d47fd50945ffc0563e6aa24a5c5600e15a24926\n"

// goldenByHandV1 is the same as it was written before it had times.
const goldenByHandV1 = "mailtwin-pace 1\nprofile evacuate\nbytes 41943040\nreads -\nhours always\npaused true\n" +
	"sha256 376242d5bc16f3b7abde775d1606a302c74806ad1055cc4e1660d0ee732dfa17\n"

// The times at which it was set.
var (
	setFirst = time.Unix(1_777_888_800, 0)
	setThen  = time.Unix(1_777_888_900, 0)
)

func TestByHandIsKeptUntilItIsReset(t *testing.T) {
	dir := t.TempDir()
	settings := governor.Settings{Profile: governor.Gentle, ReadsPerSecond: 200, OnFailing: governor.Pause}
	b, err := loadByHand(dir)
	if err != nil || b != (byHand{}) {
		t.Fatalf("without a file: %+v, %v", b, err)
	}
	profile, hours, capped, yes, no := "evacuate", "always", uint64(40<<20), true, false
	b = b.with(operator.PaceChange{Profile: &profile, Hours: &hours}, setFirst)
	b = b.with(operator.PaceChange{BytesPerSecond: &capped, Paused: &yes, Profile: &profile}, setThen)
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
	if got, _ := b.changes(); !slices.Equal(got, []string{"profile", "bytes", "hours", "paused"}) {
		t.Errorf("changed: %v", got)
	}
	if got, _ := b.with(operator.PaceChange{Paused: &no}, setThen).changes(); slices.Contains(got, "paused") {
		t.Errorf("after it goes on: %v", got)
	}
	if got := b.with(operator.PaceChange{Reset: true}, setThen); got != (byHand{}) {
		t.Errorf("after a reset: %+v", got)
	}
}

func TestByHandThatCannotBeReadIsAPause(t *testing.T) {
	for name, c := range map[string]struct {
		data string
		want error
	}{
		"newer":      {"mailtwin-pace 3\nwhatever\n", sealedfile.ErrNewer},
		"cut":        {goldenByHand[:30], sealedfile.ErrCorrupt},
		"no profile": {string(sealedfile.Seal(byHandKind, 1, "profile fast\nbytes -\nreads -\nhours -\npaused -\n")), sealedfile.ErrCorrupt},
		"no number":  {string(sealedfile.Seal(byHandKind, 1, "profile -\nbytes 1k\nreads -\nhours -\npaused -\n")), sealedfile.ErrCorrupt},
		"no time":    {string(sealedfile.Seal(byHandKind, 2, "profile -\nbytes -\nreads -\nhours -\npaused true\n")), sealedfile.ErrCorrupt},
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
		if _, err := (byHand{}).with(c, setFirst).over(governor.Settings{}); err == nil {
			t.Errorf("%v was agreed to", c)
		}
	}
}

// TestByHandBeforeItHadTimes: what an older version has written holds, since a time
// that is not known, and is written with its times when it is changed.
func TestByHandBeforeItHadTimes(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, byHandFile), []byte(goldenByHandV1), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := loadByHand(dir)
	if err != nil {
		t.Fatal(err)
	}
	names, changes := b.changes()
	if !slices.Equal(names, []string{"profile", "bytes", "hours", "paused"}) || changes[3].Since != nil {
		t.Errorf("%v, %+v", names, changes)
	}
	reads := uint64(7)
	if err := b.with(operator.PaceChange{ReadsPerSecond: &reads}, setFirst).save(dir); err != nil {
		t.Fatal(err)
	}
	if b, err = loadByHand(dir); err != nil || b.since != [5]int64{2: setFirst.Unix()} {
		t.Errorf("after a change: %+v, %v", b, err)
	}
}

// TestWhatWasSetByHandIsTold: by which command, and since when.
func TestWhatWasSetByHandIsTold(t *testing.T) {
	profile, hours, bytes, none, reads, yes := "normal", "22:00-06:00", uint64(1024), uint64(0), uint64(9), true
	b := byHand{}.with(operator.PaceChange{Profile: &profile, BytesPerSecond: &bytes, ReadsPerSecond: &reads, Hours: &hours}, setFirst)
	b = b.with(operator.PaceChange{Paused: &yes, BytesPerSecond: &none, Hours: &hours}, setThen)
	_, changes := b.changes()
	for i, want := range []struct {
		command string
		since   time.Time
	}{
		{"mailtwin pace normal", setFirst},
		{"mailtwin pace --bytes none", setThen},
		{"mailtwin pace --reads 9", setFirst},
		{"mailtwin pace --hours 22:00-06:00", setFirst},
		{"mailtwin hold", setThen},
	} {
		if c := changes[i]; c.Command != want.command || c.Since == nil || !c.Since.Equal(want.since) {
			t.Errorf("%+v, want %+v", c, want)
		}
	}
}

func FuzzByHand(f *testing.F) {
	f.Add(1, "profile -\nbytes -\nreads 5\nhours 22:00-06:00\npaused true\n")
	f.Add(2, "profile gentle 1777888800\nbytes 7 0\nreads -\nhours -\npaused -\n")
	f.Fuzz(func(t *testing.T, version int, text string) {
		version = 1 + version&1
		if b, err := parseByHand(version, text); err == nil && b.version(version) != text {
			t.Fatalf("%q is read as %q", text, b)
		}
	})
}
