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
	mu  sync.Mutex
	doc *runbook.Document
}

func openRunbook(t *testing.T) *shown {
	t.Helper()
	text, err := os.ReadFile(runbookPath)
	must(t, err)
	doc, err := runbook.Parse(string(text))
	must(t, err)
	return &shown{doc: doc}
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
	for _, wrong := range s.doc.Check(story, typed) {
		t.Errorf("%s\nIf that is as it should be, run this test with -update.", wrong)
	}
}

func TestTheRunbookShowsStories(t *testing.T) {
	stories := read(t, "testdata")
	for _, name := range openRunbook(t).doc.Stories() {
		if len(stories[name]) != 1 {
			t.Errorf("the story %s is not one, but %d", name, len(stories[name]))
		}
	}
}
