package watch_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
)

// TestMoreIsLostThanIsRemembered: what was lost was not removed either where there is
// more of it than may wait for a second look.
func TestMoreIsLostThanIsRemembered(t *testing.T) {
	f := newFixture(t)
	f.cfg.Limits.Names, f.cfg.Limits.Batch = 8, 3
	f.start()
	var lost []string
	for i := range 20 {
		lost = append(lost, fmt.Sprintf("u1/cur/%d:2,S", i))
		f.deliver(lost[i], "message "+lost[i])
	}
	f.mailbox("u1/.B")
	f.deliver("u1/cur/here:2,", "this one is there")
	f.deliver("u1/.B/new/1", "in a folder")
	f.settled()
	f.rest()
	f.lose(append(lost, "u1/.B")...)
	f.whenScanIsAt("u2/new", func() {
		f.rename("u1/cur/here:2,", "u1/cur/here:2,S")
		f.mailbox("u1/.C")
	})
	f.inherited(func() {}, nil)
	f.deliver("u1/new/later", "and another one")
	f.settled()
	for _, p := range append(lost, "u1/.B/new/1") {
		f.stillMissing(journal.Path(p))
	}
	for _, e := range f.rest() {
		if e.Kind == journal.KindRemove || e.Kind == journal.KindRemoveDir {
			t.Errorf("journaled: %s", show(e))
		}
	}
}

// TestRemovedThoughTheClockOfTheStoreIsSetBack: what the catalog knows since this node
// has become primary was not lost by the mirror, though by the clock of the store no
// directory has changed since.
func TestRemovedThoughTheClockOfTheStoreIsSetBack(t *testing.T) {
	f := started(t)
	f.deliver("u1/cur/1:2,S", "one")
	f.deliver("u1/cur/2:2,S", "two")
	f.settled()
	f.must(f.catalog.Update(func(tx *catalog.Tx) error {
		it, err := tx.Lookup("u1/cur/1:2,S")
		if err != nil {
			return err
		}
		it.Stamp.Change += int64(2 * time.Hour)
		return tx.Put("u1/cur/1:2,S", it)
	}))
	f.lose("u1/cur/1:2,S", "u1/cur/2:2,S")
	f.inherit(func() {}, nil, time.Hour)
	f.expect("remove u1/cur/1:2,S")
	f.stillMissing("u1/cur/2:2,S")
}
