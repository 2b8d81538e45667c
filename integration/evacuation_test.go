package integration

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/integration/faultfs"
	"github.com/mailtwin/mailtwin/integration/pair"
	"github.com/mailtwin/mailtwin/replicator/status"
)

// older makes all messages of a user as old as that.
func older(t *testing.T, store, user string, age time.Duration) {
	t.Helper()
	at := time.Now().Add(-age)
	must(t, filepath.WalkDir(filepath.Join(store, user), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		return os.Chtimes(path, at, at)
	}))
}

// TestAFailingArrayIsEvacuated has a program of the operator's say that the array is
// about to be lost while nothing is on the mirror. All but live mail waits until the
// operator decides; then what is left comes, the most valuable mailboxes first. What
// cannot be read is skipped, tried once more when all else is there, and listed.
func TestAFailingArrayIsEvacuated(t *testing.T) {
	t.Parallel() // it waits, most of the time
	store, array := faulty(t)
	users := []struct {
		name string
		age  time.Duration
	}{
		{"example.org/archive", 300 * 24 * time.Hour}, {"example.org/boss", 30 * 24 * time.Hour},
		{"example.org/season", 60 * 24 * time.Hour}, {"example.org/today", time.Hour},
	}
	const each, broken = 25, 2
	var unreadable []string
	for _, u := range users {
		deliverTo(t, store, u.name, each, 2_000)
		older(t, store, u.name, u.age)
		for i := range broken {
			path := fmt.Sprintf("%s/Maildir/new/%d.M1P1.mx1", u.name, 1_700_000_003+7*i)
			array.Fail(faultfs.Read, path)
			unreadable = append(unreadable, path)
		}
	}
	primary, mirror, _, join := lonePrimary(t, store, "1GiB")
	ill := failingArray(t, primary)
	must(t, os.WriteFile(ill, nil, 0o600))
	eventually(t, time.Minute, "all but live mail waits", func() bool { // it looks each ten seconds
		p := pace(t, primary)
		return p.Paused && strings.Contains(p.Reason, "disk 3 is about to fail; `mailtwin pace evacuate`")
	})
	join()
	must(t, mirror.Set("retry_interval", "1s"))
	must(t, mirror.Start())
	must(t, mirror.WaitUntilAnswers(t.Context()))
	begun := len(array.Opened())
	deliverTo(t, store, "example.org/live", 1, 1_000)
	eventually(t, time.Minute, "live mail reaches the mirror", func() bool {
		_, err := os.Stat(filepath.Join(mirror.Store, "example.org/live/Maildir/new/1700000000.M1P1.mx1"))
		return err == nil
	})
	for _, path := range array.Opened()[begun:] {
		if !strings.HasPrefix(path, "example.org/live/") {
			t.Errorf("%s was read, which was to wait", path)
		}
	}

	begun = len(array.Opened())
	if got := pace(t, primary, "evacuate"); got.Paused {
		t.Fatalf("%+v", got)
	}
	var files []status.Unreadable
	eventually(t, time.Minute, "all else is on the mirror, and the rest is listed", func() bool {
		d, code := document(t, primary, "--unreadable")
		files = d.Store.UnreadableFiles
		return code == 2 && d.State == status.Attention && len(files) == len(unreadable) && countMail(t, mirror.Store) == each*len(users)+1-len(unreadable)
	})
	slices.SortFunc(files, func(a, b status.Unreadable) int { return strings.Compare(a.Path, b.Path) })
	slices.Sort(unreadable)
	for i, f := range files {
		if f.Path != unreadable[i] || !strings.Contains(f.Error, "input/output error") {
			t.Errorf("listed: %+v; wanted: %s", f, unreadable[i])
		}
	}
	eventually(t, time.Minute, "what cannot be read was tried once more", func() bool {
		return !slices.ContainsFunc(unreadable, func(path string) bool { return tries(array.Opened()[begun:], path) < 2 })
	})
	after(t, 3*time.Second) // in which it would be asked for again
	opened := array.Opened()[begun:]
	inOrder(t, opened, []string{"example.org/boss", "example.org/today", "example.org/season", "example.org/archive"}, unreadable)
	for _, path := range unreadable {
		if n := tries(opened, path); n != 2 {
			t.Errorf("%s was tried %d times", path, n)
		}
	}
	mustHaveReadable(t, store, mirror.Store, unreadable)
}

// failingArray gives a primary the program that tells how its array is: about to
// fail, when the file is there whose path is returned. Its operator wants one user
// first, and the mail of the last week not before everything.
func failingArray(t *testing.T, n *pair.Node) (ill string) {
	t.Helper()
	must(t, n.Stop())
	ill = n.State + ".ill"
	program := n.State + ".health"
	must(t, os.WriteFile(program, fmt.Appendf(nil, "#!/bin/sh\n[ ! -e %s ] || { echo disk 3 is about to fail; exit 2; }\n", ill), 0o755))
	settings, err := os.ReadFile(n.Config())
	must(t, err)
	changed := strings.NewReplacer(`profile = "evacuate"`, `profile = "gentle"`, "# health_command = ", "health_command = "+fmt.Sprintf("%q\n# ", program),
		"# first = ", "first = \"example.org/boss\"\n# ", `order = "auto"`, `order = "inode"`).Replace(string(settings))
	must(t, os.WriteFile(n.Config(), []byte(changed), 0o600))
	must(t, n.Set("retry_interval", "1s"))
	must(t, n.Start())
	must(t, n.WaitUntilAnswers(t.Context()))
	eventually(t, time.Minute, "the primary has seen its store again", func() bool {
		s, err := n.Status(t.Context())
		return err == nil && s.Store.State == "watching" && s.Store.Watch.Complete
	})
	return ill
}

// tries counts how often a file was opened.
func tries(opened []string, path string) (n int) {
	for _, p := range opened {
		if p == path {
			n++
		}
	}
	return n
}

// inOrder makes sure that the users' mail was read one user after the other, but for
// what is read side by side, and what cannot be read once more at the end.
func inOrder(t *testing.T, opened, users, unreadable []string) {
	t.Helper()
	var places [][]int
	for range users {
		places = append(places, nil)
	}
	seen, last, again := map[string]bool{}, 0, len(opened)
	for i, path := range opened {
		user := slices.IndexFunc(users, func(u string) bool { return strings.HasPrefix(path, u+"/Maildir/new/") })
		switch {
		case user < 0:
		case seen[path] && slices.Contains(unreadable, path):
			again = min(again, i)
		case !seen[path]:
			seen[path], last = true, i
			places[user] = append(places[user], i)
		}
	}
	if again < last {
		t.Errorf("something was tried again at place %d, and the last message was read at %d", again, last)
	}
	for i := 1; i < len(users); i++ {
		if a, b := middle(places[i-1]), middle(places[i]); a >= b {
			t.Errorf("in the middle %s was read at place %d, and %s at %d", users[i-1], a, users[i], b)
		}
	}
}

// middle is the place in the middle of some that ascend.
func middle(places []int) int {
	if len(places) == 0 {
		return -1
	}
	return places[len(places)/2]
}

func countMail(t *testing.T, store string) int {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(store, "*/*/Maildir/new/*"))
	must(t, err)
	return len(found)
}

// mustHaveReadable makes sure that the mirror has all that can be read.
func mustHaveReadable(t *testing.T, store, mirror string, unreadable []string) {
	t.Helper()
	must(t, filepath.WalkDir(store, func(path string, e fs.DirEntry, err error) error {
		rel := strings.TrimPrefix(path, store+"/")
		if err != nil || e.IsDir() || slices.Contains(unreadable, rel) {
			return err
		}
		want, err := os.ReadFile(path)
		must(t, err)
		if got, err := os.ReadFile(filepath.Join(mirror, rel)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v", rel, err)
		}
		return nil
	}))
}
