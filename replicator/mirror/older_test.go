package mirror

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// The entries of a group that puts the uidlist of a mailbox three times.
func busyGroup() []entry {
	return []entry{
		put("cur/a", text("message a")), put("dovecot-uidlist", text("1 :a\n")),
		put("cur/b", text("message b")), put("dovecot-uidlist", text("1 :a\n2 :b\n")),
		put("cur/c", text("message c")), put("dovecot-uidlist", text("1 :a\n2 :b\n3 :c\n")),
	}
}

// TestNothingGoesBack: when a group that was lost is done again, and killed once more,
// no control file is older than it was when the group was lost.
func TestNothingGoesBack(t *testing.T) {
	group := busyGroup()
	for lost := 2; lost <= len(group); lost++ {
		for again := range len(group) + 1 {
			b := newBench(t)
			b.killed(group, 1, lost)
			was := b.files()
			b.killed(group[:again], 1, again)
			for p, words := range was {
				if is := b.files()[p]; p == "dovecot-uidlist" && len(is) < len(words) {
					t.Errorf("lost after %d, then %d again: the uidlist was %q, and is %q", lost, again, words, is)
				}
			}
			b.applyAll(group[:again], 0)
			b.applyAll(group, again)
			b.holds(map[string]file{
				"cur/a": text("message a"), "cur/b": text("message b"), "cur/c": text("message c"),
				"dovecot-uidlist": text("1 :a\n2 :b\n3 :c\n"),
			})
			b.complete()
			b.stamped()
		}
	}
}

// history is which things each name has had, one after the other.
type history map[string][]string

// historyOf makes the changes of entries one after the other, and notes what becomes
// of each name.
func historyOf(entries []entry) history {
	h, now := make(history), make(map[string]string)
	set := func(p, words string) {
		now[p] = words
		h[p] = append(h[p], words)
	}
	for _, e := range entries {
		p, from := string(e.Path), string(e.From)
		switch e.Kind {
		case journal.KindPut:
			set(p, "file "+e.data)
		case journal.KindSymlink:
			set(p, "-> "+e.Facts.Target)
		case journal.KindMove:
			set(p, now[from])
			delete(now, from)
		case journal.KindLink:
			set(p, now[from])
		case journal.KindRemove:
			delete(now, p)
		case journal.KindMoveDir, journal.KindRemoveDir:
			for q, words := range now {
				if rest, beneath := strings.CutPrefix(q, cmp.Or(from, p)+"/"); beneath {
					delete(now, q)
					if e.Kind == journal.KindMoveDir {
						set(p+"/"+rest, words)
					}
				}
			}
		default:
		}
	}
	return h
}

// newest is how far each name has come in its history.
type newest struct {
	history
	reached map[string]int
}

// see looks at a store after a step.
func (n *newest) see(b *bench, step string) {
	b.t.Helper()
	for p, words := range b.files() {
		is := -1
		for i, had := range n.history[p] {
			if had == words {
				is = i
			}
		}
		if words == "dir" {
			continue
		}
		if is < n.reached[p] {
			b.t.Fatalf("%s: %q was %q, and is %q", step, p, n.history[p][n.reached[p]], words)
		}
		n.reached[p] = is
	}
}

// TestNothingGoesBackAtRandom: whatever the entries are, however they are cut into
// groups, and wherever each of those is killed, no name ever gets a thing that is older
// than one which it has had.
func TestNothingGoesBackAtRandom(t *testing.T) {
	for seed := range uint64(24) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 3))
			m := &model{files: make(map[string]file), dirs: make(map[string]bool), rng: rng, often: true}
			var entries []entry
			for range 40 {
				entries = append(entries, m.step()...)
			}
			defer func() {
				for i, e := range entries {
					if t.Failed() {
						t.Logf("%d %v %q %q %q%s", i+1, e.Kind, e.From, e.Path, e.data, e.Facts.Target)
					}
				}
			}()
			b := newBench(t)
			n := &newest{historyOf(entries), make(map[string]int)}
			for at := 0; at < len(entries); {
				whole := groups(b.changes(entries[at:], journal.Sequence(at+1)))[0]
				size := 1 + rng.IntN(whole)
				steps := rng.IntN(size + 1)
				b.each = func(i int) {
					n.see(b, fmt.Sprintf("entries %d to %d, of %d, after %d", at+1, at+size, at+whole, i))
				}
				b.killed(entries[at:at+size], journal.Sequence(at+1), steps)
				b.each = nil
				if rng.IntN(3) > 0 {
					continue // it is done again, maybe with more or with less
				}
				b.apply(entries[at:at+size], journal.Sequence(at+1))
				n.see(b, fmt.Sprintf("behind entry %d", at+size))
				at += size
			}
			b.holds(m.holds())
			b.complete()
			b.stamped()
		})
	}
}

// applyAll applies entries, but the first ones.
func (b *bench) applyAll(entries []entry, from int) {
	b.t.Helper()
	for from < len(entries) {
		size := groups(b.changes(entries[from:], journal.Sequence(from+1)))[0]
		b.apply(entries[from:from+size], journal.Sequence(from+1))
		from += size
	}
}

// stamped says that the catalog has the stamp of each file.
func (b *bench) stamped() {
	b.t.Helper()
	for p, words := range b.files() {
		if words == "dir" {
			continue
		}
		info, err := b.m.cfg.Root.Stat(journal.Path(p))
		if err != nil {
			b.t.Fatal(err)
		}
		b.view(func(tx *catalog.Tx) error {
			known, err := tx.Lookup(journal.Path(p))
			if err == nil && !known.Stamp.SameInode(info.Stamp) {
				b.t.Errorf("%q has the stamp %v, the catalog says %v", p, info.Stamp, known.Stamp)
			}
			return err
		})
	}
}
