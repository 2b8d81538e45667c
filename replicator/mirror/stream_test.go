package mirror

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

func TestEntriesAreApplied(t *testing.T) {
	f := newFixture(t)
	p := f.whole()
	a, b := text("message a"), text("message b")
	list := text("3 V1 N2\n1 :a\n")
	longer := text("3 V1 N2\n1 :a\n2 :b\n")
	held := func(base string, keep int, data string, f file) entry {
		e := without("u/dovecot-uidlist", f, wire.OK)
		e.Held = &journal.Held{Keep: int64(keep), Data: []byte(data)}
		if keep > 0 {
			e.Held.Base = contentID(base)
		}
		return e
	}
	p.journal(
		does(journal.KindMakeDir, "u", file{dir: true}),
		put("u/new/a", a), put("u/new/b", b), held("", 0, list.data, list),
		named(journal.KindMove, "u/new/a", "u/cur/a:2,S"),
		named(journal.KindLink, "u/new/b", "v/cur/b:2,"),
		without("u/cur/copy-of-a", a, wire.OK),
		does(journal.KindSymlink, "u/.dovecot.sieve", file{target: "sieve/x"}),
	)
	p.journal(held(list.data, len(list.data), "2 :b\n", longer), put("u/cur/empty", text("")))
	p.untilAcked(10)
	f.holds(map[string]file{
		"u/cur/a:2,S": a, "u/new/b": b, "v/cur/b:2,": b, "u/cur/copy-of-a": a, "u/cur/empty": text(""),
		"u/dovecot-uidlist": longer, "u/.dovecot.sieve": {target: "sieve/x"},
	})
	if pos := f.position(); pos != at(1, 10) {
		t.Errorf("position %v", pos)
	}
	one, _ := os.Stat(filepath.Join(f.store, "u/new/b"))
	two, _ := os.Stat(filepath.Join(f.store, "v/cur/b:2,"))
	if !os.SameFile(one, two) || one.ModTime().UnixNano() != b.mtime {
		t.Error("the two names are not one file, or have another time")
	}
	if left, _ := os.ReadDir(filepath.Join(f.store, "..mailtwin", stageName)); len(left) > 1 { // one is prepared for the next content
		t.Errorf("still staged: %v", left)
	}
}

// What is not here is not acknowledged, until it is, or the primary itself
// cannot have it; a new stream changes nothing in that.
func TestMissingContentsHoldTheAcknowledgement(t *testing.T) {
	a := text("message a")
	ok := wire.ContentEnd{Outcome: wire.OK, Facts: a.facts()}
	for _, tt := range []struct {
		name    string
		entries []entry
		then    func(p *fakePrimary) *fakePrimary
		held    journal.Sequence // acknowledged before
		want    map[string]file
		missing uint64
	}{
		{"it comes", []entry{without("d/a", a, wire.OK)}, func(p *fakePrimary) *fakePrimary {
			p.answer("d/a", ok, a.data)
			return p
		}, 0, map[string]file{"d/a": a}, 0},
		{"it comes on the next stream", []entry{put("d/b", text("b")), without("d/a", a, wire.OK)}, func(p *fakePrimary) *fakePrimary {
			p = p.again()
			p.until("greeted", func() bool { return p.fetchOf("d/a") >= 0 })
			if p.acked != 1 {
				p.f.t.Errorf("acknowledged %d on the next stream", p.acked)
			}
			p.answer("d/a", ok, a.data)
			return p
		}, 1, map[string]file{"d/a": a, "d/b": text("b")}, 0},
		{"nobody can read it", []entry{without("d/a", a, wire.OK)}, func(p *fakePrimary) *fakePrimary {
			p.answer("d/a", wire.ContentEnd{Outcome: wire.Unreadable}, "")
			return p
		}, 0, nil, 1},
		{"its folder was renamed", []entry{does(journal.KindMakeDir, "d", file{dir: true}), without("d/a", a, wire.OK)}, func(p *fakePrimary) *fakePrimary {
			p.journal(named(journal.KindMoveDir, "d", "e"))
			p.answer("d/a", wire.ContentEnd{Outcome: wire.Gone}, "")
			p.answer("e/a", ok, a.data)
			return p
		}, 1, map[string]file{"e/a": a}, 0},
		{"it was renamed after the answer", []entry{without("d/a", a, wire.OK)}, func(p *fakePrimary) *fakePrimary {
			p.answer("d/a", wire.ContentEnd{Outcome: wire.Gone}, "")
			p.journal(named(journal.KindMove, "d/a", "d/a:2,S"))
			p.answer("d/a:2,S", ok, a.data)
			return p
		}, 0, map[string]file{"d/a:2,S": a}, 0},
		{"it was removed after the answer", []entry{without("d/a", a, wire.OK)}, func(p *fakePrimary) *fakePrimary {
			p.answer("d/a", wire.ContentEnd{Outcome: wire.Gone}, "")
			p.journal(does(journal.KindRemove, "d/a", a))
			return p
		}, 0, nil, 0},
		{"it was replaced", []entry{without("d/a", text("older"), wire.Changed)}, func(p *fakePrimary) *fakePrimary {
			p.journal(put("d/a", a))
			return p
		}, 0, map[string]file{"d/a": a}, 0},
		{"it was gone when its entry was sent, and comes under a new name", []entry{without("d/a", a, wire.Gone)}, func(p *fakePrimary) *fakePrimary {
			p.journal(named(journal.KindMove, "d/a", "d/b"))
			p.answer("d/b", ok, a.data)
			return p
		}, 0, map[string]file{"d/b": a}, 0},
		{"it changed meanwhile, and nothing follows", []entry{without("d/a", a, wire.OK)}, func(p *fakePrimary) *fakePrimary {
			p.answer("d/a", wire.ContentEnd{Outcome: wire.Changed}, "")
			p.answer("d/a", ok, a.data)
			return p
		}, 0, map[string]file{"d/a": a}, 0},
		{"a link to what is missing", []entry{without("d/a", a, wire.OK), named(journal.KindLink, "d/a", "e/a")}, func(p *fakePrimary) *fakePrimary {
			p.answer("d/a", ok, a.data)
			p.answer("e/a", ok, a.data)
			return p
		}, 0, map[string]file{"d/a": a, "e/a": a}, 0},
	} {
		t.Run(strings.ReplaceAll(tt.name, " ", "_"), func(t *testing.T) {
			f := newFixture(t)
			p := f.whole()
			p.journal(tt.entries...)
			p.until("applied", func() bool { return f.m.Status().Applied == journal.Sequence(len(tt.entries)) })
			if p.acked > tt.held {
				t.Fatalf("%d was acknowledged without its content", p.acked)
			}
			p = tt.then(p)
			p.untilAcked(p.next - 1)
			f.holds(tt.want)
			if n := f.totals().Missing; n != tt.missing {
				t.Errorf("%d are missing, want %d", n, tt.missing)
			}
		})
	}
}

// A comparison leads to the primary's store, whatever the mirror has.
func TestComparison(t *testing.T) {
	a, b := text("message a"), text("message bb")
	linked := a
	linked.link = 7
	big := make(map[string]file)
	for i := range 50 {
		big[fmt.Sprintf("d/cur/%02d:2,", i)] = text(fmt.Sprint("message ", i))
	}
	flagged := make(map[string]file)
	for p, f := range big {
		flagged[p+"S"] = f
	}
	for _, tt := range []struct {
		name          string
		mirror, store map[string]file
		fetched       int // at most; -1: any number
	}{
		{"new", nil, map[string]file{"d/cur/a": a, "d/dovecot-uidlist": b, "x": {target: "d"}}, -1},
		{"equal", map[string]file{"d/cur/a": a}, map[string]file{"d/cur/a": a}, 0},
		{"stale files, folders and links", map[string]file{"d/cur/a": a, "d/old": b, "e/cur/b": b, "x": {target: "d"}}, map[string]file{"d/cur/a": a}, 0},
		{"flags", map[string]file{"d/cur/a:2,": a, "d/new/b": b, "d/new/c": a}, map[string]file{"d/cur/a:2,S": a, "d/cur/b:2,": b, "d/new/c": a}, 0},
		{"flags over many pages", big, flagged, 0},
		{"the other way round", flagged, big, 0},
		{"a copy elsewhere", map[string]file{"d/cur/a": a}, map[string]file{"d/cur/a": a, "e/cur/z": a}, 0},
		{"hard links", nil, map[string]file{"d/cur/a": linked, "e/cur/a": linked, "e/cur/b": linked}, 1},
		{"other types", map[string]file{"p": a, "q": {target: "x"}, "r/s": b, "s": {dir: true}},
			map[string]file{"p/p": a, "q": a, "r": {target: "y"}, "s": b}, -1},
		{"changed contents", map[string]file{"d/cur/a": a, "d/subscriptions": a}, map[string]file{"d/cur/a": b, "d/subscriptions": b}, -1},
	} {
		t.Run(strings.ReplaceAll(tt.name, " ", "_"), func(t *testing.T) {
			f := newFixture(t)
			p := f.connect()
			p.welcome(at(1, 10), "the mirror is new")
			p.serve(tt.mirror, 7)
			p.hangUp()
			p = f.connect()
			p.welcome(at(1, 20), "it was away")
			p.until("comparing", func() bool { return len(p.compares) > 0 })
			p.serve(tt.store, 7)
			f.holds(tt.store)
			if n := f.m.Status().Progress.FilesDone; tt.fetched >= 0 && n > uint64(tt.fetched) {
				t.Errorf("%d were fetched", n)
			}
			if pos := f.position(); pos != at(1, 20) {
				t.Errorf("position %v", pos)
			}
		})
	}
}

// Entries that come while a directory is compared are newer than the pages
// before them.
func TestEntriesBetweenPages(t *testing.T) {
	a, b := text("message a"), text("message bb")
	page := func(last bool, items ...string) wire.Listing {
		l := wire.Listing{Path: "cur", Outcome: wire.OK, Facts: file{dir: true}.facts(), Last: last}
		for _, name := range items {
			l.Items = append(l.Items, wire.Item{Name: name, Facts: a.facts()})
		}
		return l
	}
	for _, tt := range []struct {
		name    string
		mirror  map[string]file
		entries []entry
		want    map[string]file
	}{
		{"what a page lacked is there again", map[string]file{"cur/a": a, "cur/m": a, "cur/x": a},
			[]entry{put("cur/a", b)}, map[string]file{"cur/a": b, "cur/m": a, "cur/x": a}},
		{"renamed to what a page lacked", map[string]file{"cur/a": b, "cur/m": a, "cur/x": a},
			[]entry{named(journal.KindMove, "cur/m", "cur/a")}, map[string]file{"cur/a": a, "cur/x": a}},
		{"a name waits for a later page and is removed", map[string]file{"cur/m": a, "cur/m:2,T": a, "cur/x": a},
			[]entry{does(journal.KindRemove, "cur/m", a)}, map[string]file{"cur/x": a}},
		{"attributes of what was not compared", map[string]file{"cur/m": a, "cur/x": a},
			[]entry{does(journal.KindSetAttributes, "new/n", a)}, map[string]file{"cur/m": a, "cur/x": a, "new/n": a}},
	} {
		t.Run(strings.ReplaceAll(tt.name, " ", "_"), func(t *testing.T) {
			f := newFixture(t)
			p := f.connect()
			p.welcome(at(1, 10), "the mirror is new")
			p.serve(tt.mirror, 100)
			p.hangUp()
			p = f.connect()
			p.welcome(at(1, 20), "it was away")
			root := wire.Listing{Path: ".", Outcome: wire.OK, Facts: file{dir: true}.facts(), Last: true, Items: []wire.Item{
				{Name: "cur", Facts: file{dir: true}.facts(), Digest: [32]byte{1}},
				{Name: "new", Facts: file{dir: true}.facts(), Digest: [32]byte{2}},
			}}
			p.until("comparing", func() bool { return len(p.compares) == 1 })
			p.lists(root)
			p.lists(page(false, "m"))
			p.journal(tt.entries...)
			p.lists(page(true, "x"))
			p.until("comparing", func() bool { return len(p.compares) == 3 })
			p.compares = p.compares[2:] // new
			p.serve(tt.want, 100)
			want := maps.Clone(tt.want)
			want["new"] = file{dir: true}
			f.holds(want)
		})
	}
}

func TestProtocolIsKept(t *testing.T) {
	a := text("message a")
	listing := func(path string, last bool, names ...string) wire.Listing {
		l := wire.Listing{Path: journal.Path(path), Outcome: wire.OK, Facts: file{dir: true}.facts(), Last: last}
		for _, n := range names {
			l.Items = append(l.Items, wire.Item{Name: n, Facts: a.facts()})
		}
		return l
	}
	for _, tt := range []struct {
		name string
		say  func(p *fakePrimary)
	}{
		{"a gap", func(p *fakePrimary) { p.next = 3; p.journal(put("a", a)) }},
		{"a repetition", func(p *fakePrimary) { p.journal(put("a", a)); p.next = 1; p.journal(put("a", a)) }},
		{"an epoch beyond the primary's", func(p *fakePrimary) { p.epoch = 2; p.journal(put("a", a)) }},
		{"an older epoch", func(p *fakePrimary) { p.epoch = 0; p.journal(put("a", a)) }},
		{"a transfer that never came", func(p *fakePrimary) {
			e := without("a", a, wire.OK)
			e.Transfer = wire.PrimaryTransfer | 5
			p.journal(e)
		}},
		{"a transfer that was not asked for", func(p *fakePrimary) {
			p.send(asBatch(&pb.Batch{Contents: []*pb.Content{transfer(9, a.data, wire.ContentEnd{Outcome: wire.OK, Facts: a.facts()})}}))
		}},
		{"another content than the entry's", func(p *fakePrimary) {
			b := p.batch(put("a", a))
			b.Contents[0] = transfer(b.Contents[0].GetTransfer(), "other", wire.ContentEnd{Outcome: wire.OK, Facts: text("other").facts()})
			p.send(asBatch(b))
		}},
		{"the same transfer twice", func(p *fakePrimary) {
			c := transfer(wire.PrimaryTransfer|1, a.data, wire.ContentEnd{Outcome: wire.OK, Facts: a.facts()})
			p.send(asBatch(&pb.Batch{Contents: []*pb.Content{c, c}}))
		}},
		{"many open transfers", func(p *fakePrimary) {
			var all []*pb.Content
			for i := range uint64(9) {
				c := transfer(wire.PrimaryTransfer|i, a.data, wire.ContentEnd{})
				c.End = nil
				all = append(all, c)
			}
			p.send(asBatch(&pb.Batch{Contents: all}))
		}},
		{"a listing that was not asked for", func(p *fakePrimary) { p.lists(listing(".", true)) }},
		{"a put into the staging directory", func(p *fakePrimary) { p.journal(put("..mailtwin/1", a)) }},
		{"a move out of the staging directory", func(p *fakePrimary) { p.journal(named(journal.KindMove, "..mailtwin/1", "a")) }},
		{"the staging directory removed", func(p *fakePrimary) { p.journal(does(journal.KindRemoveDir, "..mailtwin", a)) }},
		{"a path that leads out", func(p *fakePrimary) { p.journal(put("a/../../b", a)) }},
		{"a directory moved into itself", func(p *fakePrimary) { p.journal(named(journal.KindMoveDir, "a", "a/b")) }},
		{"a put of a directory", func(p *fakePrimary) { p.journal(does(journal.KindPut, "a", file{dir: true})) }},
		{"a link to nowhere", func(p *fakePrimary) {
			e := does(journal.KindSymlink, "a", file{target: "x"})
			e.Facts.Target = ""
			p.journal(e)
		}},
		{"a heartbeat that answers what was not said yet", func(p *fakePrimary) {
			p.send(wire.HeartbeatMessage(wire.Heartbeat{State: "watching", Heard: time.Hour}))
		}},
		{"a message of no kind", func(p *fakePrimary) { p.send(&pb.ReplicateResponse{}) }},
	} {
		t.Run(strings.ReplaceAll(tt.name, " ", "_"), func(t *testing.T) {
			f := newFixture(t)
			if err := f.m.cfg.Catalog.UpdateDurably(func(t *catalog.Tx) error {
				t.SetPosition(journal.Position{Epoch: 1})
				return writeWhole(t, true)
			}); err != nil {
				t.Fatal(err)
			}
			p := f.connect()
			p.welcome(p.hello.Position, "")
			tt.say(p)
			if err := p.end(); !errors.Is(err, wire.ErrProtocol) {
				t.Errorf("the stream ended with: %v", err)
			}
		})
	}
}

func TestListingsAreChecked(t *testing.T) {
	facts := file{dir: true}.facts()
	item := func(names ...string) (out []wire.Item) {
		for _, n := range names {
			out = append(out, wire.Item{Name: n, Facts: text("x").facts()})
		}
		return out
	}
	for name, pages := range map[string][]wire.Listing{
		"another directory":     {{Path: "d", Outcome: wire.OK, Facts: facts, Last: true}},
		"not in order":          {{Path: ".", Outcome: wire.OK, Facts: facts, Last: true, Items: item("b", "a")}},
		"a name twice":          {{Path: ".", Outcome: wire.OK, Facts: facts, Last: true, Items: item("a", "a")}},
		"an empty page":         {{Path: ".", Outcome: wire.OK, Facts: facts}},
		"gone, and more":        {{Path: ".", Outcome: wire.Gone}},
		"the staging directory": {{Path: ".", Outcome: wire.OK, Facts: facts, Last: true, Items: item("..mailtwin")}},
		"pages that overlap": {
			{Path: ".", Outcome: wire.OK, Facts: facts, Items: item("a", "b")},
			{Path: ".", Outcome: wire.OK, Facts: facts, Items: item("b", "c")}},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			f := newFixture(t)
			p := f.connect()
			p.welcome(at(1, 10), "new")
			p.until("comparing", func() bool { return len(p.compares) > 0 })
			for _, l := range pages {
				p.lists(l)
			}
			if err := p.end(); !errors.Is(err, wire.ErrProtocol) {
				t.Errorf("the stream ended with: %v", err)
			}
		})
	}
}

func TestWelcomeIsChecked(t *testing.T) {
	for _, tt := range []struct {
		name   string
		epoch  journal.Epoch
		pos    journal.Position
		resync string
		want   error
	}{
		{"a place that the mirror is not at", 3, at(3, 9), "", wire.ErrProtocol},
		{"a place of a later epoch", 3, at(4, 5), "compare", wire.ErrProtocol},
		{"an epoch that is over", 2, at(2, 5), "compare", errOldEpoch},
	} {
		t.Run(strings.ReplaceAll(tt.name, " ", "_"), func(t *testing.T) {
			f := newFixture(t)
			if err := f.m.cfg.Catalog.UpdateDurably(func(tx *catalog.Tx) error {
				tx.SetPosition(at(2, 5))
				return errors.Join(writeWhole(tx, true), writeProgress(tx, progressMeta{Epoch: 3}))
			}); err != nil {
				t.Fatal(err)
			}
			p := f.connect()
			p.epoch = tt.epoch
			p.welcome(tt.pos, tt.resync)
			if err := p.end(); !errors.Is(err, tt.want) {
				t.Errorf("the stream ended with: %v", err)
			}
			if pos := f.position(); pos != at(2, 5) {
				t.Errorf("position %v", pos)
			}
		})
	}
}

// TestEpochOfMessages: nothing is taken of a lower epoch than the mirror has
// followed or the node knows of. That all it says is of its own is checked by
// the fakeStream.
func TestEpochOfMessages(t *testing.T) {
	f := newFixture(t)
	f.epoch = 2 // the node was told
	var led []string
	f.led = func(primary string, epoch journal.Epoch) error {
		led = append(led, fmt.Sprint(primary, " ", epoch))
		return nil
	}
	p := f.connect() // of epoch 1
	p.welcome(at(1, 5), "compare")
	if err := p.end(); !errors.Is(err, errOldEpoch) || !strings.Contains(err.Error(), "mx1") {
		t.Errorf("a welcome of epoch 1 ended with: %v", err)
	}
	if s := f.m.Status(); s.Attention == "" || len(led) > 0 {
		t.Errorf("attention %q, led by %q", s.Attention, led)
	}
	for _, tt := range []struct {
		epoch uint64
		want  error
	}{{2, errOldEpoch}, {4, wire.ErrProtocol}} {
		led = nil
		p = f.connect()
		p.epoch = 3
		p.welcome(at(3, 5), "compare")
		p.until("comparing", func() bool { return len(p.compares) > 0 })
		p.send(&pb.ReplicateResponse{Epoch: tt.epoch, Message: &pb.ReplicateResponse_Batch{Batch: p.batch(entry{
			Entry: wire.Entry{Entry: journal.Entry{Kind: journal.KindMakeDir, Path: "late", Facts: journal.Facts{Type: journal.TypeDirectory}}, Outcome: wire.OK},
		})}})
		if err := p.end(); !errors.Is(err, tt.want) {
			t.Errorf("a message of epoch %d ended with: %v", tt.epoch, err)
		}
		if !slices.Equal(led, []string{"mx1 3"}) {
			t.Errorf("led by %q", led)
		}
	}
	if _, err := os.Stat(filepath.Join(f.store, "late")); err == nil {
		t.Error("it was applied all the same")
	}
	f.led = func(string, journal.Epoch) error { return errTest }
	p = f.connect()
	p.epoch = 3
	p.welcome(at(3, 5), "compare")
	if err := p.end(); !errors.Is(err, errTest) {
		t.Errorf("a primary that the node does not want: %v", err)
	}
}

var errTest = errors.New("not this one")

// TestWhatArrivedIsApplied: a primary that dies has sent what nobody will send
// again; it is applied though nobody can be told.
func TestWhatArrivedIsApplied(t *testing.T) {
	f := newFixture(t)
	p := f.connect()
	p.welcome(at(1, 0), "new")
	p.until("comparing", func() bool { return len(p.compares) > 0 })
	var last journal.Position
	for i := range 20 {
		e := entry{Entry: wire.Entry{Entry: journal.Entry{
			Kind: journal.KindMakeDir, Path: journal.Path(fmt.Sprint("d", i)), Facts: journal.Facts{Type: journal.TypeDirectory, Attr: journal.Attributes{Mode: 0o700}},
		}, Outcome: wire.OK}}
		b := p.batch(e)
		last = at(1, p.next-1)
		p.send(&pb.ReplicateResponse{Message: &pb.ReplicateResponse_Batch{Batch: b}})
	}
	p.hangUp()
	if got := f.position(); got != last {
		t.Errorf("the position is %v, %v was sent", got, last)
	}
	s, err := f.m.Standing()
	if err != nil || s.Position != last || s.Exact || s.Whole || s.Connected {
		t.Errorf("it stands at %+v, %v", s, err)
	}
}
