package mirror

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// aged is a message of some age.
func aged(data string, mtime int64) file {
	f := text(data)
	f.mtime = mtime
	return f
}

// surveyStore has mailboxes of different value.
func surveyStore() map[string]file {
	const old, late = int64(1e18), int64(2e18)
	return map[string]file{
		"a/.Archive/cur/1": aged("archive 1", old), "a/.Archive/cur/2": aged("archive 2", old),
		"a/cur/1": aged("a 1", old), "a/cur/2": aged("a 2", late), "a/dovecot-uidlist": text("3 V1 N3\n1 :1\n2 :2\n"),
		"b/cur/1": aged("b 1", old), "b/new/2": aged("b 2", late), "b/dovecot-uidlist": text("3 V1 N3\n1 :1\n2 :2\n"),
		"z/cur/1": aged("z 1", old),
	}
}

// TestMailboxesComeByValue: first those that the operator wants, then what came
// lately, then one mailbox after the other, each with its uidlist at its end,
// and what no mailbox has at last.
func TestMailboxesComeByValue(t *testing.T) {
	store := surveyStore()
	f := newFixture(t)
	p := f.connect()
	p.surveyed = true
	p.welcome(at(1, 1), "new")
	p.until("asked for the mailboxes", func() bool { return len(p.surveys) == 1 })
	p.send(wire.ActivityMessage(wire.Activity{Next: "0:z", Mailboxes: []wire.Mailbox{{Path: "z", First: true}}}))
	for !f.m.Status().Whole {
		p.until("asked", func() bool {
			return len(p.compares)+len(p.fetches) > 0 || len(p.surveys) == 2 || f.m.Status().Whole
		})
		if len(p.surveys) == 2 && len(p.fetches)+len(p.compares) == 0 {
			p.surveys = append(p.surveys, "")
			p.send(wire.ActivityMessage(wire.Activity{Mailboxes: []wire.Mailbox{
				{Path: "a/.Archive", Turn: 30}, {Path: "a", Turn: 20, Since: 2e18}, {Path: "b", Turn: 10, Since: 2e18}, {Path: "z", Turn: 40},
			}}))
		}
		p.serveSome(store)
	}
	f.holds(store)
	want := []string{
		"z/cur/1", "a/cur/2", "b/new/2",
		"b/cur/1", "b/dovecot-uidlist", "a/cur/1", "a/dovecot-uidlist", "a/.Archive/cur/1", "a/.Archive/cur/2",
	}
	if !slices.Equal(p.asked, want) {
		t.Errorf("asked for %q,\nwant %q", p.asked, want)
	}
	if !slices.Equal(p.surveys[:2], []string{"", "0:z"}) {
		t.Errorf("asked for mailboxes from %q on", p.surveys)
	}
}

// TestTheBestSoFarNeedNotWait: while the primary has yet to find mailboxes, those
// that it has named are copied by their value; what came lately to one that it names
// later goes before what is left of them.
func TestTheBestSoFarNeedNotWait(t *testing.T) {
	store := surveyStore()
	f := newFixture(t)
	p := f.connect()
	p.surveyed = true
	p.welcome(at(1, 1), "new")
	p.until("asked for the mailboxes", func() bool { return len(p.surveys) == 1 })
	p.send(wire.ActivityMessage(wire.Activity{Next: "0:a", Mailboxes: []wire.Mailbox{{Path: "z", Turn: 40}, {Path: "a/.Archive", Turn: 30}}}))
	for len(p.asked) < 3 {
		p.until("asked for what is known", func() bool { return len(p.fetches)+len(p.compares) > 0 })
		p.serveSome(store)
	}
	p.until("asked for more mailboxes", func() bool { return len(p.surveys) == 2 })
	p.send(wire.ActivityMessage(wire.Activity{Mailboxes: []wire.Mailbox{{Path: "a", Turn: 20, Since: 2e18}, {Path: "b", Turn: 10, Since: 2e18}}}))
	for !f.m.Status().Whole {
		p.until("served", func() bool { return len(p.compares)+len(p.fetches) > 0 || f.m.Status().Whole })
		p.serveSome(store)
	}
	f.holds(store)
	want := []string{
		"a/.Archive/cur/1", "a/.Archive/cur/2", "z/cur/1",
		"a/cur/2", "b/new/2", "b/cur/1", "b/dovecot-uidlist", "a/cur/1", "a/dovecot-uidlist",
	}
	if !slices.Equal(p.asked, want) {
		t.Errorf("asked for %q,\nwant %q", p.asked, want)
	}
}

// serveSome is serveOnce of a primary that lists only what is wanted.
func (p *fakePrimary) serveSome(store map[string]file) {
	for len(p.compares) > 0 {
		c := p.compares[0]
		p.compares = p.compares[1:]
		some := maps.Clone(store)
		if c.Since != 0 {
			maps.DeleteFunc(some, func(_ string, f file) bool { return f.mtime < c.Since })
		}
		for _, l := range listings(some, string(c.Path), 1000) {
			if c.Path == "gone" {
				l = wire.Listing{Path: c.Path, Outcome: wire.Gone, Last: true}
			}
			p.lists(l)
		}
	}
	p.serveOnce(store, 1000)
}

// TestMessagesComeInTheirTurn: the order in a mailbox is the primary's, however
// many pages there are.
func TestMessagesComeInTheirTurn(t *testing.T) {
	f := newFixture(t)
	p := f.connect()
	p.welcome(at(1, 1), "new")
	p.until("comparing", func() bool { return len(p.compares) > 0 })
	dir := file{dir: true}.facts()
	p.lists(wire.Listing{Path: ".", Outcome: wire.OK, Facts: dir, Last: true, Items: []wire.Item{{Name: "cur", Facts: dir}}})
	p.until("comparing cur", func() bool { return len(p.compares) > 1 })
	const n = 30
	var want []string
	for page := range 3 {
		l := wire.Listing{Path: "cur", Outcome: wire.OK, Facts: dir, Last: page == 2}
		for i := range n / 3 {
			number := page*n/3 + i
			l.Items = append(l.Items, wire.Item{
				Name: fmt.Sprintf("m%02d", number), Facts: text(fmt.Sprint("message ", number)).facts(), Turn: uint64(1000 - number),
			})
			want = append(want, "cur/"+l.Items[i].Name)
		}
		p.lists(l)
	}
	slices.Reverse(want)
	p.until("asked for all", func() bool { return len(p.fetches) == n })
	for i, w := range p.fetches {
		if string(w.Path) != want[i] {
			t.Fatalf("message %d asked for is %q, want %q", i, w.Path, want[i])
		}
	}
}

// TestOrderBreaksNothing: whatever mailboxes the primary names, gone ones and
// some that are in the way, the mirror becomes equal.
func TestOrderBreaksNothing(t *testing.T) {
	store := surveyStore()
	store["a/cur/4:2,S"] = aged("renamed since", 2e18)
	f := newFixture(t)
	p := f.whole()
	p.journal(put("a/cur/4:2,", aged("renamed since", 2e18)), put("b", text("in the way")), put("c/cur/5", text("gone by now")))
	p.untilAcked(3)
	p.hangUp()
	p = f.connect()
	p.surveyed = true
	p.welcome(at(1, 9), "behind")
	p.until("asked for the mailboxes", func() bool { return len(p.surveys) == 1 })
	p.send(wire.ActivityMessage(wire.Activity{Mailboxes: []wire.Mailbox{
		{Path: "gone"}, {Path: "b", First: true}, {Path: "b", Turn: 1, Since: 1}, {Path: "a", Turn: 1, Since: 1}, {Path: "c", Turn: 2, Since: 1}, {Path: ".", Turn: 3, Since: 1},
	}}))
	for !f.m.Status().Whole {
		p.until("served", func() bool { return len(p.compares)+len(p.fetches) > 0 || f.m.Status().Whole })
		p.serveSome(store)
	}
	f.holds(store)
}

// TestSurveyEnds: a primary that goes round in circles is cut off.
func TestSurveyEnds(t *testing.T) {
	f := newFixture(t)
	p := f.connect()
	p.surveyed = true
	p.welcome(at(1, 1), "new")
	p.send(wire.ActivityMessage(wire.Activity{Next: "0:a"}))
	p.send(wire.ActivityMessage(wire.Activity{Next: "0:a"}))
	if err := p.end(); err == nil || !strings.Contains(err.Error(), "survey") && !strings.Contains(err.Error(), "asked for") {
		t.Errorf("it ended with %v", err)
	}
}

// TestRankingIsBounded: of more mailboxes than can be kept the best are.
func TestRankingIsBounded(t *testing.T) {
	s := newSurvey()
	const extra = 1000
	for i := range rankedKept + extra {
		s.ranked.Add(wire.Mailbox{Path: journal.Path(fmt.Sprint(i)), Turn: uint64((i * 7919) % (rankedKept + extra))})
	}
	boxes, _ := s.ranked.Sorted()
	if len(boxes) != rankedKept || !slices.IsSortedFunc(boxes, compareTurns) {
		t.Fatalf("%d are kept", len(boxes))
	}
	if boxes[0].Turn != 0 || boxes[rankedKept-1].Turn >= rankedKept+extra-1 {
		t.Errorf("kept from %d to %d", boxes[0].Turn, boxes[rankedKept-1].Turn)
	}
}

// TestDirectoriesThatWaitAreBounded: of a directory with very many others in it
// some are compared later, and never none.
func TestDirectoriesThatWaitAreBounded(t *testing.T) {
	f := newFixture(t)
	for _, waiting := range []int{0, tasksKept - tasksEach - 10, 2 * tasksKept} {
		r := &resync{k: &committer{m: f.m}, todo: make([]*task, waiting)}
		d := &differ{resync: r, t: &task{path: "ex.org"}}
		for i := range 2 * tasksKept {
			d.descend(journal.Path(fmt.Sprintf("ex.org/u%d", i)))
		}
		want := max(tasksKept-waiting, tasksEach)
		if len(d.t.children) != want || !d.t.again {
			t.Errorf("with %d that wait: %d are added, want %d; once more: %v", waiting, len(d.t.children), want, d.t.again)
		}
	}
}
