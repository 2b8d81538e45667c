package mirror

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	pb "github.com/mailtwin/mailtwin/proto/mailtwin/v1"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// bench applies entries without a stream.
type bench struct {
	*fixture
	k    *committer
	each func(change int) // is called after each change of a group that is killed
}

// deaf is a stream that takes everything and says nothing.
type deaf struct{ fakeStream }

func (deaf) Send(*pb.ReplicateRequest) error { return nil }

func newBench(t *testing.T) *bench {
	f := newFixture(t)
	if err := f.m.openStore(); err != nil {
		t.Fatal(err)
	}
	stage, err := openStage(f.m.cfg.Root)
	if err != nil {
		t.Fatal(err)
	}
	p := &fakePrimary{f: f, ctx: t.Context(), requests: nil}
	c := &connection{m: f.m, stage: stage, stream: deaf{fakeStream{p, t.Context()}}}
	k, err := newCommitter(c, wire.WelcomeMessage{Epoch: 1})
	if err != nil {
		t.Fatal(err)
	}
	k.resync.round.running = false
	t.Cleanup(func() {
		k.close()
		stage.close()
	})
	return &bench{fixture: f, k: k}
}

// changes makes changes of entries, with contents that are staged anew.
func (b *bench) changes(entries []entry, first journal.Sequence) []*change {
	b.t.Helper()
	var out []*change
	for i := range entries {
		e := entries[i]
		c := &change{Entry: e.Entry, sequence: first + journal.Sequence(i)}
		if e.bring {
			c.file = b.staged(e.data)
		}
		out = append(out, c)
	}
	return out
}

// staged is a content that has arrived.
func (b *bench) staged(data string) *staged {
	b.t.Helper()
	file, w, err := b.k.c.stage.create()
	if err == nil {
		_, err = w.WriteString(data)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	_ = w.Close()
	file.id, file.size = contentID(data), int64(len(data))
	return file
}

// groups cuts entries as the committer does.
func groups(changes []*change) (cuts []int) {
	var t trail
	for i, c := range changes {
		if !t.add(c) {
			t = trail{}
			t.add(c)
			cuts = append(cuts, i)
		}
	}
	return append(cuts, len(changes))
}

// applyTwice applies each group in part, forgets it as a crash does, and
// applies it as a whole.
func (b *bench) applyTwice(entries []entry, crash func(changes int) int) {
	b.t.Helper()
	begin := 0
	for _, end := range groups(b.changes(entries, 1)) {
		b.killed(entries[begin:end], journal.Sequence(begin+1), crash(end-begin))
		b.apply(entries[begin:end], journal.Sequence(begin+1))
		begin = end
	}
}

// apply commits a group, whose first entry has that sequence number.
func (b *bench) apply(entries []entry, first journal.Sequence) {
	b.t.Helper()
	for _, c := range b.changes(entries, first) {
		if err := b.k.add(c); err != nil {
			b.t.Fatal(err)
		}
		b.k.group.last = c.sequence
	}
	b.k.group.position = at(1, first+journal.Sequence(len(entries))-1)
	if err := b.k.commit(); err != nil {
		b.t.Fatal(err)
	}
}

// killed applies a group, whose first entry has that sequence number, and is killed
// after some of its changes.
func (b *bench) killed(entries []entry, first journal.Sequence, changes int) {
	b.t.Helper()
	var g group
	for _, c := range b.changes(entries, first) {
		if !g.trail.add(c) {
			b.t.Fatal("these are no group")
		}
		g.changes = append(g.changes, c)
	}
	err := b.k.takeBack(first + journal.Sequence(len(entries)) - 1)
	if err == nil {
		_, err = b.k.provide(g.changes)
	}
	if err == nil {
		err = b.k.intend(&g)
	}
	for i, c := range g.changes[:changes] {
		if err == nil {
			err = b.k.applier.one(c)
		}
		if err == nil && b.each != nil {
			b.each(i + 1)
		}
	}
	if err != nil {
		b.t.Fatal(err)
	}
	b.k.applier.forget(journal.Root)
	b.k.noted = noted{}
}

// complete says that nothing has to be asked for.
func (b *bench) complete() {
	b.t.Helper()
	if n := b.totals().Missing; n > 0 || len(b.k.resync.queue) > 0 || b.k.resync.running {
		b.t.Errorf("%d are missing, asked for %d, comparing: %v", n, len(b.k.resync.queue), b.k.resync.running)
		for _, w := range b.k.resync.queue {
			b.t.Logf("asked for %q", w.path)
		}
	}
}

func TestApplyTwice(t *testing.T) {
	a, b, c := text("aaa"), text("bb"), text("c")
	mkdir := func(p string) entry { return does(journal.KindMakeDir, p, file{dir: true}) }
	before := []entry{mkdir("d"), mkdir("e"), mkdir("f"), put("d/a", a), put("d/b", b), put("e/x", text("x")), put("f/y", text("y"))}
	for _, tt := range []struct {
		name    string
		entries []entry
		want    map[string]file
	}{
		{"swap", []entry{named(journal.KindMove, "d/a", "d/t"), named(journal.KindMove, "d/b", "d/a"), named(journal.KindMove, "d/t", "d/b")},
			map[string]file{"d/a": b, "d/b": a, "e/x": text("x"), "f/y": text("y")}},
		{"moved away, another in its place", []entry{named(journal.KindMove, "d/a", "d/a2"), put("d/a", c)},
			map[string]file{"d/a": c, "d/a2": a, "d/b": b, "e/x": text("x"), "f/y": text("y")}},
		{"linked, then replaced", []entry{named(journal.KindLink, "d/a", "e/a"), put("d/a", c)},
			map[string]file{"d/a": c, "e/a": a, "d/b": b, "e/x": text("x"), "f/y": text("y")}},
		{"linked, removed, then there again", []entry{named(journal.KindLink, "d/a", "e/a"), does(journal.KindRemove, "d/a", a), put("d/a", c)},
			map[string]file{"d/a": c, "e/a": a, "d/b": b, "e/x": text("x"), "f/y": text("y")}},
		{"linked, then moved", []entry{named(journal.KindLink, "d/a", "e/a"), named(journal.KindMove, "d/a", "d/a2")},
			map[string]file{"d/a2": a, "e/a": a, "d/b": b, "e/x": text("x"), "f/y": text("y")}},
		{"one name moved onto another of the same file", []entry{named(journal.KindLink, "d/a", "e/a"), named(journal.KindMove, "d/a", "e/a")},
			map[string]file{"e/a": a, "d/b": b, "e/x": text("x"), "f/y": text("y")}},
		{"removed, then moved there", []entry{does(journal.KindRemove, "d/a", a), named(journal.KindMove, "d/b", "d/a")},
			map[string]file{"d/a": b, "e/x": text("x"), "f/y": text("y")}},
		{"put, then moved over", []entry{put("d/a", c), named(journal.KindMove, "d/b", "d/a")},
			map[string]file{"d/a": b, "e/x": text("x"), "f/y": text("y")}},
		{"put, moved twice, put again", []entry{put("d/n", c), named(journal.KindMove, "d/n", "d/o"), named(journal.KindMove, "d/o", "e/p"), put("d/n", a)},
			map[string]file{"d/a": a, "d/b": b, "d/n": a, "e/p": c, "e/x": text("x"), "f/y": text("y")}},
		{"flags there and back", []entry{named(journal.KindMove, "d/a", "d/a:2,S"), named(journal.KindMove, "d/a:2,S", "d/a")},
			map[string]file{"d/a": a, "d/b": b, "e/x": text("x"), "f/y": text("y")}},
		{"folder renamed, made again", []entry{named(journal.KindMoveDir, "d", "g"), does(journal.KindMakeDir, "d", file{dir: true}), put("d/a", c)},
			map[string]file{"g/a": a, "g/b": b, "d/a": c, "e/x": text("x"), "f/y": text("y")}},
		{"folder removed, another in its place", []entry{does(journal.KindRemoveDir, "d", a), named(journal.KindMoveDir, "e", "d")},
			map[string]file{"d/x": text("x"), "f/y": text("y")}},
		{"folder removed, made again, old mail moved there", []entry{
			does(journal.KindRemoveDir, "e", a), does(journal.KindMakeDir, "e", file{dir: true}), named(journal.KindMove, "d/a", "e/a")},
			map[string]file{"e/a": a, "d/b": b, "f/y": text("y")}},
		{"put into a folder that is renamed", []entry{put("d/n", c), named(journal.KindMoveDir, "d", "g"), named(journal.KindMove, "g/n", "g/o")},
			map[string]file{"g/a": a, "g/b": b, "g/o": c, "e/x": text("x"), "f/y": text("y")}},
		{"moved out, folder removed", []entry{named(journal.KindMove, "d/a", "e/a"), does(journal.KindRemoveDir, "d", a)},
			map[string]file{"e/a": a, "e/x": text("x"), "f/y": text("y")}},
	} {
		for crash := range 6 {
			t.Run(fmt.Sprintf("%s/%d", strings.ReplaceAll(tt.name, " ", "_"), crash), func(t *testing.T) {
				b := newBench(t)
				b.applyTwice(before, func(int) int { return 0 })
				b.applyTwice(tt.entries, func(n int) int { return min(n, crash) })
				b.holds(tt.want)
				b.complete()
			})
		}
	}
}

// model is a store that entries are made from.
type model struct {
	files map[string]file
	dirs  map[string]bool
	rng   *rand.Rand
	count int

	messages bool // no file has two names, and none is moved to another's place
	often    bool // few names get another content again and again
}

func (m *model) path() string {
	dirs := []string{"", "A/", "B/", "A/C/"}
	return dirs[m.rng.IntN(len(dirs))] + string(rune('p'+m.rng.IntN(4)))
}

func (m *model) parents(p string) (out []entry) {
	for d := path.Dir(p); d != "."; d = path.Dir(d) {
		if !m.dirs[d] {
			m.dirs[d] = true
			out = append(out, does(journal.KindMakeDir, d, file{dir: true}))
		}
	}
	slices.Reverse(out)
	return out
}

func (m *model) some() (string, bool) {
	if len(m.files) == 0 {
		return "", false
	}
	return slices.Sorted(maps.Keys(m.files))[m.rng.IntN(len(m.files))], true
}

// holds is what ought to be in a store that all changes were made in.
func (m *model) holds() map[string]file {
	want := maps.Clone(m.files)
	for d := range m.dirs {
		want[d] = file{dir: true}
	}
	return want
}

// step makes one more change.
func (m *model) step() []entry {
	p, to := m.path(), m.path()
	from, some := m.some()
	switch n := m.rng.IntN(10); {
	case m.often && some && m.rng.IntN(2) == 0:
		m.count++
		m.files[from] = text(fmt.Sprint("content ", m.count))
		if m.rng.IntN(8) == 0 {
			m.files[from] = file{target: fmt.Sprint("target ", m.count)}
			return []entry{does(journal.KindSymlink, from, m.files[from])}
		}
		return []entry{put(from, m.files[from])}
	case n < 3 || !some:
		m.count++
		out := m.parents(p)
		m.files[p] = text(fmt.Sprint("content ", m.count))
		return append(out, put(p, m.files[p]))
	case m.messages && n < 6 && m.files[to] != (file{}):
		return nil
	case n < 6 && from != to:
		out := m.parents(to)
		m.files[to] = m.files[from]
		delete(m.files, from)
		return append(out, named(journal.KindMove, from, to))
	case n < 7 && from != to && !m.messages:
		out := m.parents(to)
		m.files[to] = m.files[from]
		return append(out, named(journal.KindLink, from, to))
	case n < 8:
		delete(m.files, from)
		return []entry{does(journal.KindRemove, from, file{})}
	case m.dirs["A"] && !m.dirs["B"]:
		return m.moveDir("A", "B")
	case m.dirs["B"]:
		m.removeDir("B")
		return []entry{does(journal.KindRemoveDir, "B", file{})}
	}
	return nil
}

func (m *model) moveDir(from, to string) []entry {
	for p, f := range m.files {
		if rest, ok := strings.CutPrefix(p, from+"/"); ok {
			delete(m.files, p)
			m.files[to+"/"+rest] = f
		}
	}
	for d := range m.dirs {
		if d == from || strings.HasPrefix(d, from+"/") {
			delete(m.dirs, d)
			m.dirs[to+strings.TrimPrefix(d, from)] = true
		}
	}
	return []entry{named(journal.KindMoveDir, from, to)}
}

func (m *model) removeDir(dir string) {
	for p := range m.files {
		if strings.HasPrefix(p, dir+"/") {
			delete(m.files, p)
		}
	}
	for d := range m.dirs {
		if d == dir || strings.HasPrefix(d, dir+"/") {
			delete(m.dirs, d)
		}
	}
}

// Whatever the entries are and wherever the crash is: the second time the store
// is as it ought to be, and no content is needed again.
func TestApplyTwiceAtRandom(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			m := &model{files: make(map[string]file), dirs: make(map[string]bool), rng: rng}
			var entries []entry
			for range 40 {
				entries = append(entries, m.step()...)
			}
			b := newBench(t)
			b.applyTwice(entries, func(n int) int { return rng.IntN(n + 1) })
			b.holds(m.holds())
			b.complete()
			if t.Failed() {
				for i, e := range entries {
					t.Logf("%d %v %q %q", i+1, e.Kind, e.From, e.Path)
				}
			}
		})
	}
}

// Behind a crash a group may be done again in part only, and then the mirror be
// killed again, or promoted: whatever the primary had once is there at most once.
func TestNothingIsThereTwiceMeanwhile(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 2))
			m := &model{files: make(map[string]file), dirs: make(map[string]bool), rng: rng, messages: true}
			var entries []entry
			for range 40 {
				entries = append(entries, m.step()...)
			}
			b := newBench(t)
			begin := 0
			for _, end := range groups(b.changes(entries, 1)) {
				for i := range end - begin {
					b.killed(entries[begin:end], journal.Sequence(begin+1), end-begin)
					b.killed(entries[begin:begin+i], journal.Sequence(begin+1), i)
					b.once(entries[:end])
				}
				b.applyTwice(entries[begin:end], func(int) int { return 0 })
				begin = end
			}
		})
	}
}

// What was acknowledged, and does not come again, stays where it was moved.
func TestOnlyWhatComesAgainIsTakenBack(t *testing.T) {
	b := newBench(t)
	b.applyTwice([]entry{does(journal.KindMakeDir, "new", file{dir: true}), does(journal.KindMakeDir, "cur", file{dir: true})}, func(int) int { return 0 })
	a, c := text("aaa"), text("c")
	lost := []entry{
		put("new/a", a), named(journal.KindMove, "new/a", "cur/a:2,"), put("new/c", c),
		named(journal.KindMove, "new/c", "cur/c:2,S"), named(journal.KindMove, "cur/a:2,", "cur/a:2,S"),
	}
	b.killed(lost, 3, len(lost))
	want := map[string]file{"new": {dir: true}, "cur": {dir: true}, "cur/a:2,S": a, "cur/c:2,S": c}
	b.holds(want)
	b.killed(lost[:2], 3, 1)
	delete(want, "cur/a:2,S")
	want["new/a"] = a
	b.holds(want)
	b.killed(lost, 3, len(lost))
	delete(want, "new/a")
	want["cur/a:2,S"] = a
	b.holds(want)
	err := b.m.cfg.Catalog.Update(func(tx *catalog.Tx) error {
		_, _, err := Leave(tx)
		return err
	})
	if err == nil {
		err = b.k.takeBack(9)
	}
	if err != nil || len(b.k.noted.moves) > 0 {
		t.Errorf("%d are noted in the catalog of a node that is no mirror any more, %v", len(b.k.noted.moves), err)
	}
	b.holds(want)
}

// once says that no content is in the store under two names.
func (b *bench) once(entries []entry) {
	b.t.Helper()
	names := make(map[string]string)
	for p, words := range b.files() {
		if was, twice := names[words]; twice && words != "dir" {
			for _, e := range entries {
				b.t.Logf("%v %q %q", e.Kind, e.From, e.Path)
			}
			b.t.Fatalf("%q is %q too", p, was)
		}
		names[words] = p
	}
}

// A move that was made before a crash is recognized though the file system has
// another device number since.
func TestMovedBeforeAStart(t *testing.T) {
	b := newBench(t)
	b.applyTwice([]entry{put("d/a", text("message a"))}, func(int) int { return 0 })
	err := b.m.cfg.Catalog.UpdateDurably(func(tx *catalog.Tx) error {
		it, err := tx.Lookup("d/a")
		if err != nil {
			return err
		}
		it.Stamp.Device++
		return tx.Put("d/a", it)
	})
	if err != nil {
		t.Fatal(err)
	}
	b.k.applied, b.k.received = 0, 0
	b.applyTwice([]entry{named(journal.KindMove, "d/a", "d/a:2,S")}, func(n int) int { return n })
	b.complete()
	b.holds(map[string]file{"d/a:2,S": text("message a")})
}
