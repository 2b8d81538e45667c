package watch

import (
	"fmt"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/journal"
)

func TestBroken(t *testing.T) {
	b := newBroken()
	first := time.Unix(1_700_000_000, 0)
	add := func(p string, after time.Duration) bool {
		return b.add(Unreadable{Path: journal.Path(p), Err: "EIO", Since: first.Add(after)})
	}
	if !add("u/cur/a", 0) || add("u/cur/a", time.Hour) || !add("u/new", 0) {
		t.Error("what is news is not told from what is none")
	}
	list, n := b.list(0)
	if n != 2 || list[0].Path != "u/cur/a" || !list[0].Since.Equal(first) {
		t.Errorf("%d: %v", n, list)
	}
	for dir, want := range map[journal.Path]bool{"u/cur": true, "u/new": true, "u": true, ".": false, "v": false} {
		if b.in(dir) != want {
			t.Errorf("in %q: %v", dir, !want)
		}
	}
	b.remove("u/cur/a")
	b.remove("u/none")
	if b.in("u/cur") || !b.in("u/new") {
		t.Error("what can be read is still broken, or the other way round")
	}

	for i := range maxUnreadable + 5 {
		add(fmt.Sprintf("w/%d", i), 0)
	}
	if list, n := b.list(maxUnreadable + 6); len(list) != maxUnreadable || n != maxUnreadable+6 || !b.in("v") {
		t.Errorf("%d of %d are listed; elsewhere may be one: %v", len(list), n, b.in("v"))
	}
	for i := range maxUnreadable + 5 {
		b.remove(journal.Path(fmt.Sprintf("w/%d", i)))
	}
	if list, n := b.list(1); len(list) != 1 || n != 1 || b.in("v") {
		t.Errorf("%d of %d are left: %v", len(list), n, list)
	}
}
