package integration

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zeebo/blake3"

	"github.com/mailtwin/mailtwin/integration/pair"
)

// kills is how often the daemons are killed, all pairs together.
const kills = 300

// TestKill kills either daemon at random moments under load. After each time
// that the mirror was killed, what the primary had called durable on it must
// be there.
func TestKill(t *testing.T) {
	const pairs = 2
	count := kills / pairs
	if testing.Short() {
		count = 25
	}
	for i := range pairs {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			primary, mirror := stores(t)
			p := pair.New(t, pair.Options{Binary: plainBinary(t), PrimaryStore: primary, MirrorStore: mirror})
			load := start(t, primary, 2, 30)
			began := time.Now()
			killAtRandom(t, p, count, uint64(i))
			t.Logf("%d kills in %v", count, time.Since(began).Round(time.Second))
			load.finish(t, p, time.Minute)
		})
	}
}

func killAtRandom(t *testing.T, p *pair.Pair, count int, seed uint64) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 5))
	const longest = 900 * time.Millisecond
	for i := range count {
		after(t, time.Duration(rng.Int64N(int64(longest))))
		switch {
		case i%10 == 9:
			// Now and then they get to the end of their work first.
			must(t, p.WaitForChange(t.Context()))
			killMirrorAndCheck(t, p)
		case rng.IntN(2) == 0:
			must(t, p.Primary.Kill())
			must(t, p.Primary.Start())
		case rng.IntN(2) == 0:
			must(t, p.Mirror.Kill())
			must(t, p.Mirror.Start())
		default:
			killMirrorAndCheck(t, p)
		}
	}
}

// killMirrorAndCheck kills the mirror and looks whether it has all that it had
// acknowledged: each path must be as the journal says at that place, unless a
// later entry speaks of it.
func killMirrorAndCheck(t *testing.T, p *pair.Pair) {
	t.Helper()
	status, err := p.Primary.Status(t.Context())
	must(t, p.Mirror.Kill())
	defer func() { must(t, p.Mirror.Start()) }()
	if err != nil {
		return // the primary has just been killed and knows nothing yet
	}
	hasWhatItAcknowledged(t, p, status)
}

// hasWhatItAcknowledged looks whether a mirror that does not run has all that it
// had acknowledged, as the primary said at some time before.
func hasWhatItAcknowledged(t *testing.T, p *pair.Pair, status pair.Status) {
	t.Helper()
	if len(status.Mirrors) == 0 {
		return // nothing was known of it yet
	}
	acked := status.Mirrors[0].AckedSequence
	out := journalUpToNow(t, p)
	expected, err := replay(out, acked)
	must(t, err)
	wrong := 0
	for path, want := range expected {
		got := lookAt(filepath.Join(p.Mirror.Store, path))
		if got.there == want.there && (got.content == want.content || want.content == "") {
			continue
		}
		if wrong++; wrong > 3 {
			continue
		}
		t.Errorf("the mirror had acknowledged %d, but after it was killed %q is %+v, not %+v; its history:%s%s",
			acked, path, got, want, history(out, path), whereabouts(p.Mirror.Store, path))
	}
	if wrong > 0 {
		t.Fatalf("%d paths on the killed mirror are not as it had acknowledged; before: %s", wrong, status.Document)
	}
}

// lookAt returns what is at a place of a store.
func lookAt(file string) found {
	info, err := os.Lstat(file)
	if err != nil {
		return found{}
	}
	f := found{there: true}
	if info.Mode().IsRegular() {
		if data, err := os.ReadFile(file); err == nil {
			f.content = fmt.Sprintf("%x", blake3.Sum256(data))
		}
	}
	return f
}

// history returns the last entries of the journal that speak of a message,
// under whatever name.
func history(journal []byte, path string) string {
	base, _, _ := strings.Cut(filepath.Base(path), ":")
	var lines []string
	for line := range strings.Lines(string(journal)) {
		if strings.Contains(line, base) {
			lines = append(lines, "\n    "+strings.TrimSpace(line))
		}
	}
	return strings.Join(lines[max(0, len(lines)-8):], "")
}

// whereabouts returns under which names a store has a message.
func whereabouts(store, path string) string {
	base, _, _ := strings.Cut(filepath.Base(path), ":")
	found := ""
	_ = filepath.WalkDir(store, func(p string, _ fs.DirEntry, err error) error { // only for the words of a failure
		if err == nil && strings.HasPrefix(filepath.Base(p), base) {
			found += fmt.Sprintf("\n    on the mirror: %q", p)
		}
		return nil
	})
	return found
}

// journalUpToNow returns the journal once the primary has seen all changes
// that were made before: what was renamed just now is under its new name.
func journalUpToNow(t *testing.T, p *pair.Pair) []byte {
	t.Helper()
	eventually(t, time.Minute, "the primary has seen the whole store", func() bool {
		s, err := p.Primary.Status(t.Context())
		return err == nil && s.Store.State == "watching"
	})
	marker := fmt.Sprintf("marker-%d", time.Now().UnixNano())
	must(t, os.WriteFile(filepath.Join(p.Primary.Store, marker), nil, 0o600))
	var out []byte
	eventually(t, 30*time.Second, "the primary sees a change", func() bool {
		var err error
		out, err = p.Primary.Run(t.Context(), "journal", "show", "--json")
		return err == nil && bytes.Contains(out, []byte(`"path":"`+marker+`"`))
	})
	return out
}

// line is one entry as `mailtwin journal show --json` prints it.
type line struct {
	Sequence uint64
	Kind     string
	Path     string
	From     string
	Content  string
}

// found is what is, or should be, at a place of a store.
type found struct {
	there   bool
	content string // the BLAKE3 of a file; "" is not known
}

// replay returns what is there and what is gone after the entry acked, leaving
// out all that later entries speak of.
func replay(journal []byte, acked uint64) (map[string]found, error) {
	expected := map[string]found{}
	scanner := bufio.NewScanner(bytes.NewReader(journal))
	scanner.Buffer(nil, 64<<20)
	for scanner.Scan() {
		var l line
		if err := json.Unmarshal(scanner.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("understanding the journal's line %q: %w", scanner.Bytes(), err)
		}
		if l.Sequence > acked {
			forget(expected, l.Path)
			forget(expected, l.From)
			continue
		}
		switch l.Kind {
		case "rmdir":
			for path := range expected {
				if strings.HasPrefix(path, l.Path+"/") {
					expected[path] = found{}
				}
			}
			expected[l.Path] = found{}
		case "mvdir":
			for path, what := range expected {
				if rest, ok := strings.CutPrefix(path, l.From+"/"); ok && what.there {
					expected[filepath.Join(l.Path, rest)] = what
					expected[path] = found{}
				}
			}
			fallthrough
		case "move":
			expected[l.From] = found{}
			expected[l.Path] = found{there: true, content: l.Content}
		case "remove":
			expected[l.Path] = found{}
		default:
			expected[l.Path] = found{there: true, content: l.Content}
		}
	}
	return expected, scanner.Err()
}

// forget removes a path, and all beneath it if it may be a folder's.
func forget(expected map[string]found, path string) {
	delete(expected, path)
	if strings.Contains(path, "/cur/") || strings.Contains(path, "/new/") {
		return
	}
	for p := range expected {
		if path != "" && strings.HasPrefix(p, path+"/") {
			delete(expected, p)
		}
	}
}

func TestReplay(t *testing.T) {
	const journal = `{"sequence":1,"kind":"mkdir","path":"a"}
{"sequence":2,"kind":"put","path":"a/1"}
{"sequence":3,"kind":"put","path":"a/2"}
{"sequence":4,"kind":"mvdir","path":"b","from":"a"}
{"sequence":5,"kind":"remove","path":"b/2"}
{"sequence":6,"kind":"put","path":"b/3","content":"3f"}
{"sequence":7,"kind":"remove","path":"b/1"}`
	got, err := replay([]byte(journal), 6)
	must(t, err)
	want := map[string]found{"a": {}, "a/1": {}, "a/2": {}, "b": {there: true}, "b/2": {}, "b/3": {there: true, content: "3f"}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestRestarts stops and starts both daemons, as an upgrade does, while mail
// goes on arriving.
func TestRestarts(t *testing.T) {
	primary, mirror := stores(t)
	p := pair.New(t, pair.Options{Binary: binary(t), PrimaryStore: primary, MirrorStore: mirror})
	load := start(t, primary, 2, 100)
	rng := rand.New(rand.NewPCG(1, 1))
	for range 6 {
		for _, n := range []*pair.Node{p.Primary, p.Mirror} {
			must(t, n.Stop())
			after(t, time.Duration(rng.IntN(400))*time.Millisecond)
			must(t, n.Start())
		}
		must(t, p.Primary.WaitUntilAnswers(t.Context()))
		must(t, p.Mirror.WaitUntilAnswers(t.Context()))
		after(t, time.Duration(rng.IntN(1000))*time.Millisecond)
	}
	load.finish(t, p, time.Minute)
}

// TestClockOfTheStoreGoesBack changes the store while the primary is down and
// gives the directories times from an hour before they were last looked at,
// as a clock does that was set back.
func TestClockOfTheStoreGoesBack(t *testing.T) {
	t.Parallel() // it waits, most of the time
	primary, mirror := stores(t)
	load := start(t, primary, 2, 50)
	p := pair.New(t, pair.Options{Binary: binary(t), PrimaryStore: primary, MirrorStore: mirror})
	for range 4 {
		after(t, time.Second)
		must(t, p.Primary.Stop())
		after(t, 300*time.Millisecond)
		setBack(t, primary, time.Hour)
		must(t, p.Primary.Start())
		must(t, p.Primary.WaitUntilAnswers(t.Context()))
		setBack(t, primary, time.Hour)
	}
	load.finish(t, p, time.Minute)
}

// setBack gives every directory of a store the time that it would have if the
// clock had been set back by d. Directories may come and go meanwhile.
func setBack(t *testing.T, store string, d time.Duration) {
	t.Helper()
	must(t, filepath.WalkDir(store, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return ignoreMissing(err)
		}
		then := time.Now().Add(-d)
		return ignoreMissing(os.Chtimes(path, then, then))
	}))
}

func ignoreMissing(err error) error {
	if os.IsNotExist(err) {
		return nil
	}
	return err
}
