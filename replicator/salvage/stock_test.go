package salvage

import (
	"os"
	"testing"
	"time"

	"github.com/zeebo/blake3"

	"github.com/mailtwin/mailtwin/journal"
	"github.com/mailtwin/mailtwin/journal/catalog"
	"github.com/mailtwin/mailtwin/journal/watch"
	"github.com/mailtwin/mailtwin/replicator/mailstore"
)

// content returns what the catalog believes of a file; nothing if it has none.
func (s *store) content(p string) (id journal.ContentID) {
	s.t.Helper()
	s.must(s.catalog.View(func(tx *catalog.Tx) error {
		it, err := tx.Lookup(journal.Path(p))
		id = it.Facts.Content
		return err
	}))
	return id
}

// believe makes the catalog believe that a file has other bytes.
func (s *store) believe(p, data string) {
	s.t.Helper()
	s.must(s.catalog.Update(func(tx *catalog.Tx) error {
		it, err := tx.Lookup(journal.Path(p))
		if err != nil {
			return err
		}
		it.Facts.Content = blake3.Sum256([]byte(data))
		return tx.Put(journal.Path(p), it)
	}))
}

// TestTakeStock learns, forgets and corrects; and after a power cut it reads what
// may have been overwritten in place without the disk knowing.
func TestTakeStock(t *testing.T) {
	s := newStore(t)
	take := func(unwritten watch.Unwritten) {
		t.Helper()
		unreadable, err := TakeStock(t.Context(), s.root, s.catalog, mailstore.Maildir{}, unwritten, nil)
		if s.must(err); len(unreadable) > 0 {
			t.Errorf("unreadable: %v", unreadable)
		}
	}
	s.write("a/Maildir/cur/1.h:2,S", "one")
	s.write("a/Maildir/cur/2.h:2,S", "two")
	s.write("a/Maildir/subscriptions", "B\n")
	take(watch.Unwritten{})
	s.must(os.Remove(s.full("a/Maildir/cur/2.h:2,S")))
	s.write("a/Maildir/new/3.h", "three")
	s.believe("a/Maildir/subscriptions", "A\n")
	s.believe("a/Maildir/cur/1.h:2,S", "another")
	take(watch.Unwritten{})
	if got := s.content("a/Maildir/new/3.h"); got != blake3.Sum256([]byte("three")) {
		t.Errorf("the new message is %v", got)
	}
	if got := s.content("a/Maildir/subscriptions"); got != blake3.Sum256([]byte("A\n")) {
		t.Errorf("a file with the stamp of the catalog was read: %v", got)
	}
	unwritten, err := watch.FindUnwritten(s.catalog, nil, "", time.Now().Add(time.Minute))
	s.must(err)
	take(unwritten)
	if got := s.content("a/Maildir/subscriptions"); got != blake3.Sum256([]byte("B\n")) {
		t.Errorf("the subscriptions are %v, not what is on disk", got)
	}
	if got := s.content("a/Maildir/cur/1.h:2,S"); got != blake3.Sum256([]byte("another")) {
		t.Errorf("a message was read: %v", got)
	}
	s.must(s.catalog.View(func(tx *catalog.Tx) error {
		if _, err := tx.Lookup("a/Maildir/cur/2.h:2,S"); err == nil {
			t.Error("a message that is gone is still known")
		}
		return nil
	}))
}

// TestWhatIsMissingStaysSo: a mirror that forgot it would acknowledge what it still owes.
func TestWhatIsMissingStaysSo(t *testing.T) {
	s := newStore(t)
	s.write("a/Maildir/cur/1.h:2,S", "one")
	s.write("a/Maildir/cur/2.h:2,S", "two")
	take := func() {
		t.Helper()
		_, err := TakeStock(t.Context(), s.root, s.catalog, mailstore.Maildir{}, watch.Unwritten{}, nil)
		s.must(err)
	}
	s.write("a/Maildir/.B/cur/4.h:2,S", "four")
	take()
	s.must(os.RemoveAll(s.full("a/Maildir/.B")))
	s.must(s.catalog.Update(func(tx *catalog.Tx) error {
		for _, p := range []journal.Path{"a/Maildir/cur/2.h:2,S", "a/Maildir/cur/3.h", "a/Maildir/.B/cur/5.h"} {
			if err := tx.Put(p, catalog.Item{Facts: journal.Facts{Type: journal.TypeFile, Size: 3}, Missing: true}); err != nil {
				return err
			}
		}
		return nil
	}))
	take()
	s.must(s.catalog.View(func(tx *catalog.Tx) error {
		here, err := tx.Lookup("a/Maildir/cur/2.h:2,S")
		if err != nil || here.Missing {
			t.Errorf("what is in the store: %+v, %v", here, err)
		}
		for _, p := range []journal.Path{"a/Maildir/cur/3.h", "a/Maildir/.B/cur/5.h"} {
			gone, err := tx.Lookup(p)
			if err != nil || !gone.Missing {
				t.Errorf("what is not: %+v, %v", gone, err)
			}
		}
		if _, err := tx.Lookup("a/Maildir/.B/cur/4.h:2,S"); err == nil {
			t.Error("a message that is gone with its directory is still known")
		}
		return nil
	}))
}
