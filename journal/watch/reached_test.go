package watch_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// onLook is a Pace that calls a function.
type onLook func()

func (f onLook) Look(int) (func(), time.Duration) { f(); return func() {}, 0 }
func (onLook) Live(int64)                         {}

// TestWhatTheFirstScanHasReached: the status says how far it is, and all before that
// is in the catalog.
func TestWhatTheFirstScanHasReached(t *testing.T) {
	const users = 150
	f := newFixture(t)
	var messages []string
	for u := range users {
		box := fmt.Sprintf("d/u%03d", u)
		f.mailbox(box)
		messages = append(messages, box+"/cur/1.h:2,")
		f.write(messages[u], "one")
	}
	slices.SortFunc(messages, func(a, b string) int { return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/")) })
	var seen []journal.Path
	f.cfg.Pace = onLook(func() {
		at := f.watcher.Status().Reached
		if at == "" || len(seen) > 0 && seen[len(seen)-1] == at {
			return
		}
		seen = append(seen, at)
		_ = f.catalog.View(func(tx *catalog.Tx) error {
			for _, m := range messages {
				before := slices.Compare(strings.Split(filepath.Dir(m), "/"), strings.Split(string(at), "/")) < 0
				if _, err := tx.Lookup(journal.Path(m)); err != nil && before {
					t.Errorf("at %q the catalog lacks %q: %v", at, m, err)
				}
			}
			return nil
		})
	})
	f.start()
	f.settled()
	at := f.watcher.Status().Reached
	f.close()
	if len(seen) == 0 || at != "" {
		t.Errorf("it told %q, and %q at the end", seen, at)
	}
	f.cfg.Pace, seen = onLook(func() { seen = append(seen, f.watcher.Status().Reached) }), nil
	f.start()
	f.settled()
	f.close()
	if slices.ContainsFunc(seen, func(p journal.Path) bool { return p != "" }) {
		t.Errorf("a scan that is not the first told %q", seen)
	}
}
