package salvage

import (
	"os"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
)

// TestCopyBesideAnUnseenRename: of two files of one base, neither of which was seen to
// come, the one in the mailbox of the missing one is that one; the other is a copy.
func TestCopyBesideAnUnseenRename(t *testing.T) {
	for _, mailbox := range []string{"u/.Alpha", "u/.Zeta"} { // before and behind the other, in any order of names
		w := newWorld(t, func(a *store) {
			shared(a)
			a.mailbox(mailbox)
			a.put("u/.Work/new/quiet", "quiet")
		})
		w.a.must(os.Link(w.a.full("u/.Work/new/quiet"), w.a.full(mailbox+"/cur/quiet:2,S")))
		w.a.must(os.Rename(w.a.full("u/.Work/new/quiet"), w.a.full("u/.Work/cur/quiet:2,S")))
		w.salvage()
		w.told("new delivered "+mailbox+"/cur/quiet:2,S", "flags set u/.Work/cur/quiet:2,S")
	}
}

// TestJoins: what a line is joined to is the surest that there is, in whatever
// order things were journaled or listed.
func TestJoins(t *testing.T) {
	seen := func(p journal.Path) event { return event{kind: eventSeen, sequence: 9, path: p} }
	missing := func(p journal.Path) event { return event{kind: eventMissing, sequence: 9, path: p} }
	put := func(s journal.Sequence, p journal.Path) event { return event{kind: eventPut, sequence: s, path: p} }
	link := func(s journal.Sequence, from, p journal.Path) event {
		return event{kind: eventLink, sequence: s, path: p, from: from}
	}
	gone := func(s journal.Sequence, p journal.Path) event { return event{kind: eventRemove, sequence: s, path: p} }
	for name, c := range map[string]struct {
		events []event
		want   []string
		dirs   []dirChange
	}{
		"seen in two mailboxes, missing in the second": {
			[]event{seen("a/cur/m:2,S"), seen("b/cur/m:2,S"), missing("b/cur/m:2,")},
			[]string{"a/cur/m:2,S <- ", "b/cur/m:2,S <- b/cur/m:2,"}, nil,
		},
		"seen in two mailboxes, missing in both": {
			[]event{seen("a/cur/m:2,S"), seen("b/cur/m:2,S"), missing("b/cur/m:2,"), missing("a/cur/m:2,")},
			[]string{"a/cur/m:2,S <- a/cur/m:2,", "b/cur/m:2,S <- b/cur/m:2,"}, nil,
		},
		"seen in two mailboxes, missing in one of them and in a third": {
			[]event{seen("a/cur/m:2,S"), seen("b/cur/m:2,S"), missing("c/cur/m:2,"), missing("b/cur/m:2,")},
			[]string{"a/cur/m:2,S <- c/cur/m:2,", "b/cur/m:2,S <- b/cur/m:2,"}, nil,
		},
		"put in two mailboxes, removed in the second": {
			[]event{put(1, "a/cur/m:2,S"), gone(2, "b/cur/m:2,"), put(3, "b/cur/m:2,S")},
			[]string{"a/cur/m:2,S <- ", "b/cur/m:2,S <- b/cur/m:2,"}, nil,
		},
		"put in one mailbox, and moved by a link to another": {
			[]event{put(1, "a/cur/m:2,"), link(2, "b/cur/m:2,", "c/cur/m:2,"), gone(3, "b/cur/m:2,")},
			[]string{"a/cur/m:2, <- ", "c/cur/m:2, <- b/cur/m:2,"}, nil,
		},
		"put where another was, and moved by a link from there": {
			[]event{link(1, "b/cur/m:2,", "c/cur/m:2,"), gone(2, "b/cur/m:2,"), put(3, "b/cur/m:2,S")},
			[]string{"b/cur/m:2,S <- ", "c/cur/m:2, <- b/cur/m:2,"}, nil,
		},
		"put in a mailbox that was renamed since": {
			[]event{put(1, "a/cur/m:2,S"), gone(2, "b/cur/m:2,"), put(5, "d/cur/m:2,S")},
			[]string{"a/cur/m:2,S <- ", "d/cur/m:2,S <- b/cur/m:2,"}, []dirChange{{3, "b", "d"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := &past{rules: mailstore.Maildir{}, dirs: c.dirs}
			var got []string
			for _, l := range p.life(group{base: "m", events: c.events}).lines {
				if l.path != "" {
					got = append(got, string(l.path)+" <- "+string(l.origin))
				}
			}
			same(t, "lines", got, c.want)
		})
	}
}
