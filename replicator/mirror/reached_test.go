package mirror

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/replicator/wire"
)

// someVersions are two names with two contents each.
func someVersions() versions {
	return versions{
		"u/dovecot-uidlist":   {{12, journal.ContentID{1}}, {14, journal.ContentID{2}}},
		"u/dovecot.index.log": {{13, journal.ContentID{3}}, {15, journal.ContentID{4}}},
	}
}

const goldenVersions = `{"version":1,"epoch":3,"names":[` +
	`{"path":"dS9kb3ZlY290LXVpZGxpc3Q=","puts":[` +
	`{"entry":12,"content":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},` +
	`{"entry":14,"content":"AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}]},` +
	`{"path":"dS9kb3ZlY290LmluZGV4LmxvZw==","puts":[` +
	`{"entry":13,"content":"AwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},` +
	`{"entry":15,"content":"BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}]}]}`

func sameVersions(a, b versions) bool { return maps.EqualFunc(a, b, slices.Equal) }

func TestVersionsGolden(t *testing.T) {
	data, err := someVersions().marshal(3)
	if err != nil || string(data) != goldenVersions {
		t.Errorf("%v\ngot  %s\nwant %s", err, data, goldenVersions)
	}
	v, err := parseVersions([]byte(goldenVersions), 3)
	if err != nil || !sameVersions(v, someVersions()) {
		t.Errorf("%v, %v", v, err)
	}
	if v, err := parseVersions([]byte(goldenVersions), 4); err != nil || len(v) > 0 {
		t.Errorf("of another primary: %v, %v", v, err)
	}
}

func TestVersionsThatCannotBeRead(t *testing.T) {
	many := strings.Repeat(`{"entry":1,"content":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},`, maxNoted+1)
	for _, tt := range []struct {
		name, data string
		want       error
	}{
		{"torn", goldenVersions[:len(goldenVersions)/2], errVersions},
		{"empty", "", errVersions},
		{"no version", strings.Replace(goldenVersions, `"version":1,`, "", 1), errVersions},
		{"newer", strings.Replace(goldenVersions, `"version":1,`, `"version":2,"names":7,`, 1), errVersionsNewer},
		{"short content", strings.Replace(goldenVersions, "AQAAAAAA", "", 1), errVersions},
		{"no entry", strings.Replace(goldenVersions, `"entry":12`, `"entry":0`, 1), errVersions},
		{"too many", `{"version":1,"epoch":3,"names":[{"path":"dQ==","puts":[` + strings.TrimSuffix(many, ",") + `]}]}`, errVersions},
	} {
		if v, err := parseVersions([]byte(tt.data), 3); !errors.Is(err, tt.want) || v != nil {
			t.Errorf("%s: %v, %v; want %v", tt.name, v, err, tt.want)
		}
	}
}

func FuzzVersions(f *testing.F) {
	f.Add([]byte(goldenVersions))
	f.Add([]byte(`{"version":1,"epoch":3,"names":[{"path":"","puts":null}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := parseVersions(data, 3)
		if err != nil {
			return
		}
		once, err := v.marshal(3)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseVersions(once, 3)
		if err != nil {
			t.Fatal(err)
		}
		if twice, err := again.marshal(3); err != nil || !bytes.Equal(once, twice) {
			t.Errorf("%v\n%s\n%s", err, once, twice)
		}
	})
}

// note returns what the catalog has noted; "" if it has nothing.
func (b *bench) note() (note string) {
	b.t.Helper()
	b.view(func(tx *catalog.Tx) error {
		data, err := tx.Meta(metaVersions)
		note = string(data)
		if errors.Is(err, catalog.ErrNotFound) {
			err = nil
		}
		return err
	})
	return note
}

// TestTheNoteEnds: it is there as long as the catalog does not have the last of the
// entries; where no name is put twice there is none.
func TestTheNoteEnds(t *testing.T) {
	b := newBench(t)
	group := busyGroup()
	b.killed(group[:3], 1, 3)
	if n := b.note(); n != "" {
		t.Errorf("without a name that is put twice, the note is %s", n)
	}
	b.killed(group, 1, 5)
	b.apply(group[:4], 1)
	v, err := parseVersions([]byte(b.note()), 1)
	if want := (versions{"dovecot-uidlist": {{6, contentID(group[5].data)}}}); err != nil || !sameVersions(v, want) {
		t.Errorf("before the last entry the note is %v, %v", v, err)
	}
	b.apply(group[4:], 5)
	if n := b.note(); n != "" || len(b.k.noted.versions) > 0 {
		t.Errorf("behind the last entry the note is %s", n)
	}
}

// TestTheNoteCannotBeRead: then what is done again is done without regard to what is
// there, and all is as it ought to be at the end.
func TestTheNoteCannotBeRead(t *testing.T) {
	b := newBench(t)
	group := busyGroup()
	b.killed(group, 1, len(group))
	if err := b.m.cfg.Catalog.UpdateDurably(func(tx *catalog.Tx) error { return tx.SetMeta(metaVersions, []byte("{")) }); err != nil {
		t.Fatal(err)
	}
	b.apply(group[:2], 1)
	b.holds(map[string]file{
		"cur/a": text("message a"), "cur/b": text("message b"), "cur/c": text("message c"), "dovecot-uidlist": text("1 :a\n"),
	})
	b.apply(group[2:], 3)
	if n := b.note(); n != "" || b.files()["dovecot-uidlist"] != "file "+group[5].data {
		t.Errorf("the note is %s, the uidlist %q", n, b.files()["dovecot-uidlist"])
	}
	b.complete()
}

// TestManyContentsOfOneName: what is noted of one group is bounded.
func TestManyContentsOfOneName(t *testing.T) {
	var entries []entry
	for i := range 2 * maxAgain {
		entries = append(entries, without("dovecot-uidlist", text(strings.Repeat("x", i+1)), wire.OK))
	}
	b := newBench(t)
	cuts := groups(b.changes(entries, 1))
	if len(cuts) != 2 || cuts[0] != maxAgain+1 {
		t.Errorf("the groups end at %v", cuts)
	}
	v, more := make(versions), make(versions)
	for i := range maxNoted {
		v.add("a", version{journal.Sequence(i + 1), journal.ContentID{1}})
	}
	more.add("b", version{maxNoted + 1, journal.ContentID{1}})
	if all := v.with(more); !sameVersions(all, more) {
		t.Errorf("%d are noted", all.count())
	}
}

// TestWhatIsReachedNeedsNoContent: what an entry goes on from may not be there any more.
func TestWhatIsReachedNeedsNoContent(t *testing.T) {
	b := newBench(t)
	list := func(data, base string, keep int) entry {
		e := put("dovecot-uidlist", text(data))
		e.bring = false
		e.Held = &journal.Held{Keep: int64(keep), Data: []byte(data[keep:])}
		if keep > 0 {
			e.Held.Base = contentID(base)
		}
		return e
	}
	group := []entry{list("one", "", 0), list("one two", "one", 3), list("three", "", 0), list("three four", "three", 5)}
	b.killed(group, 1, 3)
	b.apply(group[:1], 1)
	b.apply(group[1:2], 2)
	b.complete()
	b.holds(map[string]file{"dovecot-uidlist": text("three")})
	b.apply(group[2:], 3)
	b.complete()
	b.stamped()
	b.holds(map[string]file{"dovecot-uidlist": text("three four")})
}

// TestAttributesOfWhatWasThereBefore are not given to what is there now.
func TestAttributesOfWhatWasThereBefore(t *testing.T) {
	b := newBench(t)
	one, two := text("one"), text("and two")
	older := one
	older.mtime, older.mode = 1e18, 0o640
	group := []entry{put("subscriptions", one), does(journal.KindSetAttributes, "subscriptions", older), put("subscriptions", two)}
	b.killed(group, 1, 3)
	b.apply(group[:1], 1)
	b.apply(group[1:2], 2)
	info, err := b.m.cfg.Root.Stat("subscriptions")
	if err != nil || info.Facts.Attr.MTime != two.mtime || info.Facts.Attr.Mode != two.mode {
		t.Errorf("%+v, %v", info.Facts.Attr, err)
	}
	b.apply(group[2:], 3)
	b.holds(map[string]file{"subscriptions": two})
	b.stamped()
}
