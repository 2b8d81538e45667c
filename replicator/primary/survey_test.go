package primary

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/content"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// age makes a message that is so old.
func (p *primaryStore) age(path journal.Path, age time.Duration) {
	p.write(path, []byte(path))
	at := time.Now().Add(-age)
	p.must(os.Chtimes(p.full(path), at, at))
	p.put(path+"x", nil) // makes the directories
	p.append(p.entry(journal.KindPut, path, []byte(path)))
	p.remove(journal.KindRemove, path+"x")
}

// surveyed asks for all mailboxes.
func (p *primaryStore) surveyed(t *testing.T, files uint64) (paths []string, recent []string) {
	t.Helper()
	var boxes []wire.Mailbox
	for after := ""; ; {
		a, err := p.server.survey(&wire.SurveyItem{After: after, Files: files}, p.storeState())
		if err != nil {
			t.Fatal(err)
		}
		boxes = append(boxes, a.Mailboxes...)
		if after = a.Next; after == "" {
			break
		}
	}
	slices.SortStableFunc(boxes, func(a, b wire.Mailbox) int {
		if a.First != b.First {
			return map[bool]int{true: -1, false: 1}[a.First]
		}
		return int(int64(a.Turn) - int64(b.Turn))
	})
	for _, b := range boxes {
		paths = append(paths, string(b.Path))
		if b.Since != 0 {
			recent = append(recent, string(b.Path))
		}
	}
	return paths, recent
}

// TestValueOfMailboxes: first what the operator wants, then the most active
// ones, an INBOX before a folder and that before an archive.
func TestValueOfMailboxes(t *testing.T) {
	const day = 24 * time.Hour
	p := newStore(t)
	p.age("ex/anna/cur/1", 400*day)
	p.age("ex/anna/new/2", 2*day)
	p.age("ex/anna/.Archive.2020/cur/1", 2*day-time.Hour)
	p.age("ex/anna/.Sent/cur/1", 2*day-time.Hour)
	p.age("ex/bert/cur/1", 2*day+time.Hour)
	p.age("ex/old/cur/1", 1000*day)
	p.age("ex/young/cur/1", time.Hour)
	p.age("ex/zoe/cur/1", 500*day)
	byValue := []string{"ex/young", "ex/anna", "ex/bert", "ex/anna/.Sent", "ex/anna/.Archive.2020", "ex/zoe", "ex/old"}
	paths, recent := p.surveyed(t, 0)
	if !slices.Equal(paths, byValue) || len(recent) != 5 {
		t.Errorf("by value %q; with messages of late %q", paths, recent)
	}
	p.server.cfg.Order = Order{First: []journal.Path{"ex/zoe", "nowhere", "ex/old"}, Messages: mailstore.OrderInode}
	paths, recent = p.surveyed(t, 0)
	if want := append([]string{"ex/zoe", "ex/old"}, byValue...); !slices.Equal(paths, want) || len(recent) > 0 {
		t.Errorf("with a list %q; with messages of late %q", paths, recent)
	}
	for _, after := range []string{"9:", "-1:", "x", "0:/a", "0:a/../b"} {
		if _, err := p.server.survey(&wire.SurveyItem{After: after}, p.storeState()); err == nil {
			t.Errorf("the place %q is accepted", after)
		}
	}
}

// TestSurveyOfLittle: a mirror that lacks next to nothing finds it faster by
// comparing.
func TestSurveyOfLittle(t *testing.T) {
	for _, c := range []struct {
		files, has uint64
		little     bool
	}{{1000, 995, true}, {1000, 980, false}, {1000, 2000, true}, {10, 9, false}, {10_000_000, 9_980_000, false}, {0, 0, false}} {
		if got := lacksLittle(c.files, c.has); got != c.little {
			t.Errorf("%d of %d: %v", c.has, c.files, got)
		}
	}
}

// TestTurnOfAFile: by inode, or the newest first; nobody asks for directories.
func TestTurnOfAFile(t *testing.T) {
	file := func(inode uint64, mtime int64) *catalog.Item {
		return &catalog.Item{Stamp: journal.Stamp{Inode: inode}, Facts: journal.Facts{Type: journal.TypeFile, Attr: journal.Attributes{MTime: mtime}}}
	}
	for _, order := range []mailstore.Order{"", mailstore.OrderAuto, mailstore.OrderInode} {
		if o := (Order{Messages: order}); o.turn(file(7, 1)) >= o.turn(file(9, 2)) {
			t.Errorf("%q does not follow the inodes", order)
		}
	}
	o := Order{Messages: mailstore.OrderNewest}
	if o.turn(file(7, 1)) <= o.turn(file(9, 2)) || o.turn(file(1, -5)) != o.turn(file(1, 0)) {
		t.Error("the newest is not the first")
	}
	if turn := o.turn(&catalog.Item{Facts: journal.Facts{Type: journal.TypeDirectory}}); turn != 0 {
		t.Errorf("a directory has the turn %d", turn)
	}
}

// TestListingOfLate: what is older is left out, and each file says its turn.
func TestListingOfLate(t *testing.T) {
	p := newStore(t)
	p.age("cur/old", time.Hour)
	p.age("cur/b", time.Minute)
	p.age("cur/a", time.Second)
	p.mkdir("cur/sub")
	p.server.cfg.Order.Messages = mailstore.OrderNewest
	s := p.dial(t, wire.HelloMessage{Name: "mx2"})
	s.welcome(t)
	s.say(credit(1<<20, 1000))
	s.say(wire.Survey(wire.SurveyItem{}))
	s.say(wire.Compare([]wire.CompareItem{{Path: "cur", Since: time.Now().Add(-time.Hour / 2).UnixNano()}}))
	a := await(t, s, (*pb.ReplicateResponse).GetActivity)
	if len(a.GetMailboxes()) != 0 || len(a.GetNext()) != 0 {
		t.Errorf("mailboxes %v", a) // cur has a directory in it, so the store is none
	}
	packed := await(t, s, (*pb.ReplicateResponse).GetListing)
	unpack, err := content.NewStreamDecompressor(wire.MaxEntriesSize)
	p.must(err)
	plain, err := unpack.Decompress(packed.GetListing(), int(packed.GetSize()))
	p.must(err)
	l, err := wire.UnmarshalListing(plain)
	p.must(err)
	if len(l.Items) != 2 || l.Items[0].Name != "a" || l.Items[1].Name != "b" || l.Items[0].Turn >= l.Items[1].Turn {
		t.Errorf("listed: %+v", l.Items)
	}
}

// await waits for a message of some kind.
func await[M comparable](t *testing.T, s *script, get func(*pb.ReplicateResponse) M) M {
	t.Helper()
	var none M
	for {
		select {
		case m := <-s.said:
			if found := get(m); found != none {
				return found
			}
		case <-s.done:
			t.Fatalf("the stream ended: %v", *s.err)
		case <-time.After(time.Minute):
			t.Fatal("nothing came")
		}
	}
}

func FuzzPlace(f *testing.F) {
	f.Add("")
	f.Add("3:a/b")
	f.Fuzz(func(t *testing.T, s string) {
		stage, place, err := parsePlace(s)
		if err != nil || s == "" {
			return
		}
		again, where, err := parsePlace(formatPlace(stage, place))
		if err != nil || again != stage || where != place {
			t.Errorf("%q is %d:%q, then %d:%q (%v)", s, stage, place, again, where, err)
		}
	})
}
