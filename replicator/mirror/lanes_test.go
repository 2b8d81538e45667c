package mirror

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/beneath"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// laneTest is a committer whose lanes the test fills by hand.
type laneTest struct {
	t *testing.T
	k *committer
	r *receiver
}

func newLaneTest(t *testing.T) *laneTest {
	t.Helper()
	c := &connection{steps: make(chan step, 100), live: make(chan step, 100)}
	k := &committer{c: c, m: &Mirror{cfg: Config{Rules: mailstore.Maildir{}}}}
	k.resync = &resync{k: k, sent: map[journal.Path]int{}}
	return &laneTest{t: t, k: k, r: &receiver{c: c}}
}

// pass passes a step on: of entries that put files, or with none an answer.
func (l *laneTest) pass(entries ...wire.Entry) {
	l.t.Helper()
	s := step{answer: &arrived{}}
	if len(entries) > 0 {
		s = step{entries: &wire.Entries{Entries: entries}}
	}
	if err := l.r.pass(l.t.Context(), s); err != nil {
		l.t.Fatal(err)
	}
}

// order takes all and says in which order: entries by their first path.
func (l *laneTest) order() (order string) {
	for {
		s, more := l.k.next()
		switch {
		case !more:
			return order
		case s.entries != nil:
			order += string(s.entries.Entries[0].Path) + " "
		default:
			order += "- "
		}
	}
}

func arriving(kind journal.Kind, path, from string) wire.Entry {
	e := wire.Entry{Entry: journal.Entry{Kind: kind, Path: journal.Path(path), From: journal.Path(from)}, Outcome: wire.OK}
	if kind == journal.KindPut {
		e.Transfer, e.Facts.Size = wire.PrimaryTransfer, 10
	}
	return e
}

// TestEntriesOvertake: entries go past what was sent before them, unless it may
// have to do with the same names; nothing goes past entries.
func TestEntriesOvertake(t *testing.T) {
	put := func(p string) wire.Entry { return arriving(journal.KindPut, p, "") }
	lacks := put("u/new/1")
	lacks.Transfer = 0
	for name, c := range map[string]struct {
		sent  []journal.Path
		asked []journal.Path
		pass  [][]wire.Entry
		want  string
	}{
		"a delivery":                       {[]journal.Path{"v/cur/1"}, nil, [][]wire.Entry{{}, {}, {put("u/new/1")}, {}}, "u/new/1 - - - "},
		"many":                             {nil, nil, [][]wire.Entry{{}, {put("a")}, {}, {put("b")}, {}}, "a b - - - "},
		"the same file":                    {[]journal.Path{"u/cur/1"}, nil, [][]wire.Entry{{}, {arriving(journal.KindRemove, "u/cur/1", "")}, {}}, "- u/cur/1 - "},
		"a file that is renamed":           {[]journal.Path{"u/cur/1"}, nil, [][]wire.Entry{{}, {arriving(journal.KindMove, "u/cur/1:2,S", "u/cur/1")}, {}}, "- u/cur/1:2,S - "},
		"a directory above":                {[]journal.Path{"u/cur/1"}, nil, [][]wire.Entry{{}, {arriving(journal.KindMoveDir, "w", "u")}, {}}, "- w - "},
		"a directory above that goes":      {[]journal.Path{"u/cur/1"}, nil, [][]wire.Entry{{}, {arriving(journal.KindRemoveDir, "u", "")}, {}}, "- u - "},
		"a listing of its directory":       {nil, []journal.Path{"u/new"}, [][]wire.Entry{{}, {put("u/new/1")}, {}}, "- u/new/1 - "},
		"a listing above":                  {nil, []journal.Path{"u"}, [][]wire.Entry{{}, {put("u/new/1")}, {}}, "- u/new/1 - "},
		"a listing beneath":                {nil, []journal.Path{"u/new"}, [][]wire.Entry{{}, {arriving(journal.KindRemoveDir, "u", "")}, {}}, "- u - "},
		"a listing elsewhere":              {nil, []journal.Path{"v"}, [][]wire.Entry{{}, {put("u/new/1")}, {}}, "u/new/1 - - "},
		"a content that did not come":      {nil, nil, [][]wire.Entry{{}, {lacks}, {}}, "- u/new/1 - "},
		"what waits holds up what follows": {[]journal.Path{"x"}, nil, [][]wire.Entry{{}, {put("x")}, {}, {put("u/new/1")}, {}}, "- x u/new/1 - - "},
		"a control file of the mailbox":    {[]journal.Path{"u/cur/1"}, nil, [][]wire.Entry{{}, {put("u/dovecot-uidlist")}, {}}, "- u/dovecot-uidlist - "},
		"one that is renamed":              {[]journal.Path{"u/cur/1"}, nil, [][]wire.Entry{{}, {arriving(journal.KindMove, "u/dovecot-keywords", "u/old")}, {}}, "- u/dovecot-keywords - "},
		"one behind another one":           {[]journal.Path{"u/dovecot-keywords"}, nil, [][]wire.Entry{{}, {put("u/dovecot-uidlist")}, {}}, "- u/dovecot-uidlist - "},
		"one before another one":           {[]journal.Path{"u/dovecot-uidlist"}, nil, [][]wire.Entry{{}, {put("u/dovecot-keywords")}, {}}, "u/dovecot-keywords - - "},
		"one of a mailbox above":           {[]journal.Path{"u/.Work/cur/1"}, nil, [][]wire.Entry{{}, {put("u/dovecot-uidlist")}, {}}, "u/dovecot-uidlist - - "},
		"one of another mailbox":           {[]journal.Path{"u2/cur/1"}, nil, [][]wire.Entry{{}, {put("u/dovecot-uidlist")}, {}}, "u/dovecot-uidlist - - "},
		"one whose messages are listed":    {nil, []journal.Path{"u/cur"}, [][]wire.Entry{{}, {put("u/dovecot-uidlist")}, {}}, "- u/dovecot-uidlist - "},
		"one whose mailbox is listed":      {nil, []journal.Path{"u"}, [][]wire.Entry{{}, {put("u/dovecot-uidlist")}, {}}, "- u/dovecot-uidlist - "},
		"one beside a folder that is":      {nil, []journal.Path{"u/.Work"}, [][]wire.Entry{{}, {put("u/dovecot-uidlist")}, {}}, "u/dovecot-uidlist - - "},
		"one of several":                   {[]journal.Path{"x"}, nil, [][]wire.Entry{{}, {put("u/new/1"), put("x")}, {}}, "- u/new/1 - "},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLaneTest(t)
			for _, p := range c.sent {
				l.k.resync.sent[p]++
			}
			for _, p := range c.asked {
				l.k.resync.asked = append(l.k.resync.asked, &task{path: p})
			}
			for _, entries := range c.pass {
				l.pass(entries...)
			}
			if got := l.order(); got != c.want {
				t.Errorf("taken %q, want %q", got, c.want)
			}
		})
	}
}

// TestLiveMailIsAppliedFirst: contents of a comparison that have come by the
// hundred, and were not committed yet, do not hold up what was delivered since.
func TestLiveMailIsAppliedFirst(t *testing.T) {
	f := newFixture(t)
	p := f.connect()
	p.welcome(at(1, 0), "new")
	dir := file{dir: true}.facts()
	p.until("comparing", func() bool { return len(p.compares) > 0 })
	p.lists(wire.Listing{Path: ".", Outcome: wire.OK, Facts: dir, Last: true, Items: []wire.Item{{Name: "cur", Facts: dir}}})
	p.until("comparing cur", func() bool { return len(p.compares) > 1 })
	l := wire.Listing{Path: "cur", Outcome: wire.OK, Facts: dir, Last: true}
	const n = 900
	store := map[string]file{}
	for i := range n {
		name := fmt.Sprintf("%04d", i)
		store["cur/"+name] = text("old message " + name)
		l.Items = append(l.Items, wire.Item{Name: name, Facts: store["cur/"+name].facts(), Turn: uint64(i)})
	}
	p.lists(l)
	p.until("asked for all", func() bool { return len(p.fetches) == n })
	var contents []*pb.Content
	for _, w := range p.fetches[:n-1] { // the last one does not come
		m := store[string(w.Path)]
		contents = append(contents, transfer(w.Transfer, m.data, wire.ContentEnd{Outcome: wire.OK, Facts: m.facts()}))
	}
	p.send(asBatch(&pb.Batch{Contents: contents}))
	p.journal(put("u/new/live", text("live")))
	p.untilAcked(1)
	if f.m.Status().Whole {
		t.Error("the comparison is over though a content is lacking")
	}
	p.fetches, p.compares = p.fetches[n-1:], nil
	p.serveOnce(store, n)
	p.until("whole", func() bool { return f.m.Status().Whole })
	store["u/new/live"] = text("live")
	f.holds(store)
}

// TestRhythm: groups become as small as the disk needs them, and large again.
func TestRhythm(t *testing.T) {
	r := rhythm{bulk: bulkBytes}
	usual := func() *group { return &group{bytes: r.bulk} }
	for range 10 {
		r.took(usual(), time.Second)
	}
	if r.bulk != leastBulk {
		t.Errorf("on a slow disk a group has %d bytes", r.bulk)
	}
	r.took(&group{bytes: 10, entries: 1}, time.Hour) // nothing of a comparison
	r.took(&group{bytes: 10}, time.Millisecond)      // too little to tell
	if r.bulk != leastBulk {
		t.Errorf("it learnt from what tells nothing: %d bytes", r.bulk)
	}
	for range 50 {
		r.took(usual(), time.Millisecond)
	}
	if r.bulk != bulkBytes || r.inFlight() < r.bulk {
		t.Errorf("on a fast disk a group has %d bytes, %d may be in flight", r.bulk, r.inFlight())
	}
	if !r.full(&group{bytes: bulkBytes}) || r.full(&group{bytes: bulkBytes, entries: 1}) {
		t.Error("a group of contents is full at its size, one with entries is not")
	}
}

// TestOwedComesFirst: what live mail owes is asked for before the rest, though
// as much is in flight as may be.
func TestOwedComesFirst(t *testing.T) {
	r := &resync{asking: map[journal.Path]struct{}{}, links: map[uint64]*want{}}
	r.want(want{path: "bulk"})
	r.want(want{path: "owed", owed: true})
	if r.queue[0].path != "owed" || r.queue[1].path != "bulk" {
		t.Errorf("%q is asked for first", r.queue[0].path)
	}
}

// TestChunkOfAFileThatMoves: a file is found in the staging directory, in its
// place before the catalog knows, and nowhere when another one is there.
func TestChunkOfAFileThatMoves(t *testing.T) {
	f := newFixture(t)
	stage, err := openStage(f.m.cfg.Root)
	if err != nil {
		t.Fatal(err)
	}
	defer stage.close()
	staged, w, err := stage.create()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteString("a chunk"); err != nil {
		t.Fatal(err)
	}
	info, err := beneath.FileInfo(w)
	if err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	s := &chunkSource{c: &connection{m: f.m, stage: stage}, name: staged.name, id: contentID("a chunk"), is: info.Stamp}
	read := func() string {
		b := make([]byte, 5)
		if _, err := s.ReadAt(b, 2); err != nil {
			return ""
		}
		return string(b)
	}
	if got := read(); got != "chunk" {
		t.Errorf("staged it reads %q", got)
	}
	s.place("message")
	target := filepath.Join(f.store, "message")
	if err := os.Rename(filepath.Join(f.store, mailstore.Staging, stageName, staged.name), target); err != nil {
		t.Fatal(err)
	}
	if got := read(); got != "chunk" {
		t.Errorf("in its place it reads %q", got)
	}
	if err := os.WriteFile(target+"2", []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(target+"2", target); err != nil {
		t.Fatal(err)
	}
	if got := read(); got != "" {
		t.Errorf("of another file it reads %q", got)
	}
	s.known()
	if got := read(); got != "" {
		t.Errorf("of nothing it reads %q", got)
	}
}
