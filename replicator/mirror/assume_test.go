package mirror

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// keep puts files into a store.
func keep(t *testing.T, store string, files map[string]file) {
	t.Helper()
	for name, f := range files {
		path, at := filepath.Join(store, name), time.Unix(0, f.mtime)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700),
			os.WriteFile(path, []byte(f.data), os.FileMode(f.mode)), os.Chtimes(path, at, at)); err != nil {
			t.Fatal(err)
		}
	}
}

// unread answers comparisons as a primary does that has read none of its
// contents, and fetches but for proofs, until all is compared. It returns the
// paths of those fetches.
func (p *fakePrimary) unread(store map[string]file) (fetched []string) {
	p.f.t.Helper()
	for !p.f.m.Status().Whole {
		p.until("asked, or compared", func() bool { return len(p.compares)+len(p.fetches) > 0 || p.f.m.Status().Whole })
		for len(p.compares) > 0 {
			c := p.compares[0]
			p.compares = p.compares[1:]
			for _, l := range listings(store, string(c.Path), 100) {
				for i := range l.Items {
					l.Items[i].Facts.Content = journal.ContentID{}
				}
				p.lists(l)
			}
		}
		for _, it := range slices.Clone(p.fetches) {
			if !it.Proof {
				fetched = append(fetched, string(it.Path))
				p.brings(string(it.Path), store[string(it.Path)])
			}
		}
	}
	slices.Sort(fetched)
	return fetched
}

// older is a store, and what an older copy of it has on the mirror.
func older() (store, copied map[string]file, assumed int) {
	late := func(f file) file { f.mtime += 1e9; return f }
	same, flags, read, touched, right := text("same"), text("flagged"), text("was read"), text("touched since"), text("corrupt")
	wrong := text("CORRUPT")
	store = map[string]file{
		"d/cur/same:2,S": same, "d/cur/flags:2,S": flags, "d/cur/read:2,S": read, "d/cur/touched": touched,
		"d/cur/corrupt": right, "d/cur/longer": text("is longer now"), "d/cur/lacking": text("came later"),
		"d/subscriptions": text("A\n"), "d/new/new": text("is new"),
	}
	copied = map[string]file{
		"d/cur/same:2,S": same, "d/cur/flags:2,": flags, "d/new/read": read, "d/cur/touched": late(touched),
		"d/cur/corrupt": wrong, "d/cur/longer": text("is longer"), "d/cur/expunged": text("x"),
		"d/subscriptions": text("B\n"), "d/new/new": text("is new"),
	}
	return store, copied, 6
}

// An older copy that the mirror had is not asked of the primary: it is assumed,
// by name and size, and never called proven before it is.
func TestOlderCopyIsAssumed(t *testing.T) {
	store, copied, assumed := older()
	f := newFixture(t)
	keep(t, f.store, copied)
	p := f.connect()
	p.welcome(at(1, 10), "the mirror is new")
	got := p.unread(store)
	if want := []string{"d/cur/lacking", "d/cur/longer", "d/subscriptions"}; !slices.Equal(got, want) {
		t.Errorf("fetched: %q", got)
	}
	p.until("assumed", func() bool { return f.totals().Guessed == uint64(assumed) })
	want := maps.Clone(store)
	want["d/cur/corrupt"] = copied["d/cur/corrupt"] // nobody knows yet
	f.holds(want)

	// The primary's digest is ours: that proves nothing of what it has not read.
	var digest catalog.Digest
	f.view(func(tx *catalog.Tx) error { digest = tx.Digest(); return nil })
	p.send(wire.HeartbeatMessage(wire.Heartbeat{State: "watching", Mark: &wire.Mark{Sequence: 10, Digest: digest, Unread: uint64(assumed)}}))
	p.until("proofs are asked for", func() bool { return len(p.fetches) == assumed })
	if s := f.m.Status(); s.Proven || s.Totals.Guessed != uint64(assumed) {
		t.Errorf("proven: %v, of %d that are assumed", s.Proven, s.Totals.Guessed)
	}
	for _, it := range slices.Clone(p.fetches) {
		path, right := string(it.Path), store[string(it.Path)]
		if !it.Proof {
			t.Errorf("%q is asked for as if it lacked", path)
		}
		switch {
		case path == "d/cur/touched":
			p.answer(path, wire.ContentEnd{Outcome: wire.Later}, "")
		case it.Have == contentID(right.data):
			p.answer(path, wire.ContentEnd{Outcome: wire.Same, Facts: right.facts()}, "")
		default:
			p.brings(path, right)
		}
	}
	p.until("one is left", func() bool { return f.totals().Guessed == 1 })
	f.holds(store)

	p = p.again()
	p.until("asked for once more", func() bool { return p.fetchOf("d/cur/touched") >= 0 })
	p.answer("d/cur/touched", wire.ContentEnd{Outcome: wire.Unreadable}, "")
	p.journal(put("d/new/z", text("z"))) // what comes behind the answer has come
	p.untilAcked(11)
	if n := f.totals(); n.Guessed != 1 || n.Missing != 0 {
		t.Errorf("what the primary cannot read is not assumed any more: %+v", n)
	}
	p.hangUp()
}

// What happens to a message that is assumed happens to the guess.
func TestAssumedFollowsTheJournal(t *testing.T) {
	a, b, c := text("a"), text("bb"), text("ccc")
	f := newFixture(t)
	keep(t, f.store, map[string]file{"d/cur/a": a, "d/cur/b": b, "d/cur/c": c})
	p := f.connect()
	p.welcome(at(1, 10), "the mirror is new")
	if got := p.unread(map[string]file{"d/cur/a": a, "d/cur/b": b, "d/cur/c": c}); len(got) > 0 {
		t.Errorf("fetched: %q", got)
	}
	p.until("assumed", func() bool { return f.totals().Guessed == 3 })
	flagged := does(journal.KindSetAttributes, "d/cur/c", file{data: c.data, mtime: c.mtime + 5, mode: 0o640})
	flagged.Facts.Content = journal.ContentID{}
	p.journal(named(journal.KindMove, "d/cur/a", "d/cur/a:2,S"), put("d/cur/b", text("other")), flagged)
	p.untilAcked(13)
	f.holds(map[string]file{"d/cur/a:2,S": a, "d/cur/b": text("other"), "d/cur/c": {data: c.data, mtime: c.mtime + 5, mode: 0o640}})
	if n := f.totals(); n.Guessed != 2 || n.Missing != 0 {
		t.Errorf("%+v", n)
	}
	p.hangUp()

	// Another mirror had the primary read them: that is a proof, or none.
	p = f.connect()
	p.welcome(at(1, 13), "the digests differ")
	p.until("comparing", func() bool { return len(p.compares) > 0 })
	p.serve(map[string]file{"d/cur/a:2,S": a, "d/cur/b": text("other"), "d/cur/c": text("CCC")}, 100)
	f.holds(map[string]file{"d/cur/a:2,S": a, "d/cur/b": text("other"), "d/cur/c": text("CCC")})
	if n := f.totals(); n.Guessed != 0 || n.Unread != 0 {
		t.Errorf("%+v", n)
	}
}
