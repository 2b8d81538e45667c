package watch_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/mailtwin/mailtwin/journal"
)

// TestChangesOfManyMailboxesAreDurableTogether: a scan that finds something in
// each of many directories waits for the journal's disk a few times only.
func TestChangesOfManyMailboxesAreDurableTogether(t *testing.T) {
	const users = 100
	f := newFixture(t)
	for u := range users {
		f.mailbox(fmt.Sprintf("d/u%02d", u))
		f.write(fmt.Sprintf("d/u%02d/cur/1.h:2,", u), "one")
		f.write(fmt.Sprintf("d/u%02d/cur/2.h:2,", u), "two")
	}
	f.start()
	f.settled()
	f.close()
	var want []string
	for u := range users {
		box := fmt.Sprintf("d/u%02d", u)
		f.deliver(box+"/new/3.h", "three")
		f.rename(box+"/cur/1.h:2,", box+"/cur/1.h:2,S")
		f.remove(box + "/cur/2.h:2,")
		want = append(want, "put "+box+"/new/3.h", "move "+box+"/cur/1.h:2, > "+box+"/cur/1.h:2,S", "remove "+box+"/cur/2.h:2,")
	}
	appends := 0
	var began time.Time
	var took time.Duration // until the last of them
	f.cfg.Ahead = func(entries []journal.Entry) {
		if slices.ContainsFunc(entries, func(e journal.Entry) bool { return e.Kind != journal.KindRemove }) {
			appends++
			took = time.Since(began)
		}
	}
	began = time.Now()
	f.start()
	f.settled()
	f.close()
	// It is as many as directories, which are two of each user, otherwise. What was
	// found waits for more only for a while, which a slow machine has many of.
	if most := users/10 + 2*int(took/(50*time.Millisecond)); appends > most {
		t.Errorf("%d appends in %v, want %d at most", appends, took, most)
	}
	f.cfg.Ahead = nil
	f.start()
	f.settled()
	f.noMore()
	var got []string
	r, err := f.log.Read(0)
	f.must(err)
	for {
		record, ok, err := r.TryNext()
		f.must(err)
		if !ok {
			break
		}
		got = append(got, show(record.Entry))
	}
	f.must(r.Close())
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

// TestUnfinishedMailIsNotForgotten: a directory in which a scan has found a
// message that is still being written is not taken for observed.
func TestUnfinishedMailIsNotForgotten(t *testing.T) {
	f := newFixture(t)
	f.cfg.Timing.Racy = 1
	f.start()
	f.settled()
	f.close()
	unfinished, err := os.Create(f.path("u1/new/1.h"))
	f.must(err)
	f.write("u2/new/2.h", "two")
	f.cfg.Timing.Settle, f.cfg.Timing.SettleAtLatest = time.Hour, time.Hour
	f.start()
	f.wait("scanned", func() bool { s := f.watcher.Status(); return !s.LastScanEnded.IsZero() && s.BeingWritten > 0 })
	f.close()
	_, err = unfinished.WriteString("one")
	f.must(errors.Join(err, unfinished.Close()))
	f.start()
	f.wait("found", func() bool { return len(f.differences()) == 0 })
	if s := f.watcher.Status(); s.DirectoriesListed != 1 {
		t.Errorf("%d directories listed", s.DirectoriesListed)
	}
}
