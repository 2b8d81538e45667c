package scenario

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/integration/dovecot"
	"github.com/mailtwin/mailtwin/integration/hosts"
	"github.com/mailtwin/mailtwin/integration/pair"
	"github.com/mailtwin/mailtwin/integration/site"
)

// The environment says how often each story is run, with which seed at first,
// where the stories are, which mailtwin they are about, and in which directory the
// disks of hosts and what was said in IMAP are kept when a story fails; without that
// once, with one of chance, those of testdata, the one that is built here, and nowhere.
const (
	binaryVariable = "MAILTWIN_BINARY"
	dirVariable    = "MAILTWIN_STORIES"
	keepVariable   = "MAILTWIN_KEEP"
	roundsVariable = "MAILTWIN_ROUNDS"
	seedVariable   = "MAILTWIN_SEED"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// number returns a number of the environment.
func number(t *testing.T, variable string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

// read reads all stories of a directory, by the names of their files.
func read(t *testing.T, dir string) map[string][]Script {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	must(t, err)
	stories := map[string][]Script{}
	for _, file := range files {
		f, err := os.Open(file)
		must(t, err)
		defer f.Close()
		scripts, err := Parse(f)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		stories[strings.TrimSuffix(filepath.Base(file), ".txt")] = scripts
	}
	return stories
}

// TestScenarios runs every story. Of one that comes in variants, a single
// round runs one of them by chance, and more rounds run them in turn.
func TestScenarios(t *testing.T) {
	hosts.Need(t)
	dovecot.Need(t)
	binary := os.Getenv(binaryVariable)
	if binary == "" {
		var err error
		binary, err = pair.Build(t.Context(), t.TempDir(), false)
		must(t, err)
	}
	able := commands(t, binary)
	book := openRunbook(t)
	rounds, first := number(t, roundsVariable, 1), number(t, seedVariable, rand.Uint64()%1_000_000)
	for name, scripts := range read(t, cmp.Or(os.Getenv(dirVariable), "testdata")) {
		for round := range rounds {
			seed := first + round
			script := scripts[seed%uint64(len(scripts))]
			if lacking := script.stopBefore(able); lacking != "" {
				t.Logf("%s is told until %q: this mailtwin lacks that", name, lacking)
			}
			t.Run(strings.Join(slices.DeleteFunc([]string{name, script.Variant, fmt.Sprint(seed)}, func(s string) bool { return s == "" }), "/"), func(t *testing.T) {
				// Two at once: most of the time they wait.
				t.Parallel()
				opt := Options{Binary: binary, Seed: seed, Hooks: slices.Contains(able, "failover")}
				if dir := os.Getenv(keepVariable); dir != "" {
					opt.Keep = filepath.Join(dir, strings.ReplaceAll(t.Name(), "/", "-"))
				}
				if opt.Hooks {
					opt.Shown = func(typed []site.Typed) { book.hold(t, name, typed) }
				}
				play(t, script, opt)
			})
		}
	}
}

// play runs one story, and tells how to run it again if it fails.
func play(t *testing.T, script Script, opt Options) {
	t.Helper()
	var told []string
	opt.Say = func(format string, args ...any) { told = append(told, fmt.Sprintf(format, args...)) }
	began := time.Now()
	err := script.Run(t.Context(), opt)
	if err != nil {
		t.Fatalf("%s\n%v\nrun it again with %s=%d", strings.Join(told, "\n"), err, seedVariable, opt.Seed)
	}
	t.Logf("%s\nin %v", strings.Join(told, "\n"), time.Since(began).Round(100*time.Millisecond))
}

// commands returns the commands that mailtwin has.
func commands(t *testing.T, binary string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), binary, "--help").Output()
	must(t, err)
	var names []string
	for line := range strings.Lines(string(out)) {
		if fields := strings.Fields(line); strings.HasPrefix(line, "  ") && len(fields) > 1 {
			names = append(names, fields[0])
		}
	}
	return names
}

func TestStoriesCanBeRead(t *testing.T) {
	stories := read(t, "testdata")
	if len(stories) == 0 {
		t.Error("there are no stories")
	}
	for name, scripts := range stories {
		for _, s := range scripts {
			if last := s.steps[len(s.steps)-1].text; !strings.HasPrefix(last, "expect that") {
				t.Errorf("%s ends with %q and expects nothing", name, last)
			}
		}
	}
}

func TestParse(t *testing.T) {
	scripts, err := Parse(strings.NewReader(`# A story.
for each STEP of: claim, raise

mx1 is the first primary
mx2 joins mx1 as a mirror
mailtwin on mx2 will crash at the step <STEP>
wait 1s to 1500ms
the operator fails over to mx2 and is refused: no power
`))
	must(t, err)
	if len(scripts) != 2 || scripts[1].Variant != "raise" {
		t.Fatalf("%+v", scripts)
	}
	s := scripts[1]
	if !slices.Equal(s.Hosts, []string{"mx1", "mx2"}) {
		t.Errorf("%q", s.Hosts)
	}
	var args [][]string
	for _, st := range s.steps {
		args = append(args, st.args)
	}
	for able, want := range map[string]int{"failover": 5, "rejoin": 4} {
		part := s
		if part.stopBefore([]string{able}); len(part.steps) != want {
			t.Errorf("with %s there are %d sentences, want %d", able, len(part.steps), want)
		}
	}
	want := "[[mx1] [mx2 mx1] [mx2 raise] [1s 1500ms] [mx2 no power]]"
	if got := fmt.Sprint(args); got != want || s.steps[3].line != 7 {
		t.Errorf("%s, line %d; want %s", got, s.steps[3].line, want)
	}
}

func TestParseErrors(t *testing.T) {
	for text, words := range map[string]string{
		"mx1 is the first primary\nmx1 explodes": "line 2",
		"":                                       "nothing of any host",
		"users work":                             "nothing of any host",
		"for each STEP from: a":                  "line 1",
		"wait 1 to 2":                            "line 1",
		strings.Repeat("x", 2*maxLine):           "line 1",
	} {
		if _, err := Parse(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%.30q: %v, want %q", text, err, words)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("for each A of: b, c\nmx1 is the first primary\nwait 1s to <A>")
	f.Fuzz(func(t *testing.T, text string) {
		scripts, err := Parse(strings.NewReader(text))
		if err == nil && len(scripts) == 0 {
			t.Error("no story and no error")
		}
	})
}
