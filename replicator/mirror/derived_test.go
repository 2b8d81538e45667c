package mirror

import (
	"slices"
	"strings"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// heldIn is an entry that carries the content of a file, or what was appended
// to base.
func heldIn(p string, f file, base string) entry {
	e := without(p, f, wire.OK)
	e.Held = &journal.Held{Keep: int64(len(base)), Data: []byte(f.data[len(base):])}
	if base != "" {
		e.Held.Base = contentID(base)
	}
	return e
}

// lacking reports whether the catalog has a derived file without its content.
func (f *fixture) lacking(p journal.Path) bool {
	f.t.Helper()
	var it catalog.Item
	f.view(func(tx *catalog.Tx) (err error) { it, err = tx.Lookup(p); return err })
	return it.Missing && it.Derived
}

// TestIndexIsNeverAheadOfItsLog puts an index in place only when its log is,
// owes neither, and calls neither missing.
func TestIndexIsNeverAheadOfItsLog(t *testing.T) {
	f := newFixture(t)
	p := f.whole()
	old, log, index := text("log"), text("log and more"), text("index")
	p.journal(put("u/cur/a:2,S", text("message")), heldIn("u/dovecot.index.log", old, ""))
	p.untilAcked(2)
	// The mirror does not have what the log is to be appended to.
	log.data = "something else, and more"
	log.mtime++
	p.journal(heldIn("u/dovecot.index.log", log, "something else"), heldIn("u/dovecot.index", index, ""))
	p.untilAcked(4)
	f.holds(map[string]file{"u/cur/a:2,S": text("message"), "u/dovecot.index.log": old})
	if n := f.totals().Missing; n != 0 || !f.lacking("u/dovecot.index.log") || !f.lacking("u/dovecot.index") {
		t.Errorf("%d files are called missing", n)
	}
	p.brings("u/dovecot.index.log", log)
	p.brings("u/dovecot.index", index)
	p.until("all is there", func() bool { return !f.lacking("u/dovecot.index") })
	f.holds(map[string]file{"u/cur/a:2,S": text("message"), "u/dovecot.index.log": log, "u/dovecot.index": index})
}

// TestIndexComesBehindItsMailbox: an index whose entry overtakes a comparison
// waits, and is asked for when the comparison has ended.
func TestIndexComesBehindItsMailbox(t *testing.T) {
	f := newFixture(t)
	store := map[string]file{
		"u/cur/a:2,S": text("message"), "u/dovecot-uidlist": text("3 V1 N2\n1 :a\n"), "u/subscriptions": text("A\n"),
		"u/dovecot.index": text("index"), "u/dovecot.index.log": text("the log"), "u/dovecot.index.log.2": text("the old log"),
	}
	p := f.connect()
	p.welcome(at(1, 0), "the mirror is new")
	p.journal(heldIn("u/dovecot.index.log", store["u/dovecot.index.log"], ""), heldIn("u/dovecot.index", store["u/dovecot.index"], ""))
	p.untilAcked(2)
	f.holds(nil)
	var order []string
	serve := func(lacking journal.Path) {
		for !f.m.Status().Whole || f.lacking(lacking) {
			p.until("served", func() bool {
				return len(p.compares)+len(p.fetches) > 0 || f.m.Status().Whole && !f.lacking(lacking)
			})
			for _, it := range p.fetches {
				if !f.m.Status().Whole && strings.Contains(string(it.Path), "index") {
					t.Errorf("asked for %q before the comparison had ended", string(it.Path))
				}
				order = append(order, string(it.Path))
			}
			p.serveOnce(store, 100)
		}
	}
	serve("u/dovecot.index")
	want := []string{"u/cur/a:2,S", "u/dovecot-uidlist", "u/subscriptions", "u/dovecot.index.log.2", "u/dovecot.index.log", "u/dovecot.index"}
	if !slices.Equal(order, want) {
		t.Errorf("asked for %q", order)
	}
	f.holds(store)
	// One that comes while catalogs are compared for another reason.
	p.hangUp()
	p = f.connect()
	p.welcome(at(1, 2), "it was away")
	newer := text("the log, and more")
	p.journal(heldIn("u/dovecot.index.log", newer, "the log"))
	p.untilAcked(3)
	f.holds(store)
	delete(store, "u/subscriptions")
	store["u/dovecot.index.log"] = newer
	serve("u/dovecot.index.log")
	f.holds(store)
}
