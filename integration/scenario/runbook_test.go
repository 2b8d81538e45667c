package scenario

import (
	"flag"
	"os"
	"sync"
	"testing"

	"github.com/mailtwin/mailtwin/integration/runbook"
	"github.com/mailtwin/mailtwin/integration/site"
)

// update has the blocks of the runbook written as the stories have just shown them,
// with go test ./integration/scenario -run TestScenarios -update, say.
var update = flag.Bool("update", false, "write what was seen in the stories into the runbook")

const runbookPath = "../../docs/runbook.md"

// shown is the runbook beside the stories, which are told at the same time.
type shown struct {
	mu   sync.Mutex
	doc  *runbook.Document
	told map[string]*telling
}

// telling is how often a story was told, what was wrong when it was told last, and
// whether the document has shown it as it was at least once.
type telling struct {
	times int
	wrong []string
	shown bool
}

// enough is how often a story has to be told before what the document shows is taken
// for wrong if it was never seen: a line may come, or not, by a chance that nobody has
// thought of.
const enough = 3

func openRunbook(t *testing.T) *shown {
	t.Helper()
	text, err := os.ReadFile(runbookPath)
	must(t, err)
	doc, err := runbook.Parse(string(text))
	must(t, err)
	s := &shown{doc: doc, told: map[string]*telling{}}
	t.Cleanup(func() { s.judge(t) }) // when all stories were told
	return s
}

// judge says which stories the document has never shown.
func (s *shown) judge(t *testing.T) {
	for story, told := range s.told {
		switch {
		case told.shown:
		case told.times < enough:
			t.Logf("%s was told %d times, and never as the runbook shows it; after %d times that would be a failure: %s",
				story, told.times, enough, told.wrong)
		default:
			t.Errorf("%s was told %d times, and never as the runbook shows it: %s\nIf it is as it should be, run this test with -update.",
				story, told.times, told.wrong)
		}
	}
}

// hold holds what the runbook shows of a story against what was seen in it.
func (s *shown) hold(t *testing.T, story string, seen []site.Typed) {
	t.Helper()
	var typed []runbook.Typed
	for _, one := range seen {
		typed = append(typed, runbook.Typed(one))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if *update {
		must(t, s.doc.Update(story, typed))
		must(t, os.WriteFile(runbookPath, []byte(s.doc.String()), 0o644))
	}
	told := s.told[story]
	if told == nil {
		told = &telling{}
		s.told[story] = told
	}
	told.times++
	told.wrong = s.doc.Check(story, typed)
	told.shown = told.shown || len(told.wrong) == 0
}

func TestTheRunbookShowsStories(t *testing.T) {
	stories := read(t, "testdata")
	for _, name := range openRunbook(t).doc.Stories() {
		if len(stories[name]) != 1 {
			t.Errorf("the story %s is not one, but %d", name, len(stories[name]))
		}
	}
}
